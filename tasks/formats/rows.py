"""Rows of one's own, in JSON or a table: the keys of a row say which record it is.

`text`; `prompt` and `completion`; `prompt`, `a`, `b` and `choice`; `prompt` and `completion` with `score` or
`scores`. Further `references`, `history`, `aspect`, `annotator` or `annotators`, `time` or `times`, `group`,
and `id`. They may have other names in the file: the source's `columns` say which. A cell of a table holds a
list as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from model.errors import UserError
from tasks.formats import File, Format, Found, Reading, Sample
from tasks.formats.labelled import time_of
from tasks.formats.objects import read_json
from tasks.formats.turns import history, read_turns
from tasks.records import Record, Turn, comparison_row, digest, pair_row, rating_row, text_row

KNOWN = "text | prompt, completion | prompt, a, b, choice | prompt, completion, score or scores"


def parse(files: Sequence[File], reading: Reading) -> Iterator[Found]:
    """Rows of every type that the files hold. Raises UserError with file and line."""
    for file in files:
        for values, where in file.items():
            row = _named(values, reading, where)
            yield Found(_record(row, reading, where), where, _own(row))


def _named(values: Mapping[str, Any], reading: Reading, where: str) -> Mapping[str, Any]:
    """The row under the names used here. With a column named as the text, it is a text and nothing else."""
    if not reading.columns:
        return values
    for name, own in reading.columns.items():
        if own not in values:
            raise UserError(
                f"{where}: no column {own}, which columns names for {name}; there are "
                f"{', '.join(values) or 'none'}"
            )
    renamed = {own: name for name, own in reading.columns.items()}
    # A column that has lost its name to another's is none of ours, however it is called.
    row = {key: value for key, value in values.items() if key not in reading.columns and key not in renamed}
    row |= {name: values[own] for name, own in reading.columns.items()}
    if "text" in reading.columns:
        row = {key: row[key] for key in ("text", "group", "id") if key in row}
    return row


def _record(row: Mapping[str, Any], reading: Reading, where: str) -> Record:
    if {"prompt", "a", "b", "choice"} <= row.keys():
        return _comparison(row, reading, where)
    if {"prompt", "completion"} <= row.keys():
        return (_rating if row.keys() & {"score", "scores"} else _pair)(row, reading, where)
    if "text" in row:
        return text_row(_string(row, "text", where), reading.source, _word(row, "group", where))
    raise UserError(f"{where}: keys {', '.join(row) or '(none)'} make no known row; right are {KNOWN}")


def _comparison(row: Mapping[str, Any], reading: Reading, where: str) -> Record:
    prompt, a, b = (_string(row, key, where) for key in ("prompt", "a", "b"))
    before = _history(row, where)
    return comparison_row(
        prompt, a, b, str(row["choice"]),  # type: ignore[arg-type]
        _word(row, "aspect", where) or reading.aspect, _word(row, "annotator", where) or "unknown",
        reading.source, _word(row, "group", where) or digest(_begins(before, prompt)), before,
        _time(row.get("time"), where),
    )  # fmt: skip


def _rating(row: Mapping[str, Any], reading: Reading, where: str) -> Record:
    prompt, completion = _string(row, "prompt", where), _string(row, "completion", where)
    before = _history(row, where)
    listed = "scores" in row
    given = _list(row, "scores", "numbers", where) if listed else [row["score"]]
    scores = [_number(value, where) for value in given]
    if not scores:
        raise UserError(f"{where}: scores is empty; a rating has one at least")
    one = _word(row, "annotator", where)
    annotators = [str(name) for name in _list(row, "annotators", "names", where)] or (
        [one] * len(scores) if one else [f"unknown-{place}" for place in range(len(scores))]
    )
    if len(annotators) != len(scores):
        raise UserError(f"{where}: {len(scores)} scores by {len(annotators)} annotators; one each is right")
    time = _time(row.get("time"), where)
    times = [_time(value, where) for value in _list(row, "times", "times", where)] or [time] * len(scores)
    if len(times) != len(scores):
        raise UserError(f"{where}: {len(scores)} scores at {len(times)} times; one each is right")
    begins = _begins(before, prompt) if before else prompt + completion
    return rating_row(
        prompt, completion, scores, annotators, _word(row, "aspect", where) or reading.aspect,
        reading.source, _word(row, "group", where) or digest(begins), before, times if any(times) else (),
    )  # fmt: skip


def _pair(row: Mapping[str, Any], reading: Reading, where: str) -> Record:
    prompt, completion = _string(row, "prompt", where), _string(row, "completion", where)
    references = [str(reference) for reference in _list(row, "references", "texts", where)]
    before = _history(row, where)
    group = _word(row, "group", where) or digest(_begins(before, prompt))
    return pair_row(prompt, completion, reading.source, group, references, before)


def _own(row: Mapping[str, Any]) -> str:
    # Labels of several people about one thing share its id.
    labels = row.keys() & {"choice", "score", "scores"}
    return "" if labels or row.get("id") is None else str(row["id"])


def _history(row: Mapping[str, Any], where: str) -> list[Turn]:
    given = row.get("history")
    return history(read_turns(given, f"{where}, history")) if given else []


def _begins(before: Sequence[Turn], prompt: str) -> str:
    """What the user said first: a conversation is one group."""
    return next((turn["content"] for turn in before if turn["role"] == "user"), prompt)


def _string(row: Mapping[str, Any], key: str, where: str) -> str:
    if not isinstance(row[key], str):
        raise UserError(f"{where}: {key} is {type(row[key]).__name__}; it must be a string")
    return str(row[key])


def _word(row: Mapping[str, Any], key: str, where: str) -> str:
    """What a name or a number says, as text; empty where it is not there."""
    value = row.get(key)
    if value is not None and not isinstance(value, str | int | float):
        raise UserError(f"{where}: {key} is {type(value).__name__}; a name is right")
    return "" if value is None else str(value)


def _list(row: Mapping[str, Any], key: str, what: str, where: str) -> list[Any]:
    value = row.get(key)
    if isinstance(value, str) and value:
        value = read_json(value, f"{where}, {key}") if value.lstrip().startswith("[") else value
    if not value:
        return []
    if not isinstance(value, list):
        raise UserError(f"{where}: {key} are {what} in a list, and this is {value!r:.40}")
    return value


def _number(value: Any, where: str) -> float:
    """A score: a number, or in a table what reads as one."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: scores are numbers, and this is {value!r:.40}")
    return number


def _time(value: Any, where: str) -> str:
    # Parquet has times of its own.
    return time_of(value.isoformat() if isinstance(value, date) else value, where)


def _fits(sample: Sample) -> str:
    for other in ({"prompt", "completion", "label"}, {"instruction", "output"}):
        if any(other <= item.values.keys() for item in sample.items):
            return f"keys {', '.join(sorted(other))} are another format's"
    known = ({"text"}, {"prompt", "completion"}, {"prompt", "a", "b", "choice"})
    told = bool(sample.items) and all(any(keys <= i.values.keys() for keys in known) for i in sample.items)
    return "" if told else f"keys are not {KNOWN}"


FORMAT = Format("rows", parse, "line", _fits)
