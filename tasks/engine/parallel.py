"""Parallel work over many shards: in this process, on all cores, or elsewhere as a flow decides."""

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
    """A function that maps a module-level function over items and yields the results in the items' order.

    The place and the order of the calls must not matter. Items are plain values, paths and bounds. An
    exception is raised unchanged: that of the first item in order.
    """

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]: ...


def serial_map(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Map one item after another in this process: the right choice for little work."""
    return map(function, items)


def process_pool(workers: int = 0, patience: float = _PATIENCE_SECONDS) -> ProcessPool:
    """Return a pool of processes on this machine.

    The first item does not count towards `patience`: its time includes imports, which every process would
    repeat.

    Args:
        workers: The number of processes; 0 means one for each core.
        patience: Seconds of work in this process before the processes are started.
    """
    return ProcessPool(workers or os.cpu_count() or 1, patience)


class ProcessPool:
    """A ParallelMap over processes that start when there is much to do and stay until the pool is closed.

    Little work never waits for a process to start. The processes end with this process, however it ends.
    """

    def __init__(self, count: int, patience: float) -> None:
        self.count, self.patience = count, patience
        self.pool: ProcessPoolExecutor | None = None
        self.others: set[BaseProcess] = set()
        self.busy = False

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        spent = 0.0
        for index, item in enumerate(items):
            worthwhile = self.pool is not None or spent >= self.patience
            if worthwhile and min(self.count, len(items) - index) > 1:
                yield from self._map_in_pool(function, items[index:])
                return
            began = time.monotonic()
            result = function(item)
            spent += time.monotonic() - began if index else 0.0
            yield result

    def _map_in_pool(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        pool = self._start()
        waiting: deque[Future[R]] = deque()
        self.busy = True
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                # Submitting all items at once would keep all their results in memory.
                if len(waiting) == AHEAD * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            self.busy = False
        except BrokenProcessPool as error:
            self.end()
            raise UserError(
                "a worker process was killed, most likely by a lack of memory; set parallel.workers lower"
            ) from error
        finally:
            if waiting:
                self.end()

    def _start(self) -> ProcessPoolExecutor:
        if self.pool is None:
            # The executor has no public list of its processes; `end` finds them as children that are newer
            # than this line.
            self.others = set(multiprocessing.active_children())
            # Not forked: a flow has threads, and a fork would copy locks that they hold and never release
            # them.
            start = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(
                self.count, mp_context=start, initializer=_begin_worker, initargs=(os.getpid(),)
            )
        return self.pool

    def close(self) -> None:
        """Let the processes end after the work that they were given."""
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.shutdown()

    def end(self) -> None:
        """End the processes: terminate them if they are at work, and let idle ones exit."""
        pool, self.pool = self.pool, None
        if pool is not None:
            # A terminated process leaks what its libraries hold, and Python warns of that; so idle ones exit
            # by themselves.
            for process in set(multiprocessing.active_children()) - self.others if self.busy else ():
                process.terminate()
            pool.shutdown(cancel_futures=True)
        self.busy = False

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        (self.end if kind else self.close)()


def report_pace(
    results: Iterable[R], steps: int, on_event: EventCallback, work: Callable[[R], tuple[int, int]]
) -> Iterator[R]:
    """Yield the results unchanged; after each one report the progress, and rows and megabytes per second.

    Args:
        results: The results to pass on.
        steps: The number of results.
        on_event: Receives a `Step` event for each result.
        work: Returns the number of rows and of bytes that led to a result.
    """
    began = time.monotonic()
    rows = size = 0
    for step, result in enumerate(results, 1):
        more, larger = work(result)
        rows, size = rows + more, size + larger
        spent = max(time.monotonic() - began, 1e-6)
        on_event(
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
    # Ctrl-C reaches the whole process group. The parent ends this process, so it ignores the signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
