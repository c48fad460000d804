"""Work over many shards: in turn, on all cores of this machine, or wherever else a flow sends it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """Calls a function of a module's top level on each item; the results in the items' order.

    Where and in which order it is called must not matter: items are plain values, paths and bounds.
    """

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]: ...


def in_turn(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """One after another in this process: the right way for little work."""
    return map(function, items)


def over_cores(workers: int = 0) -> Spread:
    """On `workers` processes of this machine (0: one a core); a single item stays in this one."""
    count = workers or os.cpu_count() or 1

    def spread(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        if min(count, len(items)) < 2:
            yield from in_turn(function, items)
            return
        start = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(count, len(items)), mp_context=start) as pool:
            yield from pool.map(function, items)

    return spread
