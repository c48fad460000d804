"""What happened, as Prefect's events: automations start runs by them, and tell people."""

from __future__ import annotations

import re
from threading import Thread
from typing import Any

LABELS = "labels.ingested"
LONGEST = 2000
PATIENCE_SECONDS = 20.0


def tell(event: str, preset: str, says: str, then: str, **payload: Any) -> None:
    """Emit an event about the runs of a preset, and wait until Prefect's server has it, if it answers.

    `says` is one sentence of what happened, `then` the command that comes next. Only a server that stays,
    as `chatmill up` runs it, does something with events.
    """
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    about = event.removeprefix("chatmill.").partition(".")[0]
    resource = f"chatmill.{about}.{re.sub(r'[^A-Za-z0-9_-]+', '-', preset)}"
    emit_event(
        event,
        resource={"prefect.resource.id": resource, "prefect.resource.name": preset},
        payload={"preset": preset, "says": says[:LONGEST], "then": then, **payload},
    )
    # A server that went away would be waited for without end, and the run with it.
    waiting = Thread(target=EventsWorker.instance().wait_until_empty, daemon=True)
    waiting.start()
    waiting.join(PATIENCE_SECONDS)
