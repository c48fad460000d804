"""Judgements that come back from another tool, as rows of the label page's store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping, select

from model.errors import UserError
from tasks.label_exchange.batch_items import ANYBODY, ExchangedBatch
from tasks.labelling.batches import guide_text
from tasks.labelling.judgements import Action, Judgement, add_judgements
from tasks.labelling.people import add_person, check_person_name, find_person
from tasks.labelling.queue import is_swapped
from tasks.labelling.schema import ITEM_TABLE, JUDGEMENT_TABLE, LabelStore

FIRST, SECOND, TIE, BAD = "answer1", "answer2", "tie", "bad"
# Keys of one query.
_MOST_KEYS = 500


@dataclass(frozen=True)
class ReturnedJudgement:
    """What a person said about an item in another tool, in the order of that person's screen.

    Attributes:
        person: The person.
        order: Whose order of the answers the screen had: the person, or nobody in particular.
        item: The item's digest.
        origin: What identifies this state of the judgement in the tool; a changed one has another.
        choice: FIRST, SECOND, TIE or BAD; empty for a skipped item.
        steps: The step of each aspect, from 1 (the first answer) to 5 (the second).
        comment: What the person says.
        better: An answer of their own.
        flag: Whether a reviewer should look at the item.
        seconds: The time on the item.
        time: When it was given, ISO 8601; empty: now.
        guide: The digest of the guide beside it; empty: the batch's present one.
    """

    person: str
    order: str
    item: str
    origin: str
    choice: str = ""
    steps: Mapping[str, int] = field(default_factory=dict)
    comment: str = ""
    better: str = ""
    flag: bool = False
    seconds: float = 0.0
    time: str = ""
    guide: str = ""


@dataclass
class ToolItems:
    """What a tool has of a batch now, beside the judgements that can be read.

    Attributes:
        lists: The digests of the items by the person whose list it is, or ANYBODY.
        judged: Each item with a person who said something about it there, readable or not; an empty name
            stands for somebody whom the tool does not name.
    """

    lists: dict[str, set[str]] = field(default_factory=dict)
    judged: set[tuple[str, str]] = field(default_factory=set)

    def add(self, person: str, item: str) -> None:
        """Note an item of a person's list."""
        self.lists.setdefault(person, set()).add(item)

    def note(self, person: str, item: str) -> None:
        """Note that a person said something about an item there; an empty name: somebody unknown."""
        try:
            name = check_person_name(person) if person else ""
        except UserError:
            name = ""
        self.judged.add((item, name))

    def has(self, person: str, item: str) -> bool:
        """Return whether a person can judge an item there."""
        return any(item in self.lists.get(each, ()) for each in (person, ANYBODY))

    def is_deleted(self, person: str, item: str) -> bool:
        """Return whether a judgement of an item that is still there is not."""
        return self.has(person, item) and not {(item, person), (item, "")} & self.judged


@dataclass
class PullResult:
    """What became of the judgements of one batch.

    Attributes:
        new: Judgements that were added.
        known: Judgements that the store had.
        withdrawn: Judgements that are deleted there, and count no more.
        kept: Judgements of items that are not there any more; they count still.
        people: The people with new judgements.
        faults: Sentences about what was left out.
    """

    new: int = 0
    known: int = 0
    withdrawn: int = 0
    kept: int = 0
    people: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


def store_returned(
    store: LabelStore, batch: ExchangedBatch, tool: str, found: Iterable[ReturnedJudgement | str],
    there: ToolItems,
) -> PullResult:  # fmt: skip
    """Add the judgements that the store lacks; a second call with the same ones adds nothing.

    A judgement that was fetched before and is deleted there is followed by a row that takes it back. Nothing
    is taken back because an item, or a whole list, is gone: people tidy up when a batch is done.

    Args:
        store: The label page's store.
        batch: Their batch.
        tool: The tool's name, in ASCII.
        found: Judgements in the order in which they were given, and sentences about unreadable ones.
        there: The items that the tool has.
    """
    result = PullResult()
    numbers = _item_numbers(store, batch.number)
    people: dict[str, list[Judgement]] = {}
    guides: dict[str, str] = {}
    for each in found:
        if isinstance(each, str):
            result.faults.append(each)
            continue
        if each.item not in numbers:
            result.faults.append(f"an item {each.item[:40]!a}, which batch {batch.name} does not have")
            continue
        if each.guide not in guides:
            # What stands in the other tool may have been changed there.
            guides[each.guide] = each.guide if guide_text(store, each.guide) else batch.guide
        judgement = _as_judgement(batch, tool, replace(each, guide=guides[each.guide]), numbers[each.item])
        try:
            judgement.check()
            name = check_person_name(each.person)
        except UserError as error:
            result.faults.append(f"a judgement of item {each.item}: {error}")
            continue
        people.setdefault(name, []).append(judgement)
    known = set(_known_keys(store, [one.key for some in people.values() for one in some]))
    for name, judgements in sorted(people.items()):
        new = [one for one in judgements if one.key not in known]
        result.known += len(judgements) - len(new)
        if not new:
            continue
        # A person of another tool has no way to sign in here before they are given a link.
        person = find_person(store, name) or add_person(store, name)[0]
        add_judgements(store, person, new)
        result.new += len(new)
        result.people.add(name)
    _follow_deletions(store, batch, tool, people, there, result)
    return result


def _follow_deletions(
    store: LabelStore, batch: ExchangedBatch, tool: str, people: Mapping[str, Sequence[Judgement]],
    there: ToolItems, result: PullResult,
) -> None:  # fmt: skip
    """Take back what is deleted there, and add again what is back or what counted before it."""
    # The last one of each person and item counts.
    given = {(name, one.item): one for name, some in people.items() for one in some}
    more: dict[str, list[Judgement]] = {}
    for row in _counting_rows(store, batch.number, tool):
        name, item = row["person"], row["digest"]
        last = given.get((name, row["item"]))
        if not there.has(name, item):
            result.kept += row["action"] != "undo"
        elif there.is_deleted(name, item):
            if row["action"] != "undo":
                said = f"withdrawn: it was deleted in {tool}"
                key = _derived_key(tool, row["key"], "")
                more.setdefault(name, []).append(Judgement(key, row["item"], "undo", comment=said))
                result.withdrawn += 1
        elif last and row["key"] != last.key and not _is_same(row, last):
            key = _derived_key(tool, row["key"], last.key)
            more.setdefault(name, []).append(replace(last, key=key))
            result.new += 1
            result.people.add(name)
    for name, judgements in sorted(more.items()):
        if person := find_person(store, name):
            add_judgements(store, person, judgements)


def _counting_rows(store: LabelStore, batch: int, tool: str) -> list[RowMapping]:
    """Return the newest row of each person and item of a batch, as far as they came from a tool."""
    query = (
        select(JUDGEMENT_TABLE, ITEM_TABLE.c.digest)
        .join(ITEM_TABLE, ITEM_TABLE.c.number == JUDGEMENT_TABLE.c.item)
        .where(
            ITEM_TABLE.c.batch == batch,
            JUDGEMENT_TABLE.c.newest,
            ~JUDGEMENT_TABLE.c.review,
            JUDGEMENT_TABLE.c.key.startswith(f"{tool}-", autoescape=True),
        )
        .order_by(JUDGEMENT_TABLE.c.number)
    )
    with store.read() as connection:
        return list(connection.execute(query).mappings())


def _is_same(row: RowMapping, judgement: Judgement) -> bool:
    names = ("action", "choice", "steps", "flag", "comment", "better")
    return all(row[name] == getattr(judgement, name) for name in names)


def _derived_key(tool: str, *keys: str) -> str:
    """Return the key of a row that follows from others, so that a second call adds it once."""
    return f"{tool}-{hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:32]}"


def _as_judgement(batch: ExchangedBatch, tool: str, found: ReturnedJudgement, item: int) -> Judgement:
    """Return a judgement in the order of the store."""
    swapped = is_swapped(found.order, found.item)
    sides = {FIRST: "b" if swapped else "a", SECOND: "a" if swapped else "b", TIE: "tie", BAD: "bad"}
    said = json.dumps([batch.key, found.person, found.item, found.origin])
    action: Action = "judge" if found.choice else "skip"
    return Judgement(
        key=f"{tool}-{hashlib.sha256(said.encode()).hexdigest()[:32]}",
        item=item,
        action=action,
        choice=sides.get(found.choice, found.choice),
        steps={name: 6 - step if swapped else step for name, step in found.steps.items()},
        flag=found.flag,
        comment=found.comment,
        better=found.better,
        swapped=swapped,
        seconds=found.seconds,
        guide=found.guide,
        time=found.time,
    )


def _item_numbers(store: LabelStore, batch: int) -> dict[str, int]:
    with store.read() as connection:
        rows = connection.execute(
            select(ITEM_TABLE.c.digest, ITEM_TABLE.c.number).where(ITEM_TABLE.c.batch == batch)
        )
        return {digest: number for digest, number in rows}


def _known_keys(store: LabelStore, keys: Sequence[str]) -> Iterator[str]:
    with store.read() as connection:
        for start in range(0, len(keys), _MOST_KEYS):
            yield from connection.execute(
                select(JUDGEMENT_TABLE.c.key).where(
                    JUDGEMENT_TABLE.c.key.in_(keys[start : start + _MOST_KEYS])
                )
            ).scalars()


def normal_time(text: Any) -> str:
    """Return a tool's time as the store has it, in UTC with milliseconds; empty if it is no time."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        return ""
