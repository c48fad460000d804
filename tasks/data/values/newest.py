"""Select the newest of one person's annotations of one thing, in whichever export of a tool it is."""

from __future__ import annotations

from collections import Counter

from tasks.data.values.label_times import time_seconds

REPLACED = "annotations that a newer one of the same person replaces"


class NewestAnnotations:
    """The newest annotation by key. At equal times, or without times, it is the one that is read last.

    The exports of a source are read twice. `add` is called for all annotations, then `keeps` for each in the
    same order.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._places: dict[str, int] = {}
        self._added: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()

    def add(self, key: str, time: str) -> None:
        """Add an annotation with its identity and its time, as of `time_of`."""
        self._added[key] += 1
        moment = time_seconds(time)
        # At equal times the later annotation replaces the earlier one.
        if moment >= self._times.get(key, moment):
            self._times[key], self._places[key] = moment, self._added[key]

    def keeps(self, key: str) -> bool:
        """Return whether the next annotation with this key is the newest."""
        self._asked[key] += 1
        return self._places.get(key, self._asked[key]) == self._asked[key]
