"""The agreement of annotators on which of two answers is better, from comparisons that lie far apart."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.common.names import stratum_key
from tasks.data.annotator_agreement import Agreement
from tasks.data.records import annotators_of, text_digest

_VALUES = {"a": 1, "tie": 0, "b": -1}


class ComparisonAgreement:
    """Collects comparisons by aspect and source, those of the same two answers in any order together."""

    def __init__(self) -> None:
        # Arrays rather than lists: there may be millions of comparisons, and a Python integer takes 28 bytes.
        self._subjects: dict[str, array[int]] = defaultdict(lambda: array("Q"))
        self._values: dict[str, array[int]] = defaultdict(lambda: array("b"))
        self._people: dict[str, set[str]] = defaultdict(set)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a comparison, a row of data/comparisons."""
        stratum = stratum_key(row["aspect"], row["source"])
        self._people[stratum].update(annotators_of(row))
        # Annotators may see the two answers in either order; sorting gives both orders one subject and one
        # sign.
        first, second = sorted((row["a"], row["b"]))
        subject = text_digest(row.get("history") or "", row["prompt"], first, second)
        self._subjects[stratum].append(int(subject, 16))
        self._values[stratum].append(_VALUES[row["choice"]] * (1 if row["a"] == first else -1))

    def by_stratum(self, least: int = 1) -> dict[str, Agreement]:
        """Return the agreement by "aspect/source", on pairs of answers with at least so many choices."""
        found = {}
        for stratum, subjects in self._subjects.items():
            agreement = Agreement()
            _, places, counts = np.unique(np.array(subjects), return_inverse=True, return_counts=True)
            given = np.array(self._values[stratum])[np.argsort(places, kind="stable")]
            for choices in np.split(given, np.cumsum(counts)[:-1]):
                if len(choices) >= least:
                    agreement.add_item(choices.tolist())
            agreement.annotators = self._people[stratum]
            found[stratum] = agreement
        return found
