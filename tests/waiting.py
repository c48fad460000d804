"""Waits for other processes, with a limit that no busy machine reaches."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# Seconds. On a machine with ten times more work than cores a server starts in one minute. The limit of a
# whole test is longer, so that a wait that fails says what did not happen.
PATIENCE = 300.0


def until(
    holds: Callable[[], object],
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    log: Path | None = None,
) -> None:
    """Wait until a condition holds.

    Args:
        holds: The condition.
        what: What the condition waits for, for the error message.
        process: The process that makes it hold. If it ends before that, the wait is over.
        log: The file with the output of the process; the error message has its end.

    Raises:
        RuntimeError: The condition does not come to hold.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        # Before the condition: what the process did at its very end counts.
        ended = process is not None and process.poll() is not None
        if holds():
            return
        if ended or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    said = f": {log.read_text(errors='replace')[-2000:]}" if log and log.exists() else ""
    if process is not None and ended:
        raise RuntimeError(f"{what} did not happen; its process ended with {process.returncode}{said}")
    raise RuntimeError(f"{what} did not happen within {PATIENCE:.0f} s{said}")
