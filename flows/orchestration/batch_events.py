"""The events about batches of the label page, derived from what the page's store and the registry say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.states import StateType

from flows.config import Preset
from flows.orchestration.events import BATCH_DEPLOYMENT, LABELS_DUE, LABELS_REQUESTED, emit_run_event
from flows.orchestration.label_batches import find_champion_without_batch, find_unfinished_batch
from flows.orchestration.run_links import deployed_preset_path
from flows.servers.environment import TEMPORARY_PREFECT
from flows.servers.workers import explain_missing_trigger
from tasks.labelling.batch_requests import mark_request_sent, unsent_requests
from tasks.labelling.batches import list_batches
from tasks.labelling.schema import has_label_store, open_label_store
from tasks.labelling.waiting_champions import count_attempt, find_waiting, keep_waiting

if TYPE_CHECKING:
    from tasks.tracking.tracker import Tracker

_AWAY = "Prefect's server is unreachable; the next run sends it"
_UNFINISHED = [
    StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING,
]  # fmt: skip


def send_batch_requests(root: Path, preset: str) -> str:
    """Send `labels.requested` for each batch of a preset that people were not asked to judge yet.

    A process that is killed after the server has an event leaves it unsent here. The next call sends it
    again under the same id, and the server ignores it. A server that ends with a run acts on no event, so
    none is sent to it. Of a batch that needs no judgements any more, no event is sent.

    Returns:
        A sentence if Prefect's server is unreachable, else an empty text.
    """
    if not has_label_store(root) or os.environ.get(TEMPORARY_PREFECT):
        return ""
    with open_label_store(root) as store:
        wanted = {each.number for each in list_batches(store) if each.open and each.missing > 0}
        for request in unsent_requests(store, preset):
            payload = dict(request.payload)
            says, then = payload.pop("says"), payload.pop("then")
            if request.batch in wanted and not emit_run_event(
                LABELS_REQUESTED, preset, says, then, event_id=request.event_id, **payload
            ):
                return f"{_AWAY} the request to judge a batch"
            mark_request_sent(store, request.batch)
    return ""


def start_waiting_batch(root: Path, preset: Preset, tracker: Tracker) -> str:
    """Send `labels.due` if a champion has no batch and no batch of its preset needs judgements.

    The event starts the deployment label-batch. Nothing is remembered of it: until the champion has a batch,
    the next call sends it again, unless a run is on its way, or too many have failed. So neither a killed run
    nor a server that had no trigger leaves a champion without a batch. A champion whose own event was lost is
    found here too.

    Args:
        root: The project's folder.
        preset: The preset, a source of which is the label page.
        tracker: The tracker of its product.

    Returns:
        A sentence about what was done, or why nothing could be; empty if nothing waits.
    """
    found = find_champion_without_batch(preset, tracker, root)
    if not found and not has_label_store(root):
        return ""
    with open_label_store(root) as store:
        waiting = find_waiting(store, preset.name)
        if found and (waiting is None or waiting.champion != found):
            keep_waiting(store, preset.name, found, deployed_preset_path(preset.name))
            waiting = find_waiting(store, preset.name)
    if waiting is None or waiting.has_failed or find_unfinished_batch(preset, root):
        return ""
    if missing := explain_missing_trigger(root, BATCH_DEPLOYMENT, LABELS_DUE):
        return f"{missing}; until then, `chatmill label batch` makes the batch of {waiting.champion}"
    if _is_on_its_way(waiting.config):
        return ""
    says = f"no batch needs judgements any more, so that of the champion {waiting.champion} is due"
    then = "`chatmill label batch` makes it"
    about: dict[str, Any] = {"config": waiting.config, "champion": waiting.champion}
    if emit_run_event(LABELS_DUE, preset.name, says, then, **about):
        return says
    return f"{_AWAY} the news that a batch is due"


def count_batch_attempt(root: Path, config: str) -> None:
    """Record that a run of the deployment begins to make the batch of a champion that waits.

    Args:
        root: The project's folder.
        config: The preset's file as the event names it. It is only compared.
    """
    if has_label_store(root):
        with open_label_store(root) as store:
            count_attempt(store, config)


def _is_on_its_way(config: str) -> bool:
    """Return whether a run of the deployment that makes batches waits or runs for a preset's file."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[BATCH_DEPLOYMENT])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))
            ),
        )
    return any((run.parameters.get("announced") or run.parameters.get("config")) == config for run in runs)
