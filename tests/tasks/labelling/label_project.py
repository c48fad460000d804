"""A store of the label page with people and a batch, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.judgements import Judgement, add_judgements
from tasks.labelling.people import Person, Role, add_person
from tasks.labelling.schema import LabelStore, open_label_store

NUMBERS = iter(range(10**9))


def opened(root: Path) -> Iterator[LabelStore]:
    """Yield the store of a project's folder, and close it."""
    store = open_label_store(root)
    try:
        yield store
    finally:
        store.close()


def person(store: LabelStore, name: str, role: Role = "labeller") -> Person:
    """Return a person who is added to the store."""
    return add_person(store, name, role)[0]


def items(count: int, start: int = 0) -> list[LabelItem]:
    """Return items that differ from each other."""
    return [LabelItem(f"Question {n}?", f"Answer {n}.", f"Other {n}.") for n in range(start, start + count)]


def batch(store: LabelStore, count: int = 3, needed: int = 2, aspects: tuple[str, ...] = ()) -> None:
    """Add a batch of new items to the store."""
    add_batch(store, BatchSettings(f"batch {next(NUMBERS)}", aspects=aspects, needed=needed), items(count))


def judge(store: LabelStore, who: Person, item: int, choice: str = "a", **more: object) -> str:
    """Add a judgement; return its key."""
    key = f"key-{next(NUMBERS)}"
    judgement = Judgement(key, item, choice=choice if more.get("action", "judge") == "judge" else "", **more)  # type: ignore[arg-type]
    add_judgements(store, who, [judgement])
    return key
