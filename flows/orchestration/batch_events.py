"""The events about batches of the label page, each sent once from what the page's store says."""

from __future__ import annotations

from pathlib import Path

from flows.orchestration.events import LABELS_REQUESTED, emit_run_event
from tasks.labelling.batch_requests import mark_request_sent, unsent_requests
from tasks.labelling.schema import has_label_store, open_label_store


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
                return "Prefect's server is unreachable; the next run sends it the request to judge a batch"
            mark_request_sent(store, request.batch)
    return ""
