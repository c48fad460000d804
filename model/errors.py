"""The error for faults of the input, and the messages for system errors."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Control characters and line separators: a file name with one could forge a line of the output.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Characters of a library's error in a message.
_MAX_REASON_CHARS = 160


class UserError(Exception):
    """A fault of the input, not of the code.

    Its text is one sentence that names the file, the line or the key, and says what would be right.
    The command line prints it without a traceback and exits with 2.
    """


def error_reason(error: OSError) -> str:
    """Return the system's reason for an error, as in "Permission denied"."""
    # `strerror` is missing or another text where a library raised the error.
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__


def library_reason(error: Exception) -> str:
    """Return the text of a library's error as one short line; that of an error without a text is its name."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= _MAX_REASON_CHARS else f"{said[: _MAX_REASON_CHARS - 3]}..."


def one_line_path(path: Path | str) -> str:
    r"""Return a path for a message, on one line: control characters are written as escapes, such as \n."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(path))


def file_error(path: Path | str, what: str, error: OSError, advice: str = "") -> UserError:
    """Return the UserError for a system error at a path: what could not be done, why, and what to do.

    Args:
        path: The file or folder.
        what: The failure, as in "cannot be read".
        error: The system's error.
        advice: What the user can do.
    """
    return UserError(f"{one_line_path(path)} {what} ({error_reason(error)}){f'; {advice}' if advice else ''}")
