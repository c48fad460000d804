"""Ctrl-C in a run whose servers have stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# One more try, after two seconds: a server that restarts is back by then.
_RETRIES = 1


@dataclass
class Interruption:
    """Whether the user has stopped the run."""

    happened: bool = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT or SIGTERM."""
        from prefect.settings import get_current_settings

        self.happened = True
        get_current_settings().client.max_retries = _RETRIES
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(_RETRIES)
        signal.default_int_handler(number, frame)


@contextmanager
def short_waits_after_interrupt() -> Iterator[None]:
    """Make SIGINT and SIGTERM also shorten the waits for Prefect's and MLflow's servers in this block.

    A run waits for minutes for a server that does not answer. After Ctrl-C it would wait as long once more
    for each state that it records, and the user would think that it hangs.

    Raises:
        KeyboardInterrupt: The run was stopped, also if a server did not answer afterwards.
    """
    interruption = Interruption()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interruption.interrupt)
    try:
        yield
    except Exception as error:
        if interruption.happened:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
