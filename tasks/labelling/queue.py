"""The queue: which items a person gets next, and how far they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, select

from tasks.labelling.holds import drop_expired, hold_item
from tasks.labelling.people import Person
from tasks.labelling.schema import (
    BATCH_TABLE,
    HOLD_TABLE,
    ITEM_TABLE,
    JUDGEMENT_TABLE,
    VOTE_KIND,
    LabelStore,
)

# Items that one request may ask for, so that nobody holds many.
MOST_ITEMS = 5


@dataclass(frozen=True)
class QueuedItem:
    """An item as a person sees it: no model, no reason, and the answers in this person's order.

    Attributes:
        item: Its number.
        prompt: The prompt.
        history: The turns before it.
        left: The answer on the left.
        right: The answer on the right.
        swapped: Whether the left answer is `b`.
        guide: The digest of its batch's guide.
        aspects: Aspects to compare after the choice.
        markdown: Whether Markdown is shown as formatted text.
        digest: The digest of what it shows.
    """

    item: int
    prompt: str
    history: Sequence[dict[str, str]]
    left: str
    right: str
    swapped: bool
    guide: str
    aspects: Sequence[str]
    markdown: bool
    digest: str


@dataclass(frozen=True)
class Progress:
    """How far a person is: items that they judged, skipped, and could still judge, and those of today."""

    judged: int
    skipped: int
    left: int
    today: int


def next_items(
    store: LabelStore, person: Person, count: int = 1, without: Sequence[int] = ()
) -> list[QueuedItem]:
    """Return the next items of a person and hold them for this person.

    Items that the person holds already come first, so that they go on where they stopped.

    Args:
        store: The store.
        person: Who judges.
        count: How many items, at most MOST_ITEMS.
        without: Numbers of items that the person's screen has already.
    """
    count = max(0, min(count, MOST_ITEMS))
    with store.write() as connection:
        drop_expired(connection)
        found: list[Any] = []
        # Held items, then one query for each batch and number of judgements: each follows an index, where one
        # sorted query would read all items. Items that others judged come first, so that they are complete
        # before new ones are begun.
        for query in _queries_in_order(connection, person.name):
            seen = [*without, *(row["number"] for row in found)]
            query = query.where(ITEM_TABLE.c.number.not_in(seen)).limit(count - len(found))
            found += connection.execute(query).mappings()
            if len(found) == count:
                break
        for row in found:
            hold_item(connection, person.name, row["number"])
    return [_as_queued(row, person.name) for row in found]


def _queries_in_order(connection: Connection, person: str) -> Iterator[Select[Any]]:
    """Yield the queries of a person's open items, in the order in which they get them."""
    items = _items_to_judge(person).order_by(ITEM_TABLE.c.number)
    yield items.where(
        ITEM_TABLE.c.number.in_(select(HOLD_TABLE.c.item).where(HOLD_TABLE.c.person == person)),
        BATCH_TABLE.c.open,
        ITEM_TABLE.c.given < BATCH_TABLE.c.needed,
    )
    batches = connection.execute(
        select(BATCH_TABLE.c.number, BATCH_TABLE.c.needed, BATCH_TABLE.c.origin)
        .where(BATCH_TABLE.c.open)
        .order_by(BATCH_TABLE.c.number)
    ).all()
    # Votes come first: a model waits for them, and only until its deadline.
    for batch, needed, _ in sorted(batches, key=lambda each: each.origin.get("kind") != VOTE_KIND):
        # Only the numbers that occur, so that the cost does not depend on how many people are needed.
        given = _largest_given(connection, batch, needed)
        while given is not None:
            yield items.where(ITEM_TABLE.c.batch == batch, ITEM_TABLE.c.given == given)
            given = _largest_given(connection, batch, given)


def _largest_given(connection: Connection, batch: int, below: int) -> int | None:
    """Return the largest number of judgements, less than `below`, that an item of a batch has."""
    wanted = (ITEM_TABLE.c.batch == batch, ITEM_TABLE.c.given < below)
    return connection.execute(select(func.max(ITEM_TABLE.c.given)).where(*wanted)).scalar()


def measure_progress(store: LabelStore, person: Person, since: str) -> Progress:
    """Return how far a person is. `since` begins their day: a date or time in UTC, as `iso_now` writes it."""
    mine = and_(JUDGEMENT_TABLE.c.person == person.name, JUDGEMENT_TABLE.c.newest, ~JUDGEMENT_TABLE.c.review)
    with store.read() as connection:
        counts = dict(
            connection.execute(
                select(JUDGEMENT_TABLE.c.action, func.count()).where(mine).group_by(JUDGEMENT_TABLE.c.action)
            )
            .tuples()
            .all()
        )
        today = connection.execute(
            select(func.count()).where(
                mine, JUDGEMENT_TABLE.c.action == "judge", JUDGEMENT_TABLE.c.time >= since
            )
        ).scalar_one()
        left = connection.execute(
            select(func.count()).select_from(
                _items_to_judge(person.name).where(BATCH_TABLE.c.open).subquery()
            )
        ).scalar_one()
    return Progress(counts.get("judge", 0), counts.get("skip", 0), left, today)


def count_left(connection: Connection) -> int:
    """Return how many judgements all open batches still need."""
    missing = func.sum(BATCH_TABLE.c.needed - ITEM_TABLE.c.given)
    found = connection.execute(
        select(missing)
        .join(BATCH_TABLE, BATCH_TABLE.c.number == ITEM_TABLE.c.batch)
        .where(BATCH_TABLE.c.open, ITEM_TABLE.c.given < BATCH_TABLE.c.needed)
    ).scalar()
    return int(found or 0)


def _items_to_judge(person: str) -> Select[Any]:
    """Return the query of the items that a person has not judged, and that others do not hold."""
    done = exists().where(
        JUDGEMENT_TABLE.c.item == ITEM_TABLE.c.number,
        JUDGEMENT_TABLE.c.person == person,
        JUDGEMENT_TABLE.c.newest,
        ~JUDGEMENT_TABLE.c.review,
        JUDGEMENT_TABLE.c.action != "undo",
    )
    held_by_others = (
        select(func.count())
        .where(HOLD_TABLE.c.item == ITEM_TABLE.c.number, HOLD_TABLE.c.person != person)
        .scalar_subquery()
    )
    return (
        select(ITEM_TABLE, BATCH_TABLE.c.guide, BATCH_TABLE.c.aspects, BATCH_TABLE.c.markdown)
        .join(BATCH_TABLE, BATCH_TABLE.c.number == ITEM_TABLE.c.batch)
        .where(~done, ITEM_TABLE.c.given + held_by_others < BATCH_TABLE.c.needed)
    )


def is_swapped(person: str, digest: str) -> bool:
    """Return whether a person sees the second answer first: a fair draw that stays the same."""
    return hashlib.sha256(f"order:{person}:{digest}".encode("utf-8", "replace")).digest()[0] % 2 == 1


def _as_queued(row: Any, person: str) -> QueuedItem:
    swapped = is_swapped(person, row["digest"])
    left, right = (row["b"], row["a"]) if swapped else (row["a"], row["b"])
    return QueuedItem(
        row["number"], row["prompt"], row["history"], left, right, swapped, row["guide"], row["aspects"],
        row["markdown"], row["digest"],
    )  # fmt: skip


def queued_item(store: LabelStore, person: Person, number: int) -> QueuedItem | None:
    """Return an item as a person sees it, whoever judged it; None if there is none with that number."""
    query = (
        select(ITEM_TABLE, BATCH_TABLE.c.guide, BATCH_TABLE.c.aspects, BATCH_TABLE.c.markdown)
        .join(BATCH_TABLE, BATCH_TABLE.c.number == ITEM_TABLE.c.batch)
        .where(ITEM_TABLE.c.number == number)
    )
    with store.read() as connection:
        row = connection.execute(query).mappings().first()
    return _as_queued(row, person.name) if row else None
