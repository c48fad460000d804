"""The events about batches of the label page, each sent once from what the page's store says."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from flows.config import Preset
from flows.orchestration.events import LABELS_DUE, LABELS_REQUESTED, emit_run_event
from flows.orchestration.label_batches import find_unfinished_batch
from tasks.labelling.batch_requests import mark_request_sent, unsent_requests
from tasks.labelling.schema import has_label_store, open_label_store
from tasks.labelling.waiting_champions import find_waiting, mark_asked

_AWAY = "Prefect's server is unreachable; the next run sends it"


def send_batch_requests(root: Path, preset: str) -> str:
    """Send `labels.requested` for each batch of a preset that people were not asked to judge yet.

    A process that is killed after the server has an event leaves it unsent here. The next call sends it
    again under the same id, and the server ignores it.

    Returns:
        A sentence if Prefect's server is unreachable, else an empty text.
    """
    if not has_label_store(root):
        return ""
    with open_label_store(root) as store:
        for request in unsent_requests(store, preset):
            payload = dict(request.payload)
            says, then = payload.pop("says"), payload.pop("then")
            if not emit_run_event(LABELS_REQUESTED, preset, says, then, event_id=request.event_id, **payload):
                return f"{_AWAY} the request to judge a batch"
            mark_request_sent(store, request.batch)
    return ""


def start_waiting_batch(root: Path, preset: Preset) -> str:
    """Send `labels.due` if a champion waits for a batch and no batch of its preset needs judgements any more.

    The event starts the deployment label-batch. It is sent once: a run of it that fails shows its error.

    Returns:
        A sentence about what was done, or about an unreachable server; empty if nothing waits.
    """
    if not has_label_store(root):
        return ""
    with open_label_store(root) as store:
        waiting = find_waiting(store, preset.name)
        if waiting is None or waiting.asked or find_unfinished_batch(preset, root):
            return ""
        says = f"the batch before the champion {waiting.champion} has ended, so that one's batch is due"
        then, event = "`chatmill label batch` makes it", UUID(waiting.event)
        if not emit_run_event(
            LABELS_DUE, preset.name, says, then, event_id=event, config=waiting.config,
            champion=waiting.champion,
        ):  # fmt: skip
            return f"{_AWAY} the news that a batch is due"
        mark_asked(store, waiting)
    return says
