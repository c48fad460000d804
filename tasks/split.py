"""Splits: assigns rows to train, validation and test by the digest of their group, without shuffling."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from model.errors import UserError
from model.events import EventCallback
from tasks.data.groups import describe_few_groups, group_of
from tasks.data.records import TYPES, list_shards
from tasks.data.splits import SPLITS, SplitParameters, split_of
from tasks.engine.declaration import named_metrics
from tasks.engine.parallel import ParallelMap, report_pace, serial_map
from tasks.engine.stage import stage

_FRACTIONS = {"valid": "validation_fraction", "test": "test_fraction"}


@dataclass(frozen=True)
class SplitTask:
    """One shard of a kind that is to be divided."""

    kind: str
    path: Path
    out: Path
    parameters: SplitParameters


@dataclass(frozen=True)
class SplitResult:
    """The number of a shard's rows in each split, and its size in bytes."""

    kind: str
    rows: dict[str, int]
    size: int


def split_shard(shard: SplitTask) -> SplitResult:
    """Write a shard's lines unchanged to out/{train,valid,test}/KIND/, under the shard's own number."""
    counts = dict.fromkeys(SPLITS, 0)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context((shard.out / name / shard.kind / shard.path.name).open("wb"))
            for name in SPLITS
        }
        # As bytes: the lines stay as they are, and nothing is parsed twice.
        for line in stack.enter_context(shard.path.open("rb")):
            name = split_of(group_of(line), shard.parameters)
            files[name].write(line)
            counts[name] += 1
    return SplitResult(shard.kind, counts, shard.path.stat().st_size)


# Only `rows` is read: the quarantine may change while the good rows stay the same.
@stage(
    inputs=("validate",),
    input_patterns={"validate": ("rows/*",)},
    row_folders=SPLITS,
    headline=named_metrics(("train_text", "texts to train on"), ("test_text", "to test on")),
)
def split(
    parameters: SplitParameters,
    validate: Path,
    out: Path,
    on_event: EventCallback,
    parallel_map: ParallelMap = serial_map,
) -> dict[str, int]:
    """Write out/{train,valid,test}/KIND/, a shard for each of validate's.

    Raises:
        UserError: There is no text, or a split has none, and text is required.
    """
    counts = {f"{name}_{kind}": 0 for kind in TYPES for name in SPLITS}
    for kind in TYPES:
        for name in SPLITS:
            # All folders exist, even empty ones: later stages need not ask.
            (out / name / kind).mkdir(parents=True)
    work = [
        SplitTask(kind, path, out, parameters)
        for kind in TYPES
        for path in list_shards(validate / "rows" / kind)
    ]
    done = parallel_map(split_shard, work)
    for divided in report_pace(
        done, len(work), on_event, lambda divided: (sum(divided.rows.values()), divided.size)
    ):
        for name, rows in divided.rows.items():
            counts[f"{name}_{divided.kind}"] += rows
    if parameters.text_required:
        _refuse_empty(counts, validate)
    return counts


# A second source that reads the answers of pairs as texts.
ANSWERS_AS_TEXT = (
    ", or read the answers of a file of pairs as texts too: - {name: answers, files: PAIRS.jsonl, "
    "format: rows, columns: {text: completion}, fields: {prompt: ignore}}"
)


def _refuse_empty(counts: Mapping[str, int], validate: Path) -> None:
    """Raise UserError, with the reason, if a split has no text."""
    texts = sum(counts[f"{name}_text"] for name in SPLITS)
    if not texts:
        pairs = any(counts[f"{name}_pairs"] for name in SPLITS)
        raise UserError(
            "there is no text to learn language from; add a source of texts (.txt, .md, or rows with the key "
            "text) to data.sources, or name an open model as base_model, which needs no text"
            f"{ANSWERS_AS_TEXT if pairs else ''}"
        )
    for name in SPLITS:
        if counts[f"{name}_text"]:
            continue
        few = describe_few_groups("text", list_shards(validate / "rows" / "text"))
        advice = (
            "lower split.validation_fraction and split.test_fraction"
            if name == "train"
            else f"raise split.{_FRACTIONS[name]}"
        )
        none = "the only text does not fall" if texts == 1 else f"none of the {texts:,} texts falls"
        raise UserError(f"{none} into the {name} split; {few or f'add texts, or {advice}'}")
