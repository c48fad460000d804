"""Champions without a batch: each waits until no earlier batch needs judgements, and a run has made its own.

A champion waits until the transaction that adds its batch. Whatever is killed or lost before, the next poll
finds it here and starts a run again.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from tasks.labelling.schema import WAITING_CHAMPION_TABLE, LabelStore

# Runs that may fail to make a champion's batch: an error that stays would otherwise start one at every poll.
MOST_ATTEMPTS = 3


@dataclass(frozen=True)
class WaitingChampion:
    """A champion whose batch was not made yet.

    Attributes:
        preset: The preset whose run made it.
        champion: Its version, NAME/NUMBER.
        config: The preset's file as a deployment names it.
        attempts: How many runs have begun to make its batch.
    """

    preset: str
    champion: str
    config: str
    attempts: int

    @property
    def has_failed(self) -> bool:
        """Whether no further run is started by itself."""
        return self.attempts >= MOST_ATTEMPTS


def keep_waiting(store: LabelStore, preset: str, champion: str, config: str) -> None:
    """Let a champion wait for a batch, in place of an earlier one of its preset, with all its attempts."""
    with store.write() as connection:
        drop_waiting(connection, preset)
        values = {"preset": preset, "champion": champion, "config": config}
        connection.execute(insert(WAITING_CHAMPION_TABLE).values(**values))


def drop_waiting(connection: Connection, preset: str) -> None:
    """Let no champion of a preset wait any more, in the transaction that adds its batch."""
    connection.execute(delete(WAITING_CHAMPION_TABLE).where(WAITING_CHAMPION_TABLE.c.preset == preset))


def find_waiting(store: LabelStore, preset: str) -> WaitingChampion | None:
    """Return the champion of a preset that waits; None if there is none."""
    return next((each for each in list_waiting(store) if each.preset == preset), None)


def list_waiting(store: LabelStore) -> list[WaitingChampion]:
    """Return the champions that wait, by preset."""
    with store.read() as connection:
        rows = connection.execute(select(WAITING_CHAMPION_TABLE).order_by(WAITING_CHAMPION_TABLE.c.preset))
        return [WaitingChampion(**row) for row in rows.mappings()]


def count_attempt(store: LabelStore, config: str) -> None:
    """Record that a run begins to make the batch of the champion that waits for a preset's file."""
    table = WAITING_CHAMPION_TABLE
    with store.write() as connection:
        connection.execute(
            update(table).where(table.c.config == config).values(attempts=table.c.attempts + 1)
        )
