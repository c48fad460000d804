"""The review: items on which people disagree or that they flagged, for reviewers to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    case,
    distinct,
    exists,
    func,
    or_,
    select,
)

from tasks.labelling.people import Person
from tasks.labelling.queue import QueuedItem, queued_item
from tasks.labelling.schema import BATCH_TABLE, ITEM_TABLE, JUDGEMENT_TABLE, LabelStore


@dataclass(frozen=True)
class ReviewItem:
    """An item to decide, with what people said, in the order of the reviewer's screen.

    Attributes:
        item: The item.
        judgements: What each person said: `person`, `action`, `choice`, `steps`, `flag`, `comment`, `better`,
            `time`. Somebody who skipped the item is among them if they flagged it. Choice and steps are in
            the order of the store; `item.swapped` says whether the screen's differs.
        waiting: How many items wait for a decision, this one included.
    """

    item: QueuedItem
    judgements: Sequence[dict[str, Any]]
    waiting: int


def next_review(store: LabelStore, reviewer: Person, after: int = 0) -> ReviewItem | None:
    """Return the next item that waits for a decision; None if there is none.

    Args:
        store: The store.
        reviewer: Who decides.
        after: Only items with a larger number, for a reviewer who leaves one undecided.
    """
    with store.read() as connection:
        waiting = list(connection.execute(_to_review().order_by(ITEM_TABLE.c.number)).scalars())
        number = next((one for one in waiting if one > after), None)
        said = [] if number is None else _judgements_of(connection, number)
    item = None if number is None else queued_item(store, reviewer, number)
    return ReviewItem(item, said, len(waiting)) if item else None


def count_reviews(store: LabelStore) -> int:
    """Return how many items wait for a reviewer's decision."""
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(_to_review().subquery())).scalar_one()


def _to_review() -> Select[tuple[int]]:
    """Return the query of the numbers of the items that wait for a decision."""
    decision = JUDGEMENT_TABLE.alias()
    decided = exists().where(
        decision.c.item == ITEM_TABLE.c.number,
        decision.c.review,
        decision.c.newest,
        decision.c.action == "judge",
    )
    # None for a skipped item, which the count leaves out.
    preference = case(
        (JUDGEMENT_TABLE.c.action == "skip", None),
        (JUDGEMENT_TABLE.c.choice == "bad", "tie"),
        else_=JUDGEMENT_TABLE.c.choice,
    )
    flags = func.max(JUDGEMENT_TABLE.c.flag.cast(Integer))
    disputed = and_(
        func.count(distinct(preference)) > 1,
        ITEM_TABLE.c.given >= BATCH_TABLE.c.needed,
        ITEM_TABLE.c.known_choice == "",
    )
    return (
        select(ITEM_TABLE.c.number)
        .join(BATCH_TABLE, BATCH_TABLE.c.number == ITEM_TABLE.c.batch)
        .join(
            JUDGEMENT_TABLE,
            and_(JUDGEMENT_TABLE.c.item == ITEM_TABLE.c.number, *_reviewable()),
        )
        .where(~decided)
        .group_by(ITEM_TABLE.c.number, ITEM_TABLE.c.given, ITEM_TABLE.c.known_choice, BATCH_TABLE.c.needed)
        .having(or_(disputed, flags > 0))
    )


def _reviewable() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of what a reviewer sees: judgements, and skipped items with a flag."""
    return (
        JUDGEMENT_TABLE.c.newest,
        ~JUDGEMENT_TABLE.c.review,
        or_(
            JUDGEMENT_TABLE.c.action == "judge",
            and_(JUDGEMENT_TABLE.c.action == "skip", JUDGEMENT_TABLE.c.flag),
        ),
    )


def _judgements_of(connection: Connection, item: int) -> list[dict[str, Any]]:
    names = ("person", "action", "choice", "steps", "flag", "comment", "better", "time")
    rows = connection.execute(
        select(*(JUDGEMENT_TABLE.c[name] for name in names))
        .where(JUDGEMENT_TABLE.c.item == item, *_reviewable())
        .order_by(JUDGEMENT_TABLE.c.number)
    ).mappings()
    return [dict(row) for row in rows]
