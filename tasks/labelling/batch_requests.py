"""What people are asked when a batch is new: an event that is stored with the batch until it was sent."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from tasks.labelling.schema import BATCH_TABLE, REQUEST_TABLE, LabelStore

# The namespace of the events' ids, an arbitrary constant.
_EVENTS = uuid.UUID("8a0f3a52-6c1e-4a57-9a39-3d3f5b0e7c11")


@dataclass(frozen=True)
class BatchRequest:
    """The request to judge a batch, which was not sent yet.

    Attributes:
        batch: The batch's number.
        event_id: The id of its event. It is the same each time, so that a server takes the event once.
        payload: The values of the event.
    """

    batch: int
    event_id: uuid.UUID
    payload: Mapping[str, Any]


def add_request(connection: Connection, batch: int, preset: str, payload: Mapping[str, Any]) -> None:
    """Store the request of a new batch, in the transaction that adds the batch."""
    connection.execute(insert(REQUEST_TABLE).values(batch=batch, preset=preset, payload=dict(payload)))


def unsent_requests(store: LabelStore, preset: str) -> list[BatchRequest]:
    """Return the requests of a preset's batches that were not sent yet, the oldest first."""
    query = (
        select(REQUEST_TABLE, BATCH_TABLE.c.name, BATCH_TABLE.c.created)
        .join(BATCH_TABLE, BATCH_TABLE.c.number == REQUEST_TABLE.c.batch)
        .where(REQUEST_TABLE.c.preset == preset, ~REQUEST_TABLE.c.sent)
        .order_by(REQUEST_TABLE.c.batch)
    )
    with store.read() as connection:
        rows = list(connection.execute(query).mappings())
    # The time of its creation tells batches of one name in two projects apart.
    return [
        BatchRequest(
            row["batch"], uuid.uuid5(_EVENTS, ascii(f"{row['name']}\0{row['created']}")), row["payload"]
        )
        for row in rows
    ]


def mark_request_sent(store: LabelStore, batch: int) -> None:
    """Record that the request of a batch was sent."""
    with store.write() as connection:
        connection.execute(update(REQUEST_TABLE).where(REQUEST_TABLE.c.batch == batch).values(sent=True))
