"""The one error that a user is shown as it stands."""


class UserError(Exception):
    """A fault of the input, not of the code.

    Its text is one sentence that names the file, the line or the key, and says what would be right.
    The command line prints it without a traceback and exits with 2.
    """
