"""Holds: items that people have on their screens, so that no more people get them than they need."""

from __future__ import annotations

import time

from sqlalchemy import Connection, delete, insert

from tasks.labelling.schema import HOLD_TABLE

# An item that nobody judged for so long returns to the queue.
HOLD_SECONDS = 30 * 60.0


def hold_item(connection: Connection, person: str, item: int) -> None:
    """Hold an item for a person, anew if they hold it already."""
    release_hold(connection, person, item)
    connection.execute(
        insert(HOLD_TABLE).values(item=item, person=person, expires=time.time() + HOLD_SECONDS)
    )


def release_hold(connection: Connection, person: str, item: int) -> None:
    """Give up a person's hold of an item, if there is one."""
    connection.execute(delete(HOLD_TABLE).where(HOLD_TABLE.c.item == item, HOLD_TABLE.c.person == person))


def drop_expired(connection: Connection) -> None:
    """Remove the holds whose time is over."""
    connection.execute(delete(HOLD_TABLE).where(HOLD_TABLE.c.expires < time.time()))
