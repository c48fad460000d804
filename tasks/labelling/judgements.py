"""Judgements: what a person presses on an item, added to the store and never changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import Connection, RowMapping, and_, insert, select, update

from model.errors import UserError
from tasks.labelling.holds import hold_item, release_hold
from tasks.labelling.people import Person
from tasks.labelling.schema import BATCH_TABLE, GUIDE_TABLE, ITEM_TABLE, JUDGEMENT_TABLE, LabelStore
from tasks.labelling.times import iso_now

# `bad`: neither answer is acceptable.
Choice = Literal["a", "b", "tie", "bad"]
Action = Literal["judge", "skip", "undo"]
CHOICES: tuple[str, ...] = get_args(Choice)
ACTIONS: tuple[str, ...] = get_args(Action)
# The steps of an aspect: 1 the answer `a` is much better, 3 equal, 5 the answer `b` is much better.
STEPS = range(1, 6)
LONGEST_REMARK = 100_000
LONGEST_JUDGEMENT_KEY = 64
# A pause longer than this is not time spent on an item.
LONGEST_TIME_ON_ITEM = 3600.0


@dataclass(frozen=True)
class Judgement:
    """What a person says about an item so far. A later judgement of theirs replaces it.

    Attributes:
        key: A text that the browser chooses, by which a judgement that arrives twice is stored once.
        item: The item's number.
        action: `judge`; `skip`: they cannot judge it; `undo`: what they said before no longer counts.
        choice: The better answer, in the order of the store, not that of the screen.
        steps: The step of each aspect, in the order of the store.
        flag: Whether something is wrong with the item, so that a reviewer looks at it.
        comment: What they say about it.
        better: An answer of their own, which becomes a prompt/completion pair.
        swapped: Whether the screen showed `b` first.
        seconds: The time that they spent on the item.
        review: Whether they decide as a reviewer.
        guide: The digest of the guide that stood beside the item; empty: the batch's present one.
        digest: The digest of the item that was on the screen, as a restored store may have another item of
            that number; empty: it is not known.
        time: When it was given in another tool, ISO 8601 in UTC; empty: now.
    """

    key: str
    item: int
    action: Action = "judge"
    choice: str = ""
    steps: Mapping[str, int] = field(default_factory=dict)
    flag: bool = False
    comment: str = ""
    better: str = ""
    swapped: bool = False
    seconds: float = 0.0
    review: bool = False
    guide: str = ""
    time: str = ""
    digest: str = ""

    def check(self) -> None:
        """Raise UserError for a value that is not valid."""
        if (
            not 0 < len(self.key) <= LONGEST_JUDGEMENT_KEY
            or not self.key.isascii()
            or not self.key.isprintable()
        ):
            raise UserError(
                f"key has {len(self.key)} characters; expected 1 to {LONGEST_JUDGEMENT_KEY} of ASCII"
            )
        if self.action not in ACTIONS:
            raise UserError(f"action is {self.action!a}; expected one of {', '.join(ACTIONS)}")
        if self.choice not in (CHOICES if self.action == "judge" else ("",)):
            raise UserError(f"choice is {self.choice!a}; expected one of {', '.join(CHOICES)}")
        for aspect, step in self.steps.items():
            if type(step) is not int or step not in STEPS:
                raise UserError(f"the step of {aspect!a} is {step!a}; expected 1 to 5")
        for name in ("comment", "better"):
            if len(getattr(self, name)) > LONGEST_REMARK:
                raise UserError(f"{name} has more than {LONGEST_REMARK:,} characters")
        if not math.isfinite(self.seconds) or self.seconds < 0:
            raise UserError(f"seconds is {self.seconds}; expected 0 or more")


def add_judgements(store: LabelStore, person: Person, judgements: Sequence[Judgement]) -> list[str]:
    """Add judgements of one person in their order, all in one transaction.

    Returns:
        The keys of those that are stored now: new ones, and ones that were stored before.

    Raises:
        UserError: A judgement is not valid, names no item, or is a review by somebody who is no reviewer.
    """
    for judgement in judgements:
        judgement.check()
        if judgement.review and not person.is_reviewer:
            raise UserError(f"{person.name!r} is not a reviewer")
    stored = []
    with store.write() as connection:
        for judgement in judgements:
            _add_judgement(connection, person, judgement)
            stored.append(judgement.key)
    return stored


def _add_judgement(connection: Connection, person: Person, judgement: Judgement) -> None:
    values = _judgement_values(person, judgement)
    known = (
        connection.execute(select(JUDGEMENT_TABLE).where(JUDGEMENT_TABLE.c.key == judgement.key))
        .mappings()
        .first()
    )
    if known is not None and all(known[name] == value for name, value in values.items()):
        return
    if known is not None:
        raise UserError(f"the key {judgement.key!a} is that of another judgement")
    item = (
        connection.execute(
            select(ITEM_TABLE.c.digest, BATCH_TABLE.c.guide, BATCH_TABLE.c.aspects)
            .join(BATCH_TABLE, BATCH_TABLE.c.number == ITEM_TABLE.c.batch)
            .where(ITEM_TABLE.c.number == judgement.item)
        )
        .mappings()
        .first()
    )
    if item is None:
        raise UserError(f"there is no item {judgement.item}")
    if judgement.digest not in ("", item["digest"]):
        raise UserError(f"item {judgement.item} is another one than the one that was judged")
    if unknown := sorted(set(judgement.steps) - set(item["aspects"])):
        raise UserError(f"item {judgement.item} is not judged on {', '.join(map(ascii, unknown))}")
    mine = and_(
        JUDGEMENT_TABLE.c.item == judgement.item,
        JUDGEMENT_TABLE.c.person == person.name,
        JUDGEMENT_TABLE.c.review == judgement.review,
        JUDGEMENT_TABLE.c.newest,
    )
    guide = judgement.guide or item["guide"]
    if connection.execute(select(GUIDE_TABLE.c.digest).where(GUIDE_TABLE.c.digest == guide)).first() is None:
        raise UserError(f"there is no guide {guide!a}")
    before = connection.execute(select(JUDGEMENT_TABLE.c.action).where(mine)).scalar()
    connection.execute(update(JUDGEMENT_TABLE).where(mine).values(newest=False))
    connection.execute(
        insert(JUDGEMENT_TABLE).values(**values, guide=guide, time=judgement.time or iso_now())
    )
    if judgement.review:
        return
    change = (judgement.action == "judge") - (before == "judge")
    if change:
        connection.execute(
            update(ITEM_TABLE)
            .where(ITEM_TABLE.c.number == judgement.item)
            .values(given=ITEM_TABLE.c.given + change)
        )
    release_hold(connection, person.name, judgement.item)
    if judgement.action == "undo":
        # The person gets the item again, before any other.
        hold_item(connection, person.name, judgement.item)


def _judgement_values(person: Person, judgement: Judgement) -> dict[str, Any]:
    """Return what the browser says of a judgement, as the table has it."""
    return {
        "key": judgement.key, "item": judgement.item, "person": person.name, "action": judgement.action,
        "review": judgement.review, "choice": judgement.choice, "steps": dict(judgement.steps),
        "flag": judgement.flag, "comment": judgement.comment, "better": judgement.better,
        "swapped": judgement.swapped, "seconds": min(judgement.seconds, LONGEST_TIME_ON_ITEM),
    }  # fmt: skip


def newest_judgements(store: LabelStore, review: bool | None = None) -> Iterator[RowMapping]:
    """Yield what each person says of each item now, with the item's and its batch's columns.

    Skipped and undone items are left out. Columns of the item are named `item_…`, those of the batch
    `batch_…`.

    Args:
        store: The store.
        review: Only the decisions of reviewers, or only the other judgements; None: both.
    """
    columns = [
        *JUDGEMENT_TABLE.c,
        *(column.label(f"item_{column.name}") for column in ITEM_TABLE.c),
        *(column.label(f"batch_{column.name}") for column in BATCH_TABLE.c),
    ]
    query = (
        select(*columns)
        .join(ITEM_TABLE, ITEM_TABLE.c.number == JUDGEMENT_TABLE.c.item)
        .join(BATCH_TABLE, BATCH_TABLE.c.number == ITEM_TABLE.c.batch)
        .where(JUDGEMENT_TABLE.c.newest, JUDGEMENT_TABLE.c.action == "judge")
        .order_by(JUDGEMENT_TABLE.c.number)
    )
    if review is not None:
        query = query.where(JUDGEMENT_TABLE.c.review == review)
    with store.read() as connection:
        yield from connection.execute(query).mappings()
