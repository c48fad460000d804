"""Which labels have come since the last time that somebody was told of labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zipfile import BadZipFile

import numpy as np

from tasks.records import annotators_of, read_shards

KINDS = ("comparisons", "ratings")


@dataclass(frozen=True)
class Arrivals:
    """Labels that were accepted and not known before, by kind and by who gave them."""

    rows: dict[str, int]
    annotators: dict[str, int]

    def __bool__(self) -> bool:
        return any(self.rows.values())


def known_labels(var: Path, preset: str) -> Known:
    """The labels of a preset that were told of in this folder."""
    return Known(var / "labels" / f"{quote(preset, safe='')}.npz")


class Known:
    """The file that remembers the labels told of: the digest of the good rows, and the ids by kind.

    `data` is the hash of the data version that they were in. Eight bytes a label. A file that is gone or
    broken knows none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = self.data = ""
        self.ids = {kind: np.zeros(0, np.uint64) for kind in KINDS}
        try:
            with np.load(path, allow_pickle=False) as found:
                self.ids = {kind: found[kind] for kind in KINDS}
                self.digest, self.data = str(found["digest"]), str(found["data"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return

    def arrived(self, good: Path, digest: str) -> Arrivals:
        """What of the rows in good/KIND is not known; `remember` makes it so."""
        rows, people = dict.fromkeys(KINDS, 0), Counter[str]()
        if digest == self.digest:
            return Arrivals(rows, {})
        for kind in KINDS:
            known = set(self.ids[kind].tolist())
            for row in read_shards(good / kind):
                if int(row["id"], 16) not in known:
                    rows[kind] += 1
                    people.update(annotators_of(row))
        return Arrivals(rows, dict(sorted(people.items())))

    def remember(self, good: Path, digest: str, data: str) -> None:
        """The labels in good/KIND are known from now on, and no others."""
        if (digest, data) == (self.digest, self.data):
            return
        for kind in KINDS:
            self.ids[kind] = np.fromiter((int(row["id"], 16) for row in read_shards(good / kind)), np.uint64)
        self.digest, self.data = digest, data
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            kept: dict[str, Any] = {"digest": np.array(digest), "data": np.array(data), **self.ids}
            np.savez(file, **kept)
        part.replace(self.path)
