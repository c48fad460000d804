"""The faults of the label page's database in the server's log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tasks.labelling.times import iso_now

# Browsers try again all the time; a fault that stays is logged once in so many seconds.
_REPEAT_SECONDS = 600.0
_LOGGER = logging.getLogger(__name__)


class StorageLog:
    """Logs each fault when it appears, and again while it stays."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[str, float] = ("", 0.0)
        self._lock = threading.Lock()

    def log(self, fault: str) -> None:
        """Log a fault, unless it was logged a short time ago."""
        with self._lock:
            now = self._clock()
            if self._last[0] == fault and now - self._last[1] < _REPEAT_SECONDS:
                return
            self._last = (fault, now)
        _LOGGER.error("%s cannot store: %s", iso_now(), fault)
