"""Rows held against all others in a memory that does not grow with them: by digests, range after range."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.records import STRINGS, is_nobody

_RECORD = np.dtype([("key", "<u8"), ("group", "<u8"), ("shard", "<u4"), ("place", "<u4")])
MARK = np.dtype([("shard", "<u4"), ("place", "<u4"), ("rule", "<u4")])
_TOGETHER = 1 << 21  # records that are sorted at once: 50 MB
CONTRADICTS, REPEATS, TORN, NEAR = range(4)  # places of the rules in tasks.validation.expectations.ACROSS


def content_record(kind: str, row: Mapping[str, Any], shard: int, place: int) -> tuple[int, int, int, int]:
    """What a row says, but for case and white space, and the group that a split does not tear.

    Where a prompt ends and its answer begins does not count: the same text cut elsewhere says the same.
    """
    if row.get("fault"):
        return text_hash(str(row.get("id"))), 0, shard, place
    parts = [str(row.get(column) or "") for column in STRINGS[kind]]
    if row.get("history"):
        parts.append(json.dumps(row["history"], ensure_ascii=False))
    said = " ".join("\n".join(parts).casefold().split())
    if kind == "comparisons" and is_nobody(row.get("annotator")):
        # Whoever nobody names are several people, each with a vote.
        said += f"\n{row.get('id')}"
    return text_hash(said), text_hash(str(row.get("group"))), shard, place


def rating_record(row: Mapping[str, Any], shard: int, place: int) -> tuple[int, int, int, int]:
    """A rating with who gave it: another one of the same answer is another rating."""
    if row.get("fault"):
        return text_hash(str(row.get("id"))), 0, shard, place
    names = ("history", "prompt", "completion", "aspect", "annotators", "scores")
    asked = [row.get(name) for name in names]
    return text_hash(json.dumps(asked)), 0, shard, place


def choice_records(
    kind: str, row: Mapping[str, Any], shard: int, place: int
) -> Iterator[tuple[int, int, int, int]]:
    """Who judged what, and how: two of one key that are not of one group contradict each other."""
    if row.get("fault"):
        return
    who = row.get("annotator") if kind == "comparisons" else next(iter(row.get("annotators") or ()), None)
    if is_nobody(who):
        return
    asked = [who, row.get("aspect"), row.get("history"), row.get("prompt")]
    if kind == "comparisons" and row.get("choice") in ("a", "b", "tie"):
        key = json.dumps([*asked, *sorted((str(row.get("a")), str(row.get("b"))))])
        better = "" if row["choice"] == "tie" else str(row.get(row["choice"]))
        yield text_hash(key), text_hash(better), shard, place
    scores: list[Any] = row.get("scores") or []
    if kind == "ratings" and len(scores) == 1:
        score = scores[0]
        if isinstance(score, int | float) and score:
            yield text_hash(json.dumps([*asked, row.get("completion")])), int(score > 0), shard, place


def text_hash(text: str) -> int:
    """Eight bytes of a text's digest."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def save_records(path: Path, records: Sequence[tuple[int, int, int, int]]) -> None:
    """Write a shard's records by key, so that a range of keys is one piece of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, _in_order(records))


def duplicates_among(kind: str, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Marks of what is said again among rows that are in memory: those of `said_again`."""
    said = repeated_records(
        _in_order([content_record(kind, row, 0, place) for place, row in enumerate(rows)])
    )
    if kind != "ratings":
        return said
    whole = repeated_records(_in_order([rating_record(row, 0, place) for place, row in enumerate(rows)]))
    return np.concatenate([said[said["rule"] == TORN], whole])


def _in_order(records: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    return np.sort(np.array(records, _RECORD), order=["key", "shard", "place"])


def said_again(files: Sequence[Path]) -> np.ndarray:
    """Marks of rows whose content stands in an earlier row: REPEATS in one group, TORN in different ones."""
    return _collect_marks(files, repeated_records)


def find_contradictions(files: Sequence[Path]) -> np.ndarray:
    """Marks of all judgements of one person on one thing that do not agree."""
    return _collect_marks(files, _contradicting_records)


def _collect_marks(files: Sequence[Path], find: Any) -> np.ndarray:
    arrays = [np.load(path, mmap_mode="r") for path in files]
    count = max(1, -(-sum(len(array) for array in arrays) // _TOGETHER))
    bounds = [min(number * (2**64 // count + 1), 2**64 - 1) for number in range(count)]
    starts = [np.searchsorted(array["key"], np.array(bounds, "<u8")) for array in arrays]
    found = [np.zeros(0, MARK)]
    for number in range(count):
        pieces = [
            array[first[number] : first[number + 1] if number + 1 < count else len(array)]
            for array, first in zip(arrays, starts, strict=True)
        ]
        together = np.concatenate(pieces) if pieces else np.zeros(0, _RECORD)
        together = together[np.lexsort((together["place"], together["shard"], together["key"]))]
        found.append(find(together))
    marks = np.concatenate(found)
    return marks[np.lexsort((marks["place"], marks["shard"]))]


def repeated_records(records: np.ndarray) -> np.ndarray:
    """The marks of `said_again` on records that are in the order of their keys and places."""
    new = _key_starts(records)
    first = records["group"][np.maximum.accumulate(np.where(new, np.arange(len(records)), 0))]
    later = records[~new]
    return _make_marks(later, np.where(later["group"] == first[~new], REPEATS, TORN))


def _contradicting_records(records: np.ndarray) -> np.ndarray:
    if not len(records):
        return np.zeros(0, MARK)
    starts = np.flatnonzero(_key_starts(records))
    least, most = (f.reduceat(records["group"], starts) for f in (np.minimum, np.maximum))
    sizes = np.diff(np.append(starts, len(records)))
    disputed = records[np.repeat(least != most, sizes)]
    return _make_marks(disputed, np.full(len(disputed), CONTRADICTS))


def _key_starts(records: np.ndarray) -> np.ndarray:
    """Where another key begins."""
    new = np.ones(len(records), bool)
    new[1:] = records["key"][1:] != records["key"][:-1]
    return new


def _make_marks(records: np.ndarray, rules: np.ndarray) -> np.ndarray:
    marks = np.zeros(len(records), MARK)
    marks["shard"], marks["place"], marks["rule"] = records["shard"], records["place"], rules
    return marks
