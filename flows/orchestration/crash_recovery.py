"""Recovery after killed runs: the next start closes or removes what they left, with a note about each.

A run is alive while its process holds the lock on its file under var/prefect/alive. A run that a worker
started is alive while the process exists whose id the worker recorded. Runs of other hosts are not touched.
"""

from __future__ import annotations

import fcntl
import socket
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from prefect import tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import TagsContext
from prefect.states import Completed, Crashed

from flows.servers.environment import Settings
from tasks.cleanup import crash_cleanup
from tasks.cleanup.crash_cleanup import hold_if_free
from tasks.common.file_lock import exclusive_lock
from tasks.project.paths import PREFECT_HOME
from tasks.tracking.tracker import Tracker

_TAG = "process:"
# Suspended runs are not in this list: they have no process and will be resumed.
OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]


@contextmanager
def mark_process_alive(settings: Settings) -> Iterator[None]:
    """Mark the flow runs that are started inside the context as alive while it lasts.

    They get a tag of their own, as Prefect creates a run before any line of it is reached.
    """
    name = f"{_TAG}{uuid.uuid4().hex}"
    path = _alive_folder(settings) / name
    with ExitStack() as held:
        # Without the lock, a sweep between the file's creation and its locking would take it for a leftover.
        with _exclusive_lock(settings):
            file = held.enter_context(path.open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        # A run that a kill leaves open keeps this tag, and the file of that name is then unlocked.
        held.enter_context(tags(name))
        yield
    path.unlink(missing_ok=True)


def without_run_tag() -> AbstractContextManager[object]:
    """Return a context whose tasks do not get the tag of `mark_process_alive`.

    Prefect asks its server for a concurrency slot for each tag of a task, and after five idle seconds waits
    two for it.
    """
    tagged = TagsContext.get().current_tags
    return TagsContext(current_tags={tag for tag in tagged if not tag.startswith(_TAG)})


def recover_crashed_runs(settings: Settings, tracker: Tracker) -> list[str]:
    """Close and remove what killed runs left; return a sentence about each."""
    # Files first: they need no server and are in the way of the next stages.
    notes = crash_cleanup.clean_up_crashes(settings.root)
    with _exclusive_lock(settings), get_client(sync_client=True) as client:
        for run in tracker.close_abandoned_runs():
            notes.append("marked a killed run as killed in MLflow")
            if run:
                its = FlowRunFilterId(any_=[UUID(run)])
                notes += [_close_run(client, found) for found in _find_open_runs(client, id=its)]
        notes += _close_of_terminals(client, _alive_folder(settings))
        notes += _close_of_workers(client)
        _close_tasks(client)
    return notes


def _alive_folder(settings: Settings) -> Path:
    folder = settings.root / PREFECT_HOME / "alive"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _exclusive_lock(settings: Settings) -> Any:
    return exclusive_lock(settings.root / PREFECT_HOME / "sweeping.lock", lambda event: None, "")


def _find_open_runs(client: SyncPrefectClient, **which: Any) -> list[FlowRun]:
    """Return the runs that seem to be running, of all or of `which`, as in Prefect's filter."""
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN))
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state, **which))


def _close_of_terminals(client: SyncPrefectClient, folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        with hold_if_free(path) as mine:
            if mine:
                for run in _find_open_runs(client, tags=FlowRunFilterTags(all_=[path.name])):
                    yield _close_run(client, run)
                path.unlink(missing_ok=True)


def _close_of_workers(client: SyncPrefectClient) -> Iterator[str]:
    for run in _find_open_runs(client):
        host, _, number = (run.infrastructure_pid or "").rpartition(":")
        if host == socket.gethostname() and number.isdigit() and not _is_process_alive(int(number), run):
            yield _close_run(client, run)


def _is_process_alive(number: int, run: FlowRun) -> bool:
    """Return whether the process exists and is not a later one that got the same id."""
    try:
        began = psutil.Process(number).create_time()
    except psutil.Error:
        return False
    return run.start_time is None or began <= run.start_time.timestamp()


def _close_run(client: SyncPrefectClient, run: FlowRun) -> str:
    """Mark a run as crashed and return a sentence about it. Prefect would show it as running for ever."""
    state: Any = Crashed(message="its process was killed; a later start of chatmill closed the run")
    # Forced, as Prefect's orchestration rules may reject a transition from outside the run.
    client.set_flow_run_state(run.id, state, force=True)
    was = run.state.type.value.lower() if run.state else "open"
    return (
        f"the process of run {run.name} was killed while it was {was}; the run is marked as "
        "crashed in Prefect"
    )


def _close_tasks(client: SyncPrefectClient) -> None:
    """Close open tasks of ended runs.

    Task states reach the server separately from flow states, so a server that was away may have missed them.
    """
    going = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    over = FlowRunFilterState(type=FlowRunFilterStateType(any_=_ENDED))
    for task in client.read_task_runs(
        task_run_filter=TaskRunFilter(state=going), flow_run_filter=FlowRunFilter(state=over)
    ):
        run = client.read_flow_run(task.flow_run_id) if task.flow_run_id else None
        done = run is not None and run.state is not None and run.state.is_completed()
        ended: Any = Completed(message="its end was not told") if done else Crashed(message="its run is over")
        client.set_task_run_state(task.id, ended, force=True)
