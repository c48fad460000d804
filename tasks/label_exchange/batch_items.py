"""A batch of the label page as another tool gets it: its items, and who judges which of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from sqlalchemy import select

from model.errors import UserError
from tasks.common.counts import counted
from tasks.labelling.batches import guide_text, list_batches
from tasks.labelling.queue import is_swapped
from tasks.labelling.schema import ITEM_TABLE, JUDGEMENT_TABLE, LabelStore

# Whoever opens a project that is no one person's.
ANYBODY = ""


@dataclass(frozen=True)
class ExchangedItem:
    """An item of a batch, without the models that answered and without the reason why it was chosen.

    Attributes:
        digest: What identifies it in its batch.
        conversation: The prompt, with the turns before it.
        a: An answer, in the order of the store.
        b: The other answer.
        judged_by: The people who judged it already.
    """

    digest: str
    conversation: str
    a: str
    b: str
    judged_by: frozenset[str] = frozenset()

    def answers_for(self, person: str) -> tuple[str, str]:
        """Return the answers in the order in which a person sees them, as on the label page."""
        return (self.b, self.a) if is_swapped(person, self.digest) else (self.a, self.b)


@dataclass(frozen=True)
class ExchangedBatch:
    """A batch that another tool gets.

    Attributes:
        number: Its number in the store.
        name: Its name.
        key: What identifies it among the batches of all projects that use the same tool.
        guide: The digest of its guide.
        guide_text: The guide's text, in Markdown.
        aspects: Aspects that people compare after their choice.
        needed: Judgements by different people that an item needs.
        items: Its items, in the order of the store.
    """

    number: int
    name: str
    key: str
    guide: str
    guide_text: str
    aspects: tuple[str, ...]
    needed: int
    items: tuple[ExchangedItem, ...]


@dataclass(frozen=True)
class PushedList:
    """A person's items of a batch in another tool.

    Attributes:
        person: The person, or ANYBODY.
        added: The number of items that were added.
        items: The number of all that are there.
        place: Where they are; empty if the person has none there.
        reason: Why no item was added; empty if some were.
    """

    person: str
    added: int
    items: int
    place: str
    reason: str = ""


def read_exchanged_batches(store: LabelStore, name: str = "") -> list[ExchangedBatch]:
    """Return the batches of the store, or the one of a name. Raise UserError if there is none."""
    found = [batch for batch in list_batches(store) if not name or batch.name == name]
    if not found:
        raise UserError(
            f"there is no batch named {name!r}; `chatmill label batches` shows the names"
            if name
            else "there is no batch; `chatmill label batch` makes one"
        )
    batches = []
    for batch in found:
        # The time of its creation tells batches of one name in two projects apart.
        key = hashlib.sha256(f"{batch.name}\0{batch.created}".encode("utf-8", "replace")).hexdigest()[:16]
        text = guide_text(store, batch.guide) or ""
        items = _read_batch_items(store, batch.number)
        batches.append(
            ExchangedBatch(
                batch.number, batch.name, key, batch.guide, text, batch.aspects, batch.needed, items
            )
        )
    return batches


def _read_batch_items(store: LabelStore, number: int) -> tuple[ExchangedItem, ...]:
    judged: dict[int, set[str]] = {}
    with store.read() as connection:
        rows = list(
            connection.execute(
                select(ITEM_TABLE).where(ITEM_TABLE.c.batch == number).order_by(ITEM_TABLE.c.number)
            ).mappings()
        )
        for item, person in connection.execute(
            select(JUDGEMENT_TABLE.c.item, JUDGEMENT_TABLE.c.person)
            .join(ITEM_TABLE, ITEM_TABLE.c.number == JUDGEMENT_TABLE.c.item)
            .where(
                ITEM_TABLE.c.batch == number,
                JUDGEMENT_TABLE.c.newest,
                ~JUDGEMENT_TABLE.c.review,
                JUDGEMENT_TABLE.c.action == "judge",
            )
        ):
            judged.setdefault(item, set()).add(person)
    return tuple(
        ExchangedItem(
            row["digest"],
            format_conversation(row["history"], row["prompt"]),
            row["a"],
            row["b"],
            frozenset(judged.get(row["number"], ())),
        )
        for row in rows
    )


def format_conversation(history: Sequence[Mapping[str, str]], prompt: str) -> str:
    """Return the prompt; with turns before it, all turns with the role of each."""
    if not history:
        return prompt
    turns = [*history, {"role": "user", "content": prompt}]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def assign_items(
    batch: ExchangedBatch, people: Sequence[str], there: Mapping[str, AbstractSet[str]]
) -> dict[str, list[ExchangedItem]]:
    """Return the items that each person still gets, so that as many people judge an item as the batch needs.

    Those with the fewest items get the next one. A second call, with what the first one has sent, goes on
    where a killed one stopped.

    Args:
        batch: The batch.
        people: The people who get items, or ANYBODY.
        there: The digests of the items that the tool has already, by person.
    """
    counts = {person: len(there.get(person, ())) for person in people}
    assigned: dict[str, list[ExchangedItem]] = {person: [] for person in people}
    for item in batch.items:
        have = {*item.judged_by, *(person for person, digests in there.items() if item.digest in digests)}
        free = sorted((each for each in people if each not in have), key=lambda each: counts[each])
        for person in free[: max(0, batch.needed - len(have))]:
            assigned[person].append(item)
            counts[person] += 1
    return assigned


def explain_no_items(batch: ExchangedBatch, person: str, there: Mapping[str, AbstractSet[str]]) -> str:
    """Return why a person gets no more items of a batch, as the end of a sentence.

    Args:
        batch: The batch.
        person: The person, or ANYBODY.
        there: The digests of the items that the tool has, by person.
    """
    sent, judged, rest = 0, 0, 0
    for item in batch.items:
        if item.digest in there.get(person, ()):
            sent += 1
        elif person in item.judged_by:
            judged += 1
        else:
            rest += 1
    parts = {
        f"{sent:,} there already": sent,
        f"{judged:,} judged on the label page": judged,
        f"{rest:,} with the {counted(batch.needed, 'people')} that an item needs": rest,
    }
    said = ", ".join(part for part, count in parts.items() if count)
    return f"{counted(len(batch.items), 'items')} of the batch: {said}" if said else "the batch has no items"


def check_people(batch: ExchangedBatch, people: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return who gets the items: the named people, or ANYBODY where one judgement an item is enough.

    Args:
        batch: The batch.
        people: The people who were named.
        known: The people of the label page.

    Raises:
        UserError: A person is not known, or the batch needs several people and none is named.
    """
    there, people = set(known), list(dict.fromkeys(people))
    for person in people:
        if person not in there:
            raise UserError(
                f"the label page has nobody named {person!r}; `chatmill people add` adds people, and "
                "`chatmill people list` shows the names"
            )
    if len(people) < batch.needed and (people or batch.needed > 1):
        raise UserError(
            f"batch {batch.name} needs {batch.needed} people for each item, and {len(people)} are named; "
            "name them with --person NAME for each, as every person gets a list of their own there"
        )
    return people or [ANYBODY]
