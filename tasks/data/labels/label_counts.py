"""The sentence that says where each label went, so that the numbers of labels add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.common.counts import counted
from tasks.data.labels.comparisons import Comparisons
from tasks.data.labels.ratings import Ratings

_USES = {
    "train": "for the reward model",
    "judge": "for the judge",
    "valid": "for validation",
    "test": "for the test",
}


@dataclass(frozen=True)
class CountedLabels:
    """The labels of one kind in one part.

    Attributes:
        rows: The rows of the split.
        labels: The labels that they became.
        ties: The ties among `labels`.
        unselected: The rows, or rated answers, that the preset leaves out.
    """

    rows: int
    labels: int
    ties: int = 0
    unselected: int = 0

    @property
    def repeated(self) -> int:
        """Return the number of rows that were joined with an earlier one."""
        return self.rows - self.labels - self.unselected


def count_comparisons(read: Comparisons) -> CountedLabels:
    """Return the counts of comparisons whose pairs were all read."""
    return CountedLabels(read.rows, read.ties + read.choices, read.ties, read.unselected)


def count_ratings(read: Ratings) -> CountedLabels:
    """Return the counts of ratings that were all read."""
    return CountedLabels(read.rows, read.count, unselected=read.unselected)


def describe_label_counts(kind: str, parts: Mapping[str, CountedLabels]) -> str:
    """Return where the labels of a kind went, so that the numbers add up; empty if there are none.

    Args:
        kind: `comparisons` or `ratings`.
        parts: The counts by part: train, judge, valid and test.
    """
    total = sum(part.rows for part in parts.values())
    if not total:
        return ""
    said = [
        f"{parts[name].labels:,} {use}{_count_ties(parts[name].ties)}"
        for name, use in _USES.items()
        if name in parts and parts[name].labels
    ]
    repeated, unselected = (
        sum(getattr(part, name) for part in parts.values()) for name in ("repeated", "unselected")
    )
    again = "compare the same answers again" if kind == "comparisons" else "rate the same answer again"
    if repeated:
        said.append(f"{repeated:,} {again} and count with the first")
    if unselected:
        keys = ["aspects", "sources", *(["min_annotators"] if kind == "ratings" else [])]
        named = " or ".join(f"labels.{key}" for key in keys)
        said.append(f"{unselected:,} left out by {named}")
    return f"{counted(total, kind)}: {', '.join(said)}"


def _count_ties(ties: int) -> str:
    return f" ({ties:,} {'tie' if ties == 1 else 'ties'})" if ties else ""
