"""Prefect events about runs. Automations start runs by them and notify people."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from tasks.common.annotators import count_named
from tasks.common.printable_text import escape_surrogates

LABELS_INGESTED, LABELS_REQUESTED = "labels.ingested", "labels.requested"
# A champion has no batch, and none before it needs judgements any more.
LABELS_DUE = "labels.due"
# The deployment that makes batches, as prefect.yaml names it.
BATCH_DEPLOYMENT = "label-batch"
GATE_REFUSED, DATA, DRIFT = "chatmill.gate.refused", "chatmill.data.refused", "chatmill.drift"
CHAMPION_MADE = "chatmill.champion"
# The command that follows a new champion.
MAKE_BATCH = "`chatmill label batch` has people compare its answers"
SLOW, ASKS = "chatmill.run.slow", "chatmill.approval.asked"
_LONGEST = 2000
# The bytes of people's names in an event; see `limit_arrivals`.
_EVENT_BYTES = 100_000
EVENT_PATIENCE_SECONDS, _ANSWER_SECONDS = 20.0, 10.0


def emit_run_event(
    event: str, preset: str, says: str, then: str, *, event_id: UUID | None = None, **payload: Any
) -> bool:
    """Send an event about the runs of a preset to Prefect's server, with retries for a while.

    Only a permanent server, as `chatmill up` runs it, acts on events.

    Args:
        event: The event's name.
        preset: The preset's name.
        says: One sentence about what happened.
        then: The command to type next.
        event_id: The event's id; None: a new one. The server acts once on events of one id.
        payload: Further values of the event.

    Returns:
        Whether the server has the event.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.events import Event, RelatedResource, Resource
    from prefect.runtime import flow_run

    about = event.removeprefix("chatmill.").partition(".")[0]
    resource = f"chatmill.{about}.{re.sub(r'[^A-Za-z0-9_-]+', '-', preset)}"
    within = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}
    made = Event(
        id=event_id or uuid4(),
        event=event,
        resource=Resource({"prefect.resource.id": resource, "prefect.resource.name": _encodable(preset)}),
        related=[RelatedResource(within)] if flow_run.id else [],
        # A file's name may have bytes that JSON cannot hold.
        payload=_encodable({"preset": preset, "says": says[:_LONGEST], "then": then, **payload}),
    )
    # Sent directly: Prefect's own queue does not report whether an event arrived.
    deadline = time.monotonic() + EVENT_PATIENCE_SECONDS
    while True:
        try:
            # A separate client: the flow run's is closed with it, and the thread that watches slow stages may
            # live longer.
            with get_client(httpx_settings={"timeout": _ANSWER_SECONDS}, sync_client=True) as client:
                client.request("POST", "/events", json=[made.model_dump(mode="json")]).raise_for_status()
            return True
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                return False
            time.sleep(1)


def _encodable(value: Any) -> Any:
    """Return a value of JSON whose texts have escapes in place of lone surrogates."""
    if isinstance(value, str):
        return escape_surrogates(value)
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, list | tuple) else value


def limit_arrivals(arrivals: dict[str, Any]) -> dict[str, Any]:
    """Return arrived labels as an event holds them: those who gave the most, and the number of named people.

    Prefect's server drops an event of more than 1.5 MB without an error.
    """
    people: dict[str, int] = arrivals["annotators"]
    named: dict[str, int] = {}
    room = _EVENT_BYTES
    for annotator in sorted(people, key=lambda each: (-people[each], each)):
        room -= len(json.dumps(annotator)) + 16
        if room < 0:
            break
        named[annotator] = people[annotator]
    return {**arrivals, "annotators": dict(sorted(named.items())), "people": count_named(people)}
