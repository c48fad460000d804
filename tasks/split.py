"""Splits: train, validation and test by the digest of the group that must not be torn, never a shuffle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from model.errors import UserError
from model.training.launcher import Report
from tasks.data.groups import describe_few_groups, group_of
from tasks.data.records import TYPES, shards
from tasks.engine.parallel import Spread, in_turn, paced
from tasks.engine.stage import stage

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class SplitParameters:
    """Shares of the groups that go to validation and to test; the rest is for training.

    `salt` gives another draw. A group's split depends on its own digest alone, so new data never moves old.
    """

    valid: float = 0.05
    test: float = 0.05
    salt: str = ""

    def __post_init__(self) -> None:
        for name in ("valid", "test"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share above 0 and below 0.5")


def split_of(group: str, parameters: SplitParameters) -> str:
    """Which split a group belongs to."""
    place = int(hashlib.sha256(f"{parameters.salt}{group}".encode()).hexdigest()[:13], 16) / 16**13
    if place < parameters.test:
        return "test"
    return "valid" if place < parameters.test + parameters.valid else "train"


@dataclass(frozen=True)
class Division:
    """One shard of a kind that is to be divided."""

    kind: str
    path: Path
    out: Path
    parameters: SplitParameters


@dataclass(frozen=True)
class Divided:
    """How many rows of a shard went to each split, and its bytes."""

    kind: str
    rows: dict[str, int]
    size: int


def divide(shard: Division) -> Divided:
    """Write out/{train,valid,test}/KIND/ of one shard, under its own number, the lines as they are."""
    counts = dict.fromkeys(SPLITS, 0)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context((shard.out / name / shard.kind / shard.path.name).open("wb"))
            for name in SPLITS
        }
        for line in stack.enter_context(shard.path.open("rb")):
            name = split_of(group_of(line), shard.parameters)
            files[name].write(line)
            counts[name] += 1
    return Divided(shard.kind, counts, shard.path.stat().st_size)


# The places of quarantined rows may change while the good rows stay.
@stage(inputs=("validate",), reads={"validate": ("rows/*",)})
def split(
    parameters: SplitParameters, validate: Path, out: Path, report: Report, spread: Spread = in_turn
) -> dict[str, int]:
    """out/{train,valid,test}/KIND/, a shard for each of validate's.

    Raises UserError where text leaves a split empty, or there is none.
    """
    counts = {f"{name}_{kind}": 0 for kind in TYPES for name in SPLITS}
    for kind in TYPES:
        for name in SPLITS:
            (out / name / kind).mkdir(parents=True)
    work = [
        Division(kind, path, out, parameters) for kind in TYPES for path in shards(validate / "rows" / kind)
    ]
    done = spread(divide, work)
    for divided in paced(done, len(work), report, lambda divided: (sum(divided.rows.values()), divided.size)):
        for name, rows in divided.rows.items():
            counts[f"{name}_{divided.kind}"] += rows
    _refuse_empty(counts, validate)
    return counts


def _refuse_empty(counts: Mapping[str, int], validate: Path) -> None:
    """Raise UserError where a split has no text, with the reason."""
    texts = sum(counts[f"{name}_text"] for name in SPLITS)
    if not texts:
        raise UserError("there is no text to learn language from; add a source of texts to data.sources")
    for name in SPLITS:
        if counts[f"{name}_text"]:
            continue
        few = describe_few_groups("text", shards(validate / "rows" / "text"))
        advice = "lower split.valid and split.test" if name == "train" else f"raise split.{name}"
        raise UserError(
            f"none of the {texts:,} texts falls into the {name} split; {few or f'add texts, or {advice}'}"
        )
