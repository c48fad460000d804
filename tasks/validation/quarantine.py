"""Read the quarantined rows, and the releases by which people accept some of them again."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.common.link_check import is_present
from tasks.data.audit_log import AUTHOR_KEY, REASON_KEY, append_lines, brief_json, check_signed, read_numbered
from tasks.data.records import TYPES, json_line, read_shards
from tasks.validation.corrected_rows import derive_again

RELEASES_FILE = "configs/admitted.jsonl"
_KEYS = ("id", AUTHOR_KEY, REASON_KEY, "time", "row")
ADDED = ("rule", "where", "value")  # keys that a quarantined row has besides its own
_SHORTEST = 6  # least characters of an abbreviated id
_NAMED = 3  # ids that a message names when several match


@dataclass(frozen=True)
class Release:
    """A person's decision to accept a quarantined row.

    Attributes:
        id: The id of the row.
        author: The person who releases the row.
        reason: The person's reason.
        time: The time of the decision, ISO 8601.
        row: The corrected row; None accepts the row as it is.
    """

    id: str
    author: str
    reason: str
    time: str
    row: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the release under the keys of the file."""
        return {
            "id": self.id,
            AUTHOR_KEY: self.author,
            REASON_KEY: self.reason,
            "time": self.time,
            "row": self.row,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Release:
        """Return the release of a line of the file."""
        return cls(values["id"], values[AUTHOR_KEY], values[REASON_KEY], values["time"], values.get("row"))


class QuarantinedRow(NamedTuple):
    """A quarantined row with its rule, its place in the source, and the value that broke the rule."""

    kind: str
    row: dict[str, Any]
    rule: str
    where: str
    value: Any

    @property
    def id(self) -> str:
        """The id of the row; empty if it has none."""
        return str(self.row.get("id") or "")

    @property
    def source(self) -> str:
        """The source of the row; empty if it has none."""
        return str(self.row.get("source") or "")

    @property
    def line(self) -> str:
        """The line of the row in data/quarantine."""
        added = {"rule": self.rule, "where": self.where, "value": self.value}
        return json_line({**self.row, **added})


@dataclass(frozen=True)
class Total:
    """Counts of the rows of one kind and source that break one rule, with the first of them."""

    kind: str
    rule: str
    source: str
    rows: int
    released: int
    first: QuarantinedRow


def read_releases(root: Path, path: Path | str = RELEASES_FILE) -> dict[str, Release]:
    """Return releases by row id. The last of several for one row counts.

    Returns:
        The releases; empty if the file does not exist.

    Raises:
        UserError: A line is no release. The message has the file and the line.
    """
    file = root / path
    if not is_present(file, str(path)):
        return {}
    if not file.is_file():
        raise UserError(f"{path} is not a file; expected a file of releases, one per line")
    return {
        found.id: found
        for found in (
            _parse_release(values, f"{path}, line {line}") for line, values in read_numbered(file, str(path))
        )
    }


def read_quarantine(root: Path) -> Iterator[QuarantinedRow]:
    """Yield the rows of data/quarantine in order of kind and id."""
    for kind in TYPES:
        for row in read_shards(root / "data" / "quarantine" / kind):
            rule, where, value = (row.pop(name, "") for name in ADDED)
            yield QuarantinedRow(kind, row, str(rule), str(where), value)


def summarize_quarantine(root: Path, released: Container[str] = ()) -> list[Total]:
    """Return counts by kind, rule and source, in the order of kinds with the largest count first."""
    totals: dict[tuple[str, str, str], Total] = {}
    for quarantined in read_quarantine(root):
        key = (quarantined.kind, quarantined.rule, quarantined.source)
        before = totals.get(key) or Total(*key, 0, 0, quarantined)
        taken = before.released + (quarantined.id in released)
        totals[key] = replace(before, rows=before.rows + 1, released=taken)
    order = list(TYPES)
    return sorted(
        totals.values(), key=lambda total: (order.index(total.kind), -total.rows, total.rule, total.source)
    )


def release_rows(
    root: Path,
    path: Path | str,
    ids: Sequence[str],
    author: str,
    reason: str,
    time: str,
    replacement: Path | None = None,
) -> list[Release]:
    """Record that rows of the quarantine are accepted.

    Args:
        root: The project's folder.
        path: The file of releases, relative to `root`.
        ids: Ids of rows, or their first 6 characters or more if these are unique. With `replacement` they
            may be empty: all rows of that file are released.
        author: The person who releases the rows.
        reason: The person's reason.
        time: The time, ISO 8601.
        replacement: A JSON Lines file of corrected rows with the ids they came with. Corrected lines of
            data/quarantine will do. Values that were derived from a corrected one are derived again.

    Returns:
        The releases that were written.

    Raises:
        UserError: Something is wrong with an argument or a row. Nothing is written then.
    """
    for name, said in (("author", author), ("reason", reason)):
        if not said.strip():
            raise UserError(f"{name} is empty; a release records its author and reason")
    corrected = _read_replacement(replacement) if replacement else {}
    if not ids and not corrected:
        raise UserError("no rows given; `chatmill quarantine show` lists row ids")
    kinds = _kinds_by_id(root, list(ids or corrected))
    rows = {}
    if replacement:
        rows = {number: _edited_rows(number, kinds[number], corrected, replacement) for number in kinds}
        # The person edited the quarantined row, which an earlier correction may have changed already.
        for found in read_quarantine(root):
            if found.id in rows and not explain_misfit(found.kind, rows[found.id]):
                rows[found.id] = derive_again(found.row, rows[found.id])
    if spare := [number for number in corrected if number not in kinds]:
        raise UserError(
            f"{corrected[spare[0]][0]}: the row {spare[0]} is not among the given ids; add it, or give "
            "no ids to release all rows of the file"
        )
    if unread := [] if replacement else _find_unreadable(root, kinds):
        raise UserError(
            f"{unread[0].id} could not be read ({unread[0].row['fault']}); fix its file, or give "
            "the complete row with --replacement"
        )
    releases = [Release(number, author.strip(), reason.strip(), time, rows.get(number)) for number in kinds]
    # All checks come before this: an invalid release in the file would stop every later run.

    def new_lines(known: Mapping[str, Release]) -> Iterator[str]:
        # Another time alone makes no other decision, as where a command ran twice at once.
        return (
            _release_line(each)
            for each in releases
            if (last := known.get(each.id)) is None or replace(last, time=each.time) != each
        )

    append_lines(root, path, new_lines, lambda: read_releases(root, path))
    return releases


def _find_unreadable(root: Path, ids: Container[str]) -> list[QuarantinedRow]:
    """Return the first row with one of these ids that could not be read, as a list of at most one."""
    found = (
        quarantined
        for quarantined in read_quarantine(root)
        if quarantined.id in ids and quarantined.row.get("fault")
    )
    return list(islice(found, 1))


def explain_misfit(kind: str, row: dict[str, Any]) -> str:
    """Return why an object is not a row of a kind: a field is missing, unknown or of a wrong type.

    Empty if it is one.
    """
    known = {field.name: str(field.type) for field in fields(TYPES[kind])}
    for field in fields(TYPES[kind]):
        if field.name not in row and field.default is MISSING and field.default_factory is MISSING:
            return f"{field.name} is missing"
    for name, value in row.items():
        if name not in known:
            return f"unknown key {name}; the fields of {kind} are {', '.join(known)}"
        if not _matches_type(value, known[name]):
            return f"{name} is {brief_json(value)}; expected {_describe_type(known[name])}"
        # A released row with a fault would be quarantined again by the same rule.
        if name == "fault" and value:
            return "fault is the reason why the row could not be read; remove it from an edited row"
    return ""


def _parse_release(values: dict[str, Any], place: str) -> Release:
    row = values.get("row")
    check_signed(values, place, ("id",))
    if unknown := [name for name in values if name not in _KEYS]:
        raise UserError(f"{place}: unknown key {unknown[0]}; a release has id, by, why, time and row")
    # Another id would be another row, and the quarantined one would stay.
    if row is not None and not (isinstance(row, dict) and row.get("id") == values["id"]):
        raise UserError(f"{place}: row is not the row {values['id']}; an edited row keeps its id")
    if row is not None and all(explain_misfit(kind, row) for kind in TYPES):
        raise UserError(
            f"{place}: row is not a complete row of {' or '.join(TYPES)}; expected every field of one"
        )
    return Release.from_json(values)


def _read_replacement(path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return corrected rows by id, each with its place, without the keys that the quarantine adds."""
    if not path.is_file():
        raise UserError(f"{path} is not a file; expected a file of edited rows, one per line")
    corrected: dict[str, tuple[str, dict[str, Any]]] = {}
    for line, row in read_numbered(path, str(path)):
        place, number = f"{path}, line {line}", row.get("id")
        if not isinstance(number, str) or not number:
            raise UserError(f"{place}: id is {brief_json(number)}; an edited row keeps its id")
        if number in corrected:
            raise UserError(f"{place}: the row {number} is given twice; expected once")
        corrected[number] = place, {name: value for name, value in row.items() if name not in ADDED}
    if not corrected:
        raise UserError(f"{path} holds no row; expected a file of edited rows, one per line")
    return corrected


def _edited_rows(
    number: str, kinds: set[str], corrected: dict[str, tuple[str, dict[str, Any]]], replacement: Path | None
) -> dict[str, Any]:
    if number not in corrected:
        raise UserError(f"{replacement} holds no row {number}; release it without a file of edited rows")
    place, row = corrected[number]
    faults = {kind: explain_misfit(kind, row) for kind in sorted(kinds)}
    if all(faults.values()):
        kind, fault = next(iter(faults.items()))
        raise UserError(f"{place}: this is not a row of {kind}: {fault}")
    return row


def _kinds_by_id(root: Path, ids: Sequence[str]) -> dict[str, set[str]]:
    """Return the whole ids in the given order, each with the kinds of rows that have it."""
    for given in ids:
        if len(given) < _SHORTEST:
            raise UserError(f"{given!r} is too short for an id; expected at least {_SHORTEST} characters")
    found: dict[str, dict[str, set[str]]] = {given: {} for given in ids}
    lengths = sorted({len(given) for given in ids})
    for quarantined in read_quarantine(root):
        for given in {quarantined.id[:length] for length in lengths} & found.keys():
            # Matches beyond those that a message names are dropped, so that a short prefix costs no memory.
            # An exact match is always kept.
            if len(found[given]) <= _NAMED or quarantined.id in (given, *found[given]):
                found[given].setdefault(quarantined.id, set()).add(quarantined.kind)
    whole: dict[str, set[str]] = {}
    for given, matches in found.items():
        number = given if given in matches else next(iter(matches), "")
        if not matches:
            raise UserError(
                f"{given} is not quarantined; `chatmill quarantine show` lists the quarantined rows"
            )
        # An id given in full is meant even if it is also the beginning of another one.
        if len(matches) > 1 and number != given:
            begun = ", ".join(list(matches)[:_NAMED])
            raise UserError(f"{given} matches several ids ({begun}); give more characters")
        whole[number] = matches[number]
    return whole


def _release_line(release: Release) -> str:
    values = {name: value for name, value in release.to_json().items() if value is not None}
    return json_line(values)


def _matches_type(value: Any, wanted: str) -> bool:
    if wanted.startswith("list["):
        return isinstance(value, list) and all(_matches_type(item, wanted[5:-1]) for item in value)
    if wanted == "float":
        # In Python a bool is an int, and `true` is no score.
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted == "Turn":
        return (
            isinstance(value, dict)
            and value.keys() == {"role", "content"}
            and all(isinstance(said, str) for said in value.values())
        )
    return isinstance(value, str)


def _describe_type(wanted: str) -> str:
    lists = {"str": "texts", "float": "numbers", "Turn": "turns with role and content"}
    return f"a list of {lists[wanted[5:-1]]}" if wanted.startswith("list[") else "a text"
