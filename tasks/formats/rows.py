"""JSON Lines of one's own: what a line's keys are says which record it is.

`{"text"}`, `{"prompt", "completion"}`, `{"prompt", "a", "b", "choice"}`, and `{"prompt", "completion"}` with
`score` or `scores`; further `aspect`, `annotator` or `annotators`, and `group` where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from model.errors import UserError
from tasks.formats import File, Format, Found, Reading, Sample
from tasks.records import Record, comparison_row, digest, pair_row, rating_row, text_row

KNOWN = "text | prompt, completion | prompt, a, b, choice | prompt, completion, score or scores"


def parse(files: Sequence[File], reading: Reading) -> Iterator[Found]:
    """Rows of every type that the files hold. Raises UserError with file and line."""
    for file in files:
        for values, where in file.items():
            yield Found(_record(values, reading, where), where, _own(values))


def _record(row: dict[str, Any], reading: Reading, where: str) -> Record:
    source = reading.source
    if {"prompt", "a", "b", "choice"} <= row.keys():
        prompt, a, b = (_string(row, key, where) for key in ("prompt", "a", "b"))
        choice, aspect, annotator = (
            str(row["choice"]), str(row.get("aspect", reading.aspect)), str(row.get("annotator", "unknown")),
        )  # fmt: skip
        group = row.get("group") or digest(prompt)
        return comparison_row(prompt, a, b, choice, aspect, annotator, source, group)  # type: ignore[arg-type]
    if {"prompt", "completion"} <= row.keys() and row.keys() & {"score", "scores"}:
        prompt, completion = _string(row, "prompt", where), _string(row, "completion", where)
        scores = row["scores"] if "scores" in row else [row["score"]]
        if not isinstance(scores, list) or not all(isinstance(score, int | float) for score in scores):
            raise UserError(f"{where}: scores are numbers, and this is {scores!r}")
        given = row.get("annotators") or [row.get("annotator", f"unknown-{i}") for i in range(len(scores))]
        if len(given) != len(scores):
            raise UserError(f"{where}: {len(scores)} scores by {len(given)} annotators; one each is right")
        aspect = str(row.get("aspect", reading.aspect))
        group = row.get("group") or digest(prompt + completion)
        numbers = [float(score) for score in scores]
        return rating_row(prompt, completion, numbers, [str(g) for g in given], aspect, source, group)
    if {"prompt", "completion"} <= row.keys():
        prompt, completion = _string(row, "prompt", where), _string(row, "completion", where)
        references = [str(reference) for reference in row.get("references", [])]
        group = row.get("group") or digest(prompt)
        return pair_row(prompt, completion, source, group, references)
    if "text" in row:
        return text_row(_string(row, "text", where), source, row.get("group", ""))
    raise UserError(f"{where}: keys {', '.join(row) or '(none)'} make no known row; right are {KNOWN}")


def _own(row: dict[str, Any]) -> str:
    # Labels of several people about one thing share its id.
    labels = row.keys() & {"choice", "score", "scores"}
    return "" if labels or row.get("id") is None else str(row["id"])


def _string(row: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(row[key], str):
        raise UserError(f"{where}: {key} is {type(row[key]).__name__}; it must be a string")
    return str(row[key])


def _fits(sample: Sample) -> str:
    for other in ({"prompt", "completion", "label"}, {"instruction", "output"}):
        if any(other <= item.values.keys() for item in sample.items):
            return f"keys {', '.join(sorted(other))} are another format's"
    known = ({"text"}, {"prompt", "completion"}, {"prompt", "a", "b", "choice"})
    told = bool(sample.items) and all(any(keys <= i.values.keys() for keys in known) for i in sample.items)
    return "" if told else f"keys are not {KNOWN}"


FORMAT = Format("rows", parse, "line", _fits)
