"""Time two variants in turn, so that a machine that slows down slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """The medians of two variants in seconds; the ratio says how many times faster ours is."""

    what: str
    ours: float
    theirs: float
    bar: float
    amount: str

    @property
    def value(self) -> float:
        return self.theirs / self.ours

    @property
    def met(self) -> bool:
        return self.value >= self.bar


def pair(
    what: str, ours: Callable[[], object], theirs: Callable[[], object], bar: float, rounds: int, amount: str
) -> Ratio:
    """Run both variants `rounds` times, in turn, after one warm-up of each."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for counted in [False] + [True] * rounds:
        for variant, kept in zip((ours, theirs), seconds, strict=True):
            began = time.perf_counter()
            variant()
            if counted:
                kept.append(time.perf_counter() - began)
    own, peer = (statistics.median(kept) for kept in seconds)
    return Ratio(what, own, peer, bar, amount)
