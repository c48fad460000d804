"""A command, run so that its error becomes one sentence and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

import typer
from rich.markup import escape

from flows.cli.launch import INTERRUPTED
from flows.common.disk_space import is_disk_full
from flows.common.error_messages import explain_error
from flows.common.standard_streams import ignore_output, is_output_lost, is_terminal_gone
from flows.common.terminal import Console
from model.errors import UserError, error_reason
from tasks.project.paths import LOGS

# The code that a shell reports for a program killed by SIGPIPE.
BROKEN_PIPE = 128 + signal.SIGPIPE


def run_guarded(action: Callable[[], object]) -> int:
    """Run an action, print its error as one sentence, and return the exit code.

    Args:
        action: What is run; a number that it returns is the exit code.
    """
    try:
        result = action()
        return result if isinstance(result, int) else 0
    except (UserError, typer.TyperException) as error:
        # str() of a usage error leaves out which option it is about.
        says = getattr(error, "format_message", error.__str__)()
        if says:
            _print_error(f"[red]error:[/red] {escape(str(says))}")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as error:
        # rich and typer exit with 1 where the reader of the output is gone, which is no fault of ours.
        if isinstance(error.__context__, BrokenPipeError):
            ignore_output()
            return BROKEN_PIPE
        return error.code if isinstance(error.code, int) else 1
    except BrokenPipeError as error:
        return report_lost_output(error)
    except BaseException as error:
        if is_terminal_gone(error):
            return INTERRUPTED
        if isinstance(error, OSError) and is_output_lost(error):
            return report_lost_output(error)
        said = explain_error(error)
        # Prefect's server answers "500 Internal Server Error" if it cannot write, without the reason.
        if not said and is_disk_full(LOGS / "probe"):
            said = f"the disk with {LOGS.parent}/ is full; free disk space and run again"
        if said:
            if os.path.exists(LOGS.parent) and "--dry-run" not in sys.argv:
                _write_log(error)
            _print_error(f"[red]error:[/red] {escape(said)}")
            return 2
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        _print_error(f"[red]chatmill failed:[/red] {escape(first)} ({_write_log(error)})")
        return 1


def report_lost_output(error: OSError) -> int:
    """Print that the standard output cannot be written, write no more to it, and return the exit code."""
    ignore_output()
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    reason = escape(error_reason(error))
    _print_error(f"[red]error:[/red] the output cannot be written: {reason}; redirect it to another place")
    return 2


def _print_error(text: str) -> None:
    # Standard error may be a file on the full disk; the exit code still reports the failure.
    with suppress(OSError):
        Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def _write_log(error: BaseException) -> str:
    """Write an error's traceback to a log file; return its name, or why it was not written."""
    # With the process's id: two runs may fail in the same second, as when the disk is full.
    path = LOGS / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
    except OSError as full:
        return f"no log could be written: {error_reason(full)}"
    return f"details: {path}"
