"""Standard streams and their encoding: closed ones, a terminal that is gone, and locales without UTF-8."""

from __future__ import annotations

import atexit
import codecs
import errno
import locale
import os
import signal
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Passes the terminal's encoding through the restart in `use_utf8`.
_ENCODING = "CHATMILL_TERMINAL_ENCODING"
# The file that errors of a write to the standard output name.
_OUTPUT = "<stdout>"
# The standard streams that were terminals when the program started.
_TERMINALS: list[int] = []


class _OutputFile(FileIO):
    """The standard output. An error of its write names it, as the system's own names no file."""

    def write(self, data: ReadableBuffer) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = _OUTPUT
            raise


def open_standard_streams() -> None:
    """Open /dev/null for each standard stream that was closed when the program started.

    Otherwise the first file that the program opens, such as a database, gets the stream's number and is
    written to by print().
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115
    encoding = os.environ.pop(_ENCODING, None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # The locale's encoding may lack characters of the user's data.
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    if isinstance(former := sys.stdout, TextIOWrapper):
        sys.stdout = TextIOWrapper(
            BufferedWriter(_OutputFile(1, "w", closefd=False)), former.encoding, "backslashreplace",
            line_buffering=former.line_buffering, write_through=former.write_through,
        )  # fmt: skip


def use_utf8() -> None:
    """Start the program again in Python's UTF-8 mode if Python would read files in another encoding.

    The libraries and the processes of a run read and write files in Python's default encoding. In the locale
    C without that mode, a run failed at the first letter that is not ASCII. In a Latin-1 locale its outputs
    would have other bytes.
    """
    if sys.flags.utf8_mode:
        # For the processes that this one starts.
        os.environ["PYTHONUTF8"] = "1"
        return
    if codecs.lookup(locale.getencoding()).name == "utf-8":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ[_ENCODING] = locale.getencoding()
    # The option, as Python may have been started with one that ignores the environment.
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def end_on_hangup() -> None:
    """End the program as Ctrl-C does when its terminal is closed. `nohup` ignores the signal; that stays."""
    _TERMINALS.extend(descriptor for descriptor in (1, 2) if os.isatty(descriptor))
    if signal.getsignal(signal.SIGHUP) != signal.SIG_DFL:
        return

    def hang_up(number: int, frame: FrameType | None) -> None:
        # Each write to a closed terminal is an error, and would stop what has to be done before the end.
        empty = os.open(os.devnull, os.O_RDWR)
        for descriptor in _TERMINALS:
            if not os.isatty(descriptor):
                os.dup2(empty, descriptor)
        os.close(empty)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGHUP, hang_up)


def is_terminal_gone(error: BaseException) -> bool:
    """Return whether an error comes from a write to a terminal that was closed since the program started."""
    # A disk can give the same error.
    gone = any(not os.isatty(descriptor) for descriptor in _TERMINALS)
    return (
        gone and isinstance(error, OSError) and error.errno == errno.EIO and error.filename in (None, _OUTPUT)
    )


def is_output_lost(error: BaseException) -> bool:
    """Return whether an error comes from a write to the standard output."""
    return isinstance(error, OSError) and error.filename == _OUTPUT


def ignore_output() -> None:
    """Redirect standard output to /dev/null: it takes no more, and Python flushes it once more at exit."""
    empty = os.open(os.devnull, os.O_WRONLY)
    os.dup2(empty, 1)
    os.close(empty)


def keep_colorama_silent() -> None:
    """Keep colorama from writing a reset code when Python exits.

    Libraries import it while a run's display stands in for the standard output. The code would be written to
    that display, which shows control characters as text.
    """
    if colorama := sys.modules.get("colorama.initialise"):
        atexit.unregister(colorama.reset_all)
