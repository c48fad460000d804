"""Exclude withdrawn rows and people from training, regardless of what the sources contain."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from model.errors import UserError
from tasks.common.annotators import is_nobody, visible_name
from tasks.common.link_check import is_present
from tasks.data.audit_log import AUTHOR_KEY, REASON_KEY, append_lines, brief_json, check_signed, read_numbered
from tasks.data.records import (
    ID,
    LABEL_KINDS,
    TYPES,
    Comparison,
    Rating,
    Record,
    json_line,
    list_shards,
    naming_row,
    people_of,
    rating_row,
    text_digest,
)

WITHDRAWN = "configs/withdrawn.jsonl"
_FULL_ID = re.compile(r"[0-9a-f]{16}")
_KEYS = ("id", "rated", "annotator", AUTHOR_KEY, REASON_KEY, "time")


@dataclass(frozen=True)
class Withdrawal:
    """The withdrawal of a row, or of a person with all their labels. `time` is ISO 8601.

    `rated` accompanies the id of a rating and is the digest of what was rated, as each score changes the id.
    """

    author: str
    reason: str
    time: str
    id: str = ""
    annotator: str = ""
    rated: str = ""

    @property
    def line(self) -> str:
        """The line of the withdrawal in the file."""
        values = {
            "id": self.id,
            "rated": self.rated,
            "annotator": self.annotator,
            AUTHOR_KEY: self.author,
            REASON_KEY: self.reason,
            "time": self.time,
        }
        return json_line({name: value for name, value in values.items() if value})


@dataclass(frozen=True)
class Withdrawn:
    """The withdrawn ids of rows, names of people, and digests of rated answers (as of `rated_of`)."""

    ids: frozenset[str] = frozenset()
    annotators: frozenset[str] = frozenset()
    rated: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.ids or self.annotators or self.rated)

    @property
    def withdrawals_content(self) -> dict[str, list[str]]:
        """The withdrawals as plain, sorted values for a cache key, without empty ones."""
        found = {field.name: sorted(getattr(self, field.name)) for field in fields(self)}
        return {name: values for name, values in found.items() if values}

    @property
    def withdrawals_digest(self) -> str:
        """The digest of the withdrawals in data.dvc; empty if nothing is withdrawn."""
        text = json.dumps(self.withdrawals_content, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() if self else ""

    def names_person(self, annotator: str) -> bool:
        """Return whether a label's annotator is withdrawn.

        People without a name are numbered, as in unknown-2. Each of them is withdrawn with the name before a
        number too.
        """
        if not self.annotators:
            return False
        name = visible_name(annotator)
        while name not in self.annotators:
            if not (is_nobody(name) and "-" in name):
                return False
            name = name.rpartition("-")[0]
        return True

    def filter_row(self, row: Record) -> Record | None:
        """Return the part of a row that may be used; None: nothing of it.

        That is the row itself, a rating with fewer scores, or a comparison with fewer first judgements.
        """
        if row.id in self.ids:
            return None
        if isinstance(row, Comparison):
            return None if self.names_person(row.annotator) else self._without_first(row)
        if not isinstance(row, Rating):
            return row
        if self.rated and rated_of(vars(row)) in self.rated:
            return None
        kept = self._without_people(row)
        # Without some scores the rating has another id, which may be withdrawn too.
        return kept if kept is None or kept.id not in self.ids else None

    def _without_first(self, row: Comparison) -> Comparison:
        people = row.first_annotators
        kept = [index for index, name in enumerate(people) if not self.names_person(name)]
        # The same object, by which callers see that nothing was removed.
        if len(kept) == len(people):
            return row
        choices = [row.first_choices[index] for index in kept]
        return replace(row, first_choices=choices, first_annotators=[people[index] for index in kept])

    def _without_people(self, row: Rating) -> Rating | None:
        # The same object, by which callers see that nothing was removed.
        people = [*row.annotators, *[""] * (len(row.scores) - len(row.annotators))]
        kept = [index for index, name in enumerate(people) if not self.names_person(name)]
        if len(kept) == len(people):
            return row
        if not kept:
            return None
        people = [people[index] for index in kept if index < len(row.annotators)]
        times = [row.times[index] for index in kept if index < len(row.times)]
        return rating_row(
            row.prompt, row.completion, [row.scores[index] for index in kept], people, row.aspect,
            row.source, row.group, row.history, times if any(times) else (),
        )  # fmt: skip

    def matches_line(self, kind: str, line: bytes) -> bool:
        """Return whether a row's line, or a judgement in it, is withdrawn."""
        # Canonical lines begin with the id. Lines that people edited may not.
        canonical = line.startswith(b'{"id":"')
        number = line[ID].decode() if canonical else str(json.loads(line)["id"])
        if number in self.ids:
            return True
        if kind not in LABEL_KINDS or not (self.annotators or self.rated):
            return False
        row = json.loads(line)
        return any(map(self.names_person, people_of(row))) or (
            kind == "ratings" and rated_of(row) in self.rated
        )


NOTHING = Withdrawn()


def rated_of(row: Mapping[str, Any]) -> str:
    """Return the digest of what a rating rates: the answer and the aspect, but not the scores."""
    said = [row.get("history") or [], row["prompt"], row["completion"], row["aspect"]]
    return text_digest("rated", *said)


def read_withdrawals(root: Path) -> list[Withdrawal]:
    """Return the withdrawals of the project's file; none if it does not exist.

    Raises UserError with file and line for a line that is no withdrawal.
    """
    file = root / WITHDRAWN
    if not is_present(file, str(WITHDRAWN)):
        return []
    if not file.is_file():
        raise UserError(f"{WITHDRAWN} is not a file; expected a file of withdrawals, one per line")
    return [
        _parse_withdrawal(values, f"{WITHDRAWN}, line {line}")
        for line, values in read_numbered(file, str(WITHDRAWN))
    ]


def read_withdrawn(root: Path) -> Withdrawn:
    """Return the set of what the project's file withdraws."""
    return merge_withdrawals(read_withdrawals(root))


def merge_withdrawals(withdrawals: Iterable[Withdrawal]) -> Withdrawn:
    """Return the set of what some withdrawals withdraw."""
    found = list(withdrawals)
    ids, people, rated = (
        frozenset(filter(None, (getattr(one, name) for one in found)))
        for name in ("id", "annotator", "rated")
    )
    return Withdrawn(ids, frozenset(map(visible_name, people)), rated)


def write_withdrawals(root: Path, withdrawals: Iterable[Withdrawal]) -> list[Withdrawal]:
    """Append withdrawals to the project's file, all or none, except those of what it already withdraws.

    Returns:
        The withdrawals that were written. Another process may have written the others meanwhile.

    Raises:
        UserError: The file is damaged or cannot be written.
    """
    given, written = list(withdrawals), list[Withdrawal]()

    def new_lines(known: list[Withdrawal]) -> Iterator[str]:
        withdrawn = merge_withdrawals(known)
        for each in given:
            if each.annotator not in withdrawn.annotators and each.id not in withdrawn.ids:
                written.append(each)
                yield each.line

    append_lines(root, WITHDRAWN, new_lines, lambda: read_withdrawals(root))
    return written


def count_withdrawn(data: Path, withdrawn: Withdrawn) -> Counter[str]:
    """Return the number of rows in data/, by kind, that are withdrawn or have a withdrawn judgement."""
    found: Counter[str] = Counter()
    for kind in TYPES:
        # People and ratings are only in labels, so the large shards of text need not be read for them.
        if withdrawn.ids or kind in LABEL_KINDS:
            for path in list_shards(data / kind):
                with naming_row(path, f"data/{kind}/{path.name}"), path.open("rb") as lines:
                    found[kind] += sum(withdrawn.matches_line(kind, line) for line in lines)
    # Unary plus drops the kinds with a count of 0.
    return +found


def _parse_withdrawal(values: dict[str, Any], place: str) -> Withdrawal:
    check_signed(values, place)
    if unknown := [name for name in values if name not in _KEYS]:
        raise UserError(
            f"{place}: unknown key {unknown[0]}; a withdrawal has id or annotator, by, why and time"
        )
    for name in ("id", "annotator", "rated"):
        if name in values and (not isinstance(values[name], str) or not values[name]):
            raise UserError(f"{place}: {name} is {brief_json(values[name])}; expected a text")
    # One line withdraws one thing, so that it can be taken back alone.
    if ("id" in values) == ("annotator" in values):
        raise UserError(f"{place}: give either id or annotator, not both")
    for name in ("id", "rated"):
        if name in values and not _FULL_ID.fullmatch(values[name]):
            raise UserError(f"{place}: {name} is {brief_json(values[name])}; expected 16 hex digits")
    if "rated" in values and "id" not in values:
        raise UserError(f"{place}: rated needs the id of a rating")
    subject = {name: values[name] for name in ("id", "annotator", "rated") if name in values}
    return Withdrawal(values[AUTHOR_KEY], values[REASON_KEY], values["time"], **subject)
