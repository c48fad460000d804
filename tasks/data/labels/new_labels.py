"""Find labels that arrived since the last report of new labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from model.atomic_file import atomic_path
from tasks.common.names import file_name
from tasks.data.records import annotators_of, read_shards, text_digest
from tasks.data.withdrawals import rated_of
from tasks.project.paths import LABELS

_KINDS = ("comparisons", "ratings")


@dataclass(frozen=True)
class Arrivals:
    """Accepted labels that are new: rows with new labels by kind, and new labels by person."""

    rows: dict[str, int]
    annotators: dict[str, int]

    def __bool__(self) -> bool:
        return any(self.rows.values())

    @property
    def count(self) -> int:
        """Return the number of new labels, those of unknown people included."""
        return sum(self.annotators.values())


def known_labels(root: Path, preset: str) -> LabelCursor:
    """Return the labels of a preset that were reported in this folder."""
    return LabelCursor(root / LABELS / f"{file_name(preset)}.npz")


@dataclass(frozen=True)
class WaitingLabels:
    """Good rows with too few new labels to be announced: their digest, their data, and the new labels."""

    digest: str = ""
    data: str = ""
    count: int = 0


class LabelCursor:
    """The file that remembers which labels were reported: the digest of the good rows, and 8 bytes a label.

    Each score of a rating is a label of its own, so a row is not new because one of its scores is gone.
    `data` is the hash of the data version with these labels. A missing or damaged file knows no labels.
    `waiting` describes later rows whose few new labels are not reported yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = self.data = ""
        self.labels = np.zeros(0, np.uint64)
        self.waiting = WaitingLabels()
        try:
            with np.load(path, allow_pickle=False) as found:
                self.labels = found["labels"]
                self.digest, self.data = str(found["digest"]), str(found["data"])
                # Files of earlier versions lack it.
                if "waiting" in found.files:
                    digest, data, count = map(str, found["waiting"])
                    self.waiting = WaitingLabels(digest, data, int(count))
        # A damaged file only means that known labels are reported once more.
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return

    def is_handled(self, digest: str, data: str, least: int) -> bool:
        """Return whether nothing is left to report of good rows.

        Args:
            digest: The digest of the good rows.
            data: The hash of their version of the data.
            least: The fewest new labels that are reported.
        """
        if (digest, data) == (self.digest, self.data):
            return True
        waiting = self.waiting
        return (digest, data) == (waiting.digest, waiting.data) and waiting.count < least

    def find_new_labels(self, good: Path, found: str) -> Arrivals:
        """Return the labels in good/KIND that are not known. `remember_labels` makes them known."""
        rows, people = dict.fromkeys(_KINDS, 0), Counter[str]()
        if found == self.digest:
            return Arrivals(rows, {})
        known = set(self.labels.tolist())
        for kind in _KINDS:
            for row in read_shards(good / kind):
                new = [annotator for label, annotator in _row_labels(row) if label not in known]
                rows[kind] += bool(new)
                people.update(new)
        return Arrivals(rows, dict(sorted(people.items())))

    def remember_labels(self, good: Path, found: str, data: str) -> None:
        """Replace the known labels by those in good/KIND."""
        if (found, data) == (self.digest, self.data):
            return
        self.labels = np.fromiter(
            (label for kind in _KINDS for row in read_shards(good / kind) for label, _ in _row_labels(row)),
            np.uint64,
        )
        self.digest, self.data, self.waiting = found, data, WaitingLabels()
        self._write_file()

    def remember_waiting(self, found: str, data: str, count: int) -> None:
        """Remember that good rows have so many new labels, too few to be reported. They stay new."""
        self.waiting = WaitingLabels(found, data, count)
        self._write_file()

    def _write_file(self) -> None:
        waiting = np.array([self.waiting.digest, self.waiting.data, str(self.waiting.count)])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as part, part.open("wb") as file:
            np.savez(
                file, digest=np.array(self.digest), data=np.array(self.data), labels=self.labels,
                waiting=waiting,
            )  # fmt: skip


def _row_labels(row: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield each label of a row as a number, with its annotator."""
    if "scores" not in row:
        yield int(row["id"], 16), row.get("annotator", "")
        return
    rated = rated_of(row)
    for annotator, score in zip(annotators_of(row), row["scores"], strict=False):
        # Identified without the row's id, which changes with every score that is added or withdrawn.
        yield int(text_digest(rated, annotator, score), 16), annotator
