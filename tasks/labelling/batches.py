"""Batches of items to judge: a prompt with two answers, under a guide, for a set number of people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import Connection, RowMapping, case, func, insert, select, true, update

from model.errors import UserError
from tasks.common.names import name_fault
from tasks.labelling.schema import BATCH_TABLE, GUIDE_TABLE, ITEM_TABLE, VOTE_KIND, LabelStore
from tasks.labelling.times import iso_now

# The key of a batch's origin that names its product.
PRODUCT_KEY = "product"

# Why an item is in its batch. Only `random` items give unbiased figures; `known` ones have a right choice.
Reason = Literal["random", "uncertain", "known", "given"]
REASONS: tuple[str, ...] = get_args(Reason)
KNOWN_CHOICES = ("a", "b", "tie")
LONGEST_GUIDE = 100_000
# People who judge one item; a team has no more.
MOST_NEEDED = 1000
DEFAULT_GUIDE = """# Which answer is better?

Choose the answer that you would rather get. A good answer is true, it helps with what was asked, and it
harms nobody.

- **Truth comes first.** An answer that invents something is worse than one that says less.
- **Then help.** It answers the question that was asked, in as few words as it needs.
- **Length is not quality.** Do not prefer an answer because it is long.
- If both are equally good, press `0`. If neither is acceptable, press `b`.
- If you cannot judge an item, skip it with `s`. If something is wrong with it, flag it with `f`.
"""


@dataclass(frozen=True)
class LabelItem:
    """A prompt and two answers to compare.

    Attributes:
        prompt: The last turn of the person who asked.
        a: An answer.
        b: The other answer.
        history: The turns before the prompt, each with `role` and `content`.
        a_model: The model or system that gave `a`; hidden from the people who judge.
        b_model: That of `b`.
        reason: Why the item is in its batch.
        known_choice: The right choice of a known item; empty for all others.
    """

    prompt: str
    a: str
    b: str
    history: tuple[Mapping[str, str], ...] = ()
    a_model: str = ""
    b_model: str = ""
    reason: Reason = "given"
    known_choice: str = ""

    @property
    def digest(self) -> str:
        """Return the digest of what people see, equal for both orders of the answers."""
        said = [list(map(dict, self.history)), self.prompt, *sorted((self.a, self.b))]
        text = json.dumps(said, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


@dataclass(frozen=True)
class BatchSettings:
    """How a batch is judged.

    Attributes:
        name: Its name, which no other batch has.
        guide: The guide's text, in Markdown.
        aspects: Aspects that people also compare, on five steps, after their choice.
        needed: Judgements by different people that an item needs.
        markdown: Whether the page shows Markdown as formatted text rather than as it was written.
        origin: Where the items come from, for the people who run the page. Its key `product` names the
            product whose models learn from the judgements; without it all do.
    """

    name: str
    guide: str = DEFAULT_GUIDE
    aspects: tuple[str, ...] = ()
    needed: int = 2
    markdown: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UserError for a setting that is not valid."""
        if fault := name_fault(self.name):
            raise UserError(f"the batch's name is {self.name!a}, {fault}")
        if not 1 <= self.needed <= MOST_NEEDED:
            raise UserError(
                f"needed is {self.needed}; a batch asks from 1 to {MOST_NEEDED} people about each item"
            )
        if not self.guide.strip():
            raise UserError("the guide is empty; people need to know what to prefer")
        if len(self.guide) > LONGEST_GUIDE:
            raise UserError(
                f"the guide has {len(self.guide):,} characters; expected at most {LONGEST_GUIDE:,}"
            )
        for aspect in self.aspects:
            if fault := name_fault(aspect):
                raise UserError(f"the aspect is {aspect!a}, {fault}")
        if len(set(self.aspects)) < len(self.aspects):
            raise UserError(f"an aspect is named twice: {', '.join(self.aspects)}")


@dataclass(frozen=True)
class Batch:
    """A batch in the store, with its numbers of items, of items that have all judgements, and of judgements.

    `judged` counts the first judgements, up to `needed` for each item.
    """

    number: int
    name: str
    created: str
    guide: str
    aspects: tuple[str, ...]
    needed: int
    markdown: bool
    open: bool
    origin: Mapping[str, Any]
    items: int
    complete: int
    judged: int

    @property
    def missing(self) -> int:
        """Return how many judgements its items still need."""
        return self.items * self.needed - self.judged


@dataclass(frozen=True)
class Added:
    """What became of the items of a new batch: added, repeated in it, and judged in earlier batches.

    `present` is whether the batch was there already, from the same items.
    """

    batch: int
    added: int
    repeated: int
    earlier: int
    present: bool = False


def add_batch(store: LabelStore, settings: BatchSettings, items: Iterable[LabelItem]) -> Added:
    """Add a batch with its items, each once, all or none.

    Items that an earlier batch has are left out and counted, as people would judge them twice. Known items
    may repeat.

    Raises:
        UserError: A setting or an item is not valid, the name is taken, or no item is left.
    """
    checked = check_items(items)
    with store.write() as connection:
        return insert_batch(connection, settings, checked)


def add_batch_once(store: LabelStore, settings: BatchSettings, items: Iterable[LabelItem]) -> Added:
    """Add a batch as `add_batch` does, unless it is there already with the same settings and items.

    A process that was killed after its transaction has told nobody, so people give the same items again.
    """
    checked = check_items(items)
    with store.write() as connection:
        return _find_same_batch(connection, settings, checked) or insert_batch(connection, settings, checked)


def _find_same_batch(
    connection: Connection, settings: BatchSettings, items: Sequence[LabelItem]
) -> Added | None:
    """Return what `insert_batch` returned for the same arguments; None if it did not add such a batch."""
    batch = (
        connection.execute(select(BATCH_TABLE).where(BATCH_TABLE.c.name == settings.name)).mappings().first()
    )
    if batch is None:
        return None
    number = int(batch["number"])
    same = (
        batch["guide"] == _guide_digest(settings.guide)
        and tuple(batch["aspects"]) == settings.aspects
        and (batch["needed"], batch["markdown"]) == (settings.needed, settings.markdown)
        # A file may be named in several ways.
        and {**batch["origin"], "file": ""} == {**settings.origin, "file": ""}
    )
    wanted = _distinct_items(items)
    judged = _earlier_items(connection, settings.origin.get(PRODUCT_KEY), before=number)
    kept = [_item_values(number, item) for item in _new_items(wanted, judged)]
    columns = [ITEM_TABLE.c[name] for name in _item_values(number, LabelItem("", "", ""))]
    there = connection.execute(select(*columns).where(ITEM_TABLE.c.batch == number)).mappings()
    if not same or {row["digest"]: dict(row) for row in there} != {row["digest"]: row for row in kept}:
        return None
    return Added(number, len(kept), len(items) - len(wanted), len(wanted) - len(kept), present=True)


def _distinct_items(items: Iterable[LabelItem]) -> dict[str, LabelItem]:
    wanted: dict[str, LabelItem] = {}
    for item in items:
        wanted.setdefault(item.digest, item)
    return wanted


def _new_items(wanted: Mapping[str, LabelItem], judged: Collection[str]) -> list[LabelItem]:
    """Return the items that no earlier batch has; a known item may repeat."""
    return [item for digest, item in wanted.items() if digest not in judged or item.known_choice]


def check_items(items: Iterable[LabelItem]) -> list[LabelItem]:
    """Return the items of a new batch. Raise UserError with the place of one that is not valid."""
    found = list(items)
    for number, item in enumerate(found, 1):
        check_item(item, f"item {number}")
    return found


def insert_batch(connection: Connection, settings: BatchSettings, items: Sequence[LabelItem]) -> Added:
    """Add a batch as `add_batch` does, in a transaction of the caller, which may look at the store first.

    Args:
        connection: A connection of `LabelStore.write`: no other process adds a batch before it ends.
        settings: How the batch is judged.
        items: Its items, from `check_items`.
    """
    settings.check()
    wanted = _distinct_items(items)
    if connection.execute(select(BATCH_TABLE.c.number).where(BATCH_TABLE.c.name == settings.name)).first():
        raise UserError(f"there is a batch named {settings.name!r}; choose another name")
    # A vote counts its own judgements alone, so it asks about all of its items.
    votes = settings.origin.get("kind") == VOTE_KIND
    judged = set() if votes else _earlier_items(connection, settings.origin.get(PRODUCT_KEY))
    kept = _new_items(wanted, judged)
    if not any(not item.known_choice for item in kept):
        raise UserError(
            "the batch has no item to judge: "
            + (f"all {len(wanted)} are in earlier batches" if wanted else "it is empty")
        )
    number = connection.execute(
        insert(BATCH_TABLE).returning(BATCH_TABLE.c.number),
        {
            "name": settings.name, "created": iso_now(), "guide": add_guide(connection, settings.guide),
            "aspects": list(settings.aspects), "needed": settings.needed, "markdown": settings.markdown,
            "origin": dict(settings.origin),
        },
    ).scalar_one()  # fmt: skip
    connection.execute(insert(ITEM_TABLE), [_item_values(number, item) for item in kept])
    given = len(items)
    return Added(number, len(kept), given - len(wanted), len(wanted) - len(kept))


def _earlier_items(connection: Connection, product: str | None, before: int | None = None) -> set[str]:
    """Return the digests of the items whose judgements a product's models learn from; None: all products.

    Batches from the number `before` on are left out. So are votes on models, from which no model learns.
    """
    earlier = true() if before is None else BATCH_TABLE.c.number < before
    batches = connection.execute(select(BATCH_TABLE.c.number, BATCH_TABLE.c.origin).where(earlier))
    read = [
        number
        for number, origin in batches
        if origin.get(PRODUCT_KEY) in (None, product) and origin.get("kind") != VOTE_KIND
    ]
    asked = select(ITEM_TABLE.c.digest).where(ITEM_TABLE.c.batch.in_(read))
    return set(connection.execute(asked).scalars())


def check_item(item: LabelItem, where: str) -> None:
    """Raise UserError, with the item's place, if people could not compare its answers."""
    for name in ("prompt", "a", "b"):
        if not getattr(item, name).strip():
            raise UserError(f"{where}: {name} is empty; expected a text")
    if item.a == item.b:
        raise UserError(f"{where}: a and b are equal, so there is nothing to choose")
    if item.reason not in REASONS:
        raise UserError(f"{where}: reason is {item.reason!r}; expected one of {', '.join(REASONS)}")
    if (item.reason == "known") != bool(item.known_choice):
        raise UserError(f"{where}: a known item, and no other, has a known_choice")
    if item.known_choice and item.known_choice not in KNOWN_CHOICES:
        raise UserError(
            f"{where}: known_choice is {item.known_choice!r}; expected one of {', '.join(KNOWN_CHOICES)}"
        )


def add_guide(connection: Connection, text: str) -> str:
    """Store a guide's text once; return its digest, which is its version."""
    digest = _guide_digest(text)
    if connection.execute(select(GUIDE_TABLE.c.digest).where(GUIDE_TABLE.c.digest == digest)).first() is None:
        connection.execute(insert(GUIDE_TABLE).values(digest=digest, text=text, created=iso_now()))
    return digest


def _guide_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def change_guide(store: LabelStore, name: str, text: str) -> str:
    """Give a batch a new guide for the judgements to come; return its digest.

    Raises:
        UserError: There is no such batch, or the text is empty or too long.
    """
    BatchSettings(name, text).check()
    with store.write() as connection:
        digest = add_guide(connection, text)
        changed = connection.execute(
            update(BATCH_TABLE).where(BATCH_TABLE.c.name == name).values(guide=digest)
        )
        if not changed.rowcount:
            raise UserError(missing_batch(name))
    return digest


def open_batch(store: LabelStore, name: str, is_open: bool) -> None:
    """Open or close a batch. Nobody is given items of a closed one. Raise UserError if there is none."""
    with store.write() as connection:
        if not connection.execute(
            update(BATCH_TABLE).where(BATCH_TABLE.c.name == name).values(open=is_open)
        ).rowcount:
            raise UserError(missing_batch(name))


def note_origin(connection: Connection, batch: Batch, values: Mapping[str, Any]) -> None:
    """Add values to what is recorded of a batch's origin."""
    wanted = BATCH_TABLE.c.number == batch.number
    connection.execute(update(BATCH_TABLE).where(wanted).values(origin={**batch.origin, **values}))


def guide_text(store: LabelStore, digest: str) -> str | None:
    """Return the text of a guide; None if there is none with that digest."""
    with store.read() as connection:
        found = connection.execute(select(GUIDE_TABLE.c.text).where(GUIDE_TABLE.c.digest == digest)).scalar()
    return None if found is None else str(found)


def list_batches(store: LabelStore) -> list[Batch]:
    """Return all batches, the oldest first."""
    with store.read() as connection:
        return select_batches(connection)


def select_batches(connection: Connection) -> list[Batch]:
    """Return all batches as a transaction sees them, the oldest first."""
    complete = func.sum(
        func.coalesce(ITEM_TABLE.c.given >= BATCH_TABLE.c.needed, False).cast(ITEM_TABLE.c.given.type)
    )
    given, needed = ITEM_TABLE.c.given, BATCH_TABLE.c.needed
    judged = func.sum(case((given > needed, needed), else_=given))
    rows = connection.execute(
        select(
            BATCH_TABLE,
            func.count(ITEM_TABLE.c.number).label("items"),
            complete.label("complete"),
            judged.label("judged"),
        )
        .join(ITEM_TABLE, ITEM_TABLE.c.batch == BATCH_TABLE.c.number)
        .group_by(BATCH_TABLE.c.number)
        .order_by(BATCH_TABLE.c.number)
    ).mappings()
    return [_as_batch(row) for row in rows]


def _as_batch(row: RowMapping) -> Batch:
    values = {name: row[name] for name in Batch.__dataclass_fields__}
    counts = {name: int(values[name] or 0) for name in ("complete", "judged")}
    return Batch(**{**values, **counts, "aspects": tuple(values["aspects"])})


def _item_values(batch: int, item: LabelItem) -> dict[str, Any]:
    return {
        "batch": batch, "digest": item.digest, "prompt": item.prompt,
        "history": list(map(dict, item.history)), "a": item.a, "b": item.b,
        "a_model": item.a_model, "b_model": item.b_model, "reason": item.reason,
        "known_choice": item.known_choice,
    }  # fmt: skip


def missing_batch(name: str) -> str:
    """Return the sentence for a name that no batch has."""
    return f"there is no batch named {name!r}; `chatmill label batches` shows the names"
