"""The error for faults of the input, shown to the user without a traceback."""


class UserError(Exception):
    """A fault of the input, not of the code.

    Its text is one sentence that names the file, the line or the key, and says what would be right.
    The command line prints it without a traceback and exits with 2.
    """
