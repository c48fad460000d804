"""The execution of shards on a Dask cluster, each as a task of Prefect's Dask task runner."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE

from model.errors import UserError
from tasks.engine.parallel import AHEAD
from tasks.engine.source_snapshot import current_snapshot, use_snapshot

T = TypeVar("T")
R = TypeVar("R")
_LOCAL = "local"
LOCAL_WORKERS = 2
JOIN_SECONDS = 30.0


class DaskRunner:
    """A Spread over the workers of a Dask scheduler at `address`, or of a small local cluster ("local").

    The cluster is joined, or started, at the first work for it. Every worker must see the project's folder
    under the same path and have this version of chatmill installed. Use it inside a flow.

    Raises:
        UserError: The extra `dask` is not installed, or no scheduler answers.
    """

    def __init__(self, address: str, scratch: Path, seconds: float = JOIN_SECONDS) -> None:
        try:
            from prefect_dask import DaskTaskRunner
        except ImportError as error:
            raise UserError(
                "parallel.dask_address needs an extra that is not installed; install it with `pip "
                "install 'chatmill[dask]'`"
            ) from error
        self.address = address
        here = {
            "n_workers": LOCAL_WORKERS, "threads_per_worker": 1, "dashboard_address": None,
            "local_directory": str(scratch),
        }  # fmt: skip
        self.runner: Any = (
            DaskTaskRunner(cluster_kwargs=here)
            if address == _LOCAL
            else DaskTaskRunner(address=address, client_kwargs={"timeout": seconds})
        )
        self.open = ExitStack()
        self.workers = 0
        snapshot = current_snapshot()
        self.sources = str(snapshot.folder) if snapshot else ""
        # Prefect sends the context of the submitting task along, and that of a local task cannot be pickled.
        # The flow's own context can.
        self.flow = copy_context()

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        if not items:
            return
        self._connect_cluster()
        shard = Task(_call_in_snapshot, name=function.__name__, cache_policy=NO_CACHE, persist_result=False)
        waiting: deque[Any] = deque()
        for item in items:
            given = {"folder": self.sources, "function": function, "item": item}
            waiting.append(self.flow.run(self.runner.submit, shard, given))
            # A bounded number of shards is in flight: results are yielded in order and must fit into memory.
            if len(waiting) == AHEAD * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _connect_cluster(self) -> None:
        if self.workers:
            return
        try:
            self.open.enter_context(self.runner)
            self.workers = sum(self.runner.client.nthreads().values())
            if self.workers and self.sources:
                # A long-running worker still has the code that it was started with.
                self.runner.client.run(use_snapshot, Path(self.sources))
        except (OSError, ValueError) as error:
            raise UserError(f"the Dask scheduler at {self.address} is unreachable ({error})") from error
        if not self.workers:
            raise UserError(f"the Dask scheduler at {self.address} has no workers; start at least one")

    def close(self) -> None:
        """Do nothing between stages: joining the cluster again would cost more than it saves."""

    def __enter__(self) -> DaskRunner:
        return self

    def __exit__(self, *error: Any) -> None:
        self.open.close()


def _call_in_snapshot(folder: str, function: Callable[[T], R], item: T) -> R:
    """Call a function on an item in a worker, with the sources of the run that asks for it."""
    if folder and use_snapshot(Path(folder)):
        # A worker that joined later unpickled the function from its own sources.
        function = getattr(import_module(function.__module__), function.__name__)
    return function(item)
