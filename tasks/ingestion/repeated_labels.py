"""Drop repeated labels: of one person's equal labels of the same answers, the newest is kept.

Without times the first is kept. Labels that contradict each other all stay, and validation quarantines them.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.atomic_file import atomic_path
from tasks.common.annotators import is_nobody
from tasks.data.external_sort import WithdrawnRow, numbered_vote
from tasks.data.labels.rated_answers import RatedAnswers
from tasks.data.records import Comparison, ParsedRow, Rating, Record, list_shards, parse_lines
from tasks.data.rejections import rejection_id
from tasks.data.values.label_times import time_seconds
from tasks.data.withdrawals import Withdrawn
from tasks.ingestion.row_origins import read_places
from tasks.validation.exact_dedup import text_hash

_KINDS = ("comparisons", "ratings")


class Label(NamedTuple):
    """One person's verdict on an answer or on two.

    Attributes:
        key: The digest of the person and of the answers.
        verdict: The digest of the verdict, or the sign of the score.
        time: Seconds since 1970.
        where: The place in the source.
    """

    key: int
    verdict: int
    time: float = -math.inf
    where: str = ""


def label_of(row: Mapping[str, Any], where: str = "") -> Label | None:
    """Return a row's label; None if the row has no label, several labels, or one of an unknown person."""
    asked = [row.get(name) for name in ("aspect", "source", "history", "prompt")]
    if "choice" in row:
        who, time = row.get("annotator"), row.get("time")
        # A comparison may show the same two answers in either order.
        sides = sorted((str(row.get("a")), str(row.get("b"))))
        better = row.get(str(row["choice"])) if row["choice"] in ("a", "b") else ""
        about, verdict = json.dumps([who, *asked, *sides]), text_hash(f"{row['choice'] == 'tie'} {better}")
    elif len(row.get("scores") or ()) == 1:
        who, time = next(iter(row.get("annotators") or ()), None), next(iter(row.get("times") or ()), "")
        score = row["scores"][0]
        about, verdict = json.dumps([who, *asked, row.get("completion")]), int(score > 0) - int(score < 0)
    else:
        return None
    if is_nobody(who) or row.get("fault"):
        return None
    return Label(text_hash(about), verdict, time_seconds(str(time or "")), where)


def find_repeated(labels: Iterable[tuple[int, Label]]) -> set[int]:
    """Return the places of labels that repeat another label of the same person.

    Args:
        labels: Labels with a place each.
    """
    by_key: dict[int, list[tuple[int, Label]]] = {}
    for index, label in labels:
        by_key.setdefault(label.key, []).append((index, label))
    repeated: set[int] = set()
    for several in by_key.values():
        # A score of 0 contradicts neither a positive nor a negative one.
        verdicts = {label.verdict for _, label in several} - {0}
        if len(several) > 1 and len(verdicts) < 2:
            newest = max(label.time for _, label in several)
            kept = min((_in_order(label.where), index) for index, label in several if label.time == newest)[1]
            repeated |= {index for index, _ in several if index != kept}
    return repeated


def _in_order(where: str) -> list[Any]:
    """Return a sort key for places in files that puts line 10 after line 9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", where)]


def keep_each_once(
    every: Sequence[ParsedRow],
    seen: Collection[str],
    withdrawn: Withdrawn,
    rejected: Collection[str] = (),
    rated: RatedAnswers | None = None,
) -> list[Record]:
    """Return the rows of a source that ingestion keeps: each once, and none that is withdrawn or rejected.

    Labels of unknown people are votes and all stay.

    Args:
        every: The rows as they were read.
        seen: The ids of rows of earlier sources.
        withdrawn: The withdrawals.
        rejected: The rejection ids of rejected rows besides the pairs that `every` rejects.
        rated: Notes each row that is not withdrawn, repeated ones too.
    """
    kept: list[Record] = []
    places: list[str] = []
    taken, gone = set(seen), {*rejected, *(found.rejects for found in every)}
    votes: Counter[str] = Counter()
    for found in every:
        # Equal votes have one id, so the test of ids would drop all but the first.
        vote = found.anonymous and isinstance(found.row, Comparison | Rating)
        votes[found.row.id] += vote
        asked = numbered_vote(found.row, votes[found.row.id]) if vote and withdrawn else found.row
        row = withdrawn.filter_row(asked) if withdrawn else found.row
        if rated is not None:
            rated.note(row)
        if row is None or (not vote and (row.id in taken or rejection_id(row) in gone)):
            continue
        taken.add(row.id)
        kept.append(row)
        places.append(found.where)
    labels = [label_of(vars(row), where) for row, where in zip(kept, places, strict=True)]
    repeated = find_repeated((index, label) for index, label in enumerate(labels) if label)
    return [row for index, row in enumerate(kept) if index not in repeated]


def count_kept(rows: Mapping[str, WithdrawnRow], rejected: Collection[str]) -> int:
    """Return how many of some withdrawn rows, by id, the data would hold if they were not withdrawn.

    Args:
        rows: The withdrawn rows of one kind.
        rejected: The rejection ids of rejected rows.
    """
    labels = [
        row.label for number, row in rows.items() if number not in rejected and row.rejection not in rejected
    ]
    return len(labels) - len(find_repeated((index, label) for index, label in enumerate(labels) if label))


def drop_repeated_labels(out: Path) -> dict[str, int]:
    """Remove repeated labels from out/rows and out/origins, and return their number by kind."""
    dropped = {}
    for kind in _KINDS:
        # The first pass keeps 8 bytes a label. Only labels whose key occurs twice are kept whole, in the
        # second.
        keys = np.fromiter((label.key if label else 0 for label in _labels(out, kind)), np.uint64)
        known, counts = np.unique(keys, return_counts=True)
        several = frozenset(known[counts > 1].tolist()) - {0}
        if not several:
            continue
        found = ((index, label) for index, label in enumerate(_labels(out, kind)) if label)
        repeated = find_repeated((index, label) for index, label in found if label.key in several)
        if repeated:
            dropped[kind] = len(repeated)
            for name in ("rows", "origins"):
                _write_without(list_shards(out / name / kind), repeated)
    return dropped


def _labels(out: Path, kind: str) -> Iterator[Label | None]:
    for path in list_shards(out / "rows" / kind):
        with path.open("rb") as file:
            places = read_places(out / "origins" / kind / path.name)
            yield from map(label_of, parse_lines(file, str(path)), places)


def _write_without(paths: Iterable[Path], places: set[int]) -> None:
    """Rewrite files without the lines at some places, which are counted over all files."""
    number = 0
    for path in paths:
        part = path.with_suffix(".part")
        with atomic_path(path, part), path.open("rb") as reads, part.open("wb") as writes:
            for line in reads:
                if number not in places:
                    writes.write(line)
                number += 1
