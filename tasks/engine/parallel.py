"""Work over many shards: in turn, on all cores of this machine, or wherever else a flow sends it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Protocol, TypeVar

from model.errors import UserError
from model.events import EventCallback, Step
from model.processes import die_with_parent

T = TypeVar("T")
R = TypeVar("R")
_PATIENCE_SECONDS = 2.0  # about what a process takes to start
AHEAD = 2  # items a process has, the one that it works on among them


class ParallelMap(Protocol):
    """Calls a function of a module's top level on each item; the results in the items' order.

    Where and in which order it is called must not matter: items are plain values, paths and bounds. What it
    raises comes as it is, that of the first item in order.
    """

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]: ...


def serial_map(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """One after another in this process: the right way for little work."""
    return map(function, items)


def process_pool(workers: int = 0, patience: float = _PATIENCE_SECONDS) -> ProcessPool:
    """On `workers` processes of this machine (0: one a core), once it took `patience` seconds in this one.

    The first item is not counted: it also pays for what is imported, which every process would import anew.
    """
    return ProcessPool(workers or os.cpu_count() or 1, patience)


class ProcessPool:
    """A Spread over processes that are started when there is much to do, and kept until it is closed.

    Little work never waits for one to start. They end with this process, however it ends.
    """

    def __init__(self, count: int, patience: float) -> None:
        self.count, self.patience = count, patience
        self.pool: ProcessPoolExecutor | None = None
        self.others: set[BaseProcess] = set()
        self.busy = False

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        spent = 0.0
        for place, item in enumerate(items):
            worthwhile = self.pool is not None or spent >= self.patience
            if worthwhile and min(self.count, len(items) - place) > 1:
                yield from self._together(function, items[place:])
                return
            began = time.monotonic()
            result = function(item)
            spent += time.monotonic() - began if place else 0.0
            yield result

    def _together(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        pool = self._start()
        waiting: deque[Future[R]] = deque()
        self.busy = True
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == AHEAD * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            self.busy = False
        except BrokenProcessPool as error:
            self.end()
            raise UserError(
                "a process that worked on the data was killed, most likely for want of memory; "
                "set spread.workers lower"
            ) from error
        finally:
            if waiting:
                self.end()

    def _start(self) -> ProcessPoolExecutor:
        if self.pool is None:
            self.others = set(multiprocessing.active_children())
            # Not forked: a flow has threads, and locks that they may hold.
            start = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(
                self.count, mp_context=start, initializer=_begin_worker, initargs=(os.getpid(),)
            )
        return self.pool

    def close(self) -> None:
        """Let the processes end: each has done what it was given."""
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.shutdown()

    def end(self) -> None:
        """End the processes: those that are at work at once, idle ones by themselves."""
        pool, self.pool = self.pool, None
        if pool is not None:
            # One that is ended leaves what its libraries hold, and Python warns of that.
            for process in set(multiprocessing.active_children()) - self.others if self.busy else ():
                process.terminate()
            pool.shutdown(cancel_futures=True)
        self.busy = False

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        (self.end if kind else self.close)()


def report_pace(
    results: Iterable[R], steps: int, report: EventCallback, work: Callable[[R], tuple[int, int]]
) -> Iterator[R]:
    """The results as they are; after each a report of how far it is, and of rows and megabytes a second.

    `work` gives the rows and bytes that a result stands for.
    """
    began = time.monotonic()
    rows = size = 0
    for step, result in enumerate(results, 1):
        more, larger = work(result)
        rows, size = rows + more, size + larger
        spent = max(time.monotonic() - began, 1e-6)
        report(
            Step(
                step=step,
                steps=steps,
                metrics={},
                rows=rows,
                megabytes_per_second=size / 1e6 / spent,
                seconds_left=spent / step * (steps - step),
            )
        )
        yield result


def _begin_worker(parent: int) -> None:
    die_with_parent(parent)
    # Ctrl-C goes to the whole group; the process that started this one sees to its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
