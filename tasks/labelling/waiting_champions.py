"""Champions without a batch: each waits until the batch before it has ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from tasks.labelling.schema import WAITING_CHAMPION_TABLE, LabelStore


@dataclass(frozen=True)
class WaitingChampion:
    """A champion whose batch was not made yet.

    Attributes:
        preset: The preset whose run made it.
        champion: Its version, NAME/NUMBER.
        config: The preset's file as a deployment names it.
        event: The id of the event that starts its batch.
        asked: Whether that event was sent.
    """

    preset: str
    champion: str
    config: str
    event: str
    asked: bool


def keep_waiting(store: LabelStore, preset: str, champion: str, config: str) -> None:
    """Let a champion wait for a batch, in place of an earlier one of its preset."""
    with store.write() as connection:
        found = _find(connection, preset)
        if found and found.champion == champion and not found.asked:
            return
        drop_waiting(connection, preset)
        # An event of its own each time: a server takes an event of a known id for a repeated one.
        connection.execute(
            insert(WAITING_CHAMPION_TABLE).values(
                preset=preset, champion=champion, config=config, event=str(uuid.uuid4())
            )
        )


def drop_waiting(connection: Connection, preset: str) -> None:
    """Let no champion of a preset wait any more, in the transaction that adds its batch."""
    connection.execute(delete(WAITING_CHAMPION_TABLE).where(WAITING_CHAMPION_TABLE.c.preset == preset))


def find_waiting(store: LabelStore, preset: str) -> WaitingChampion | None:
    """Return the champion of a preset that waits; None if there is none."""
    with store.read() as connection:
        return _find(connection, preset)


def list_waiting(store: LabelStore) -> list[WaitingChampion]:
    """Return the champions that wait, by preset."""
    with store.read() as connection:
        rows = connection.execute(select(WAITING_CHAMPION_TABLE).order_by(WAITING_CHAMPION_TABLE.c.preset))
        return [WaitingChampion(**row) for row in rows.mappings()]


def mark_asked(store: LabelStore, waiting: WaitingChampion) -> None:
    """Record that the event which starts a champion's batch was sent."""
    table = WAITING_CHAMPION_TABLE
    with store.write() as connection:
        connection.execute(update(table).where(table.c.event == waiting.event).values(asked=True))


def _find(connection: Connection, preset: str) -> WaitingChampion | None:
    table = WAITING_CHAMPION_TABLE
    row = connection.execute(select(table).where(table.c.preset == preset)).mappings().first()
    return WaitingChampion(**row) if row else None
