"""What happened, as Prefect's events: automations start runs by them, and tell people."""

from __future__ import annotations

import re
import time
from typing import Any

LABELS = "labels.ingested"
GATE, DATA, DRIFT = "chatmill.gate.refused", "chatmill.data.refused", "chatmill.drift"
SLOW, ASKS = "chatmill.run.slow", "chatmill.approval.asked"
_LONGEST = 2000
PATIENCE_SECONDS, _ANSWER_SECONDS = 20.0, 10.0


def emit_run_event(event: str, preset: str, says: str, then: str, **payload: Any) -> bool:
    """Send an event about the runs of a preset to Prefect's server; whether that has it.

    `says` is one sentence of what happened, `then` the command that comes next. Only a server that stays, as
    `chatmill up` runs it, does something with events. One that does not answer is asked again for a while.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.events import Event, RelatedResource, Resource
    from prefect.runtime import flow_run

    about = event.removeprefix("chatmill.").partition(".")[0]
    resource = f"chatmill.{about}.{re.sub(r'[^A-Za-z0-9_-]+', '-', preset)}"
    within = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}
    made = Event(
        event=event,
        resource=Resource({"prefect.resource.id": resource, "prefect.resource.name": preset}),
        related=[RelatedResource(within)] if flow_run.id else [],
        payload={"preset": preset, "says": says[:_LONGEST], "then": then, **payload},
    )
    # Sent here rather than by Prefect's own queue, which does not say whether it came to anything.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            # A client of its own: that of the flow run is closed with it, and a watch may go on for longer.
            with get_client(httpx_settings={"timeout": _ANSWER_SECONDS}, sync_client=True) as client:
                client.request("POST", "/events", json=[made.model_dump(mode="json")]).raise_for_status()
            return True
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
