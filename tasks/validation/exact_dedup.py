"""Find exact duplicates and contradictions among all rows by digests, one range of digests at a time.

Memory does not grow with the number of rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.common.annotators import is_nobody
from tasks.data.records import STRINGS

_RECORD = np.dtype([("key", "<u8"), ("group", "<u8"), ("shard", "<u4"), ("index", "<u4")])
MARK = np.dtype([("shard", "<u4"), ("index", "<u4"), ("rule", "<u4")])
_TOGETHER = 1 << 21  # records sorted in memory at once: 50 MB
CONTRADICTS, REPEATS, TORN, NEAR = range(4)  # indices into tasks.validation.expectations.ACROSS


def content_record(kind: str, row: Mapping[str, Any], shard: int, index: int) -> tuple[int, int, int, int]:
    """Return a record of a row's content and of its group.

    The content ignores case and white space. It also ignores where a prompt ends and its answer begins: the
    same text with another boundary is the same content.

    Args:
        kind: The kind of rows.
        row: The row's values.
        shard: The number of its shard.
        index: Its index in the shard.

    Returns:
        The digest of the content, the digest of the group, `shard` and `index`. A row that could not be read
        has the digest of its id, so it has no duplicates.
    """
    if row.get("fault"):
        return text_hash(str(row.get("id"))), 0, shard, index
    parts = [str(row.get(column) or "") for column in STRINGS[kind]]
    if row.get("history"):
        parts.append(json.dumps(row["history"], ensure_ascii=False))
    said = " ".join("\n".join(parts).casefold().split())
    if kind == "comparisons" and is_nobody(row.get("annotator")):
        # An anonymous label may come from another person, so each one counts as a vote of its own.
        said += f"\n{row.get('id')}"
    return text_hash(said), text_hash(str(row.get("group"))), shard, index


def rating_record(row: Mapping[str, Any], shard: int, index: int) -> tuple[int, int, int, int]:
    """Return a record of a rating and its annotators: a second rating of one answer is not a duplicate."""
    if row.get("fault"):
        return text_hash(str(row.get("id"))), 0, shard, index
    names = ("history", "prompt", "completion", "aspect", "annotators", "scores")
    asked = [row.get(name) for name in names]
    return text_hash(json.dumps(asked)), 0, shard, index


def choice_records(
    kind: str, row: Mapping[str, Any], shard: int, index: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield a record for each verdict of a named annotator.

    The key is the digest of the annotator and the question, the group the digest of the verdict. Two records
    with one key and different groups contradict each other.
    """
    if row.get("fault"):
        return
    annotator = (
        row.get("annotator") if kind == "comparisons" else next(iter(row.get("annotators") or ()), None)
    )
    if is_nobody(annotator):
        return
    asked = [annotator, row.get("aspect"), row.get("history"), row.get("prompt")]
    if kind == "comparisons" and row.get("choice") in ("a", "b", "tie"):
        # The answers are sorted, so that one comparison shown in the other order has the same key.
        key = json.dumps([*asked, *sorted((str(row.get("a")), str(row.get("b"))))])
        better = "" if row["choice"] == "tie" else str(row.get(row["choice"]))
        yield text_hash(key), text_hash(better), shard, index
    scores: list[Any] = row.get("scores") or []
    if kind == "ratings" and len(scores) == 1:
        score = scores[0]
        # Only the sign of a score can contradict another one: 4 and 5 agree that an answer is good, and 0 is
        # neither.
        if isinstance(score, int | float) and score:
            yield text_hash(json.dumps([*asked, row.get("completion")])), int(score > 0), shard, index


def text_hash(text: str) -> int:
    """Return the first eight bytes of a text's BLAKE2b digest as an integer."""
    # A row may hold half a surrogate pair, which UTF-8 cannot encode: "replace" keeps it from raising.
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def save_records(path: Path, records: Sequence[tuple[int, int, int, int]]) -> None:
    """Write a shard's records sorted by key, so that a range of keys is one slice of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, _in_order(records))


def _in_order(records: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    return np.sort(np.array(records, _RECORD), order=["key", "shard", "index"])


def find_repeats(files: Sequence[Path]) -> np.ndarray:
    """Return marks of rows that repeat the content of an earlier row.

    A mark has the rule REPEATS if both rows are in one group, and TORN if they are in different groups.
    """
    return _collect_marks(files, repeated_records)


def find_contradictions(files: Sequence[Path]) -> np.ndarray:
    """Return marks of all verdicts of one person about one thing that do not agree."""
    return _collect_marks(files, _contradicting_records)


def _collect_marks(files: Sequence[Path], find: Any) -> np.ndarray:
    arrays = [np.load(path, mmap_mode="r") for path in files]
    count = max(1, -(-sum(len(array) for array in arrays) // _TOGETHER))
    # Digests are uniform, so equal ranges of the 64-bit keys hold about equally many records.
    bounds = [min(number * (2**64 // count + 1), 2**64 - 1) for number in range(count)]
    starts = [np.searchsorted(array["key"], np.array(bounds, "<u8")) for array in arrays]
    found = [np.zeros(0, MARK)]
    for number in range(count):
        pieces = [
            array[first[number] : first[number + 1] if number + 1 < count else len(array)]
            for array, first in zip(arrays, starts, strict=True)
        ]
        together = np.concatenate(pieces) if pieces else np.zeros(0, _RECORD)
        together = together[np.lexsort((together["index"], together["shard"], together["key"]))]
        found.append(find(together))
    marks = np.concatenate(found)
    return marks[np.lexsort((marks["index"], marks["shard"]))]


def repeated_records(records: np.ndarray) -> np.ndarray:
    """Return the marks of `find_repeats` for records sorted by key, shard and index."""
    new = _key_starts(records)
    # A running maximum of the start indices gives each record the first record with its key.
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
    """Return a mask of the records whose key differs from the one before."""
    new = np.ones(len(records), bool)
    new[1:] = records["key"][1:] != records["key"][:-1]
    return new


def _make_marks(records: np.ndarray, rules: np.ndarray) -> np.ndarray:
    marks = np.zeros(len(records), MARK)
    marks["shard"], marks["index"], marks["rule"] = records["shard"], records["index"], rules
    return marks
