"""Limits on the attempts to sign in with a password, by name and by address, in growing waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# Failures after which one must wait, and the longest wait in seconds. The limit of a name alone is wide, and
# its waits are short: a stranger who tries a person's name must not keep that person out.
_LIMITS = {"name at address": (3, 60.0), "address": (20, 30.0), "name": (30, 5.0)}
_FORGET_SECONDS = 3600.0
_MOST_ENTRIES = 10_000


@dataclass
class _Failures:
    count: int = 0
    last: float = 0.0


class LoginAttempts:
    """Counts failed attempts in memory. Each one beyond a limit doubles the wait before the next one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[tuple[str, str, str], _Failures] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, address: str) -> float:
        """Return the seconds to wait before the next attempt; 0 permits this one and counts it as failed.

        It is counted at once, so that many attempts at the same time are not all permitted.
        """
        with self._lock:
            now = self._clock()
            keys = _keys(name, address)
            wait = max(self._wait(key, now) for key in keys)
            if wait > 0:
                return wait
            self._forget_old(now)
            for key in keys:
                found = self._failures.setdefault(key, _Failures())
                found.count, found.last = found.count + 1, now
            return 0.0

    def succeed(self, name: str, address: str) -> None:
        """Forget the failures of a person who signed in, and take the attempt back from the other counts."""
        with self._lock:
            for key in _keys(name, address):
                found = self._failures.get(key)
                if found and key[0] != "name at address" and found.count > 1:
                    found.count -= 1
                else:
                    self._failures.pop(key, None)

    def _wait(self, key: tuple[str, str, str], now: float) -> float:
        found, (free, longest) = self._failures.get(key), _LIMITS[key[0]]
        if found is None or found.count < free:
            return 0.0
        return found.last + min(longest, 2.0 ** min(found.count - free, 10)) - now

    def _forget_old(self, now: float) -> None:
        if len(self._failures) > _MOST_ENTRIES:
            self._failures = {
                key: found for key, found in self._failures.items() if now - found.last < _FORGET_SECONDS
            }
        while len(self._failures) > _MOST_ENTRIES:
            # The oldest entry comes first.
            self._failures.pop(next(iter(self._failures)))


def _keys(name: str, address: str) -> list[tuple[str, str, str]]:
    return [("name at address", name, address), ("address", "", address), ("name", name, "")]
