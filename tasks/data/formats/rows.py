"""Parse the user's own rows, in JSON or a table: the keys of a row decide its kind of record.

They are `text`; `prompt` and `completion`; `prompt`, `a`, `b` and `choice`; `prompt` and `completion` with
`score` or `scores`. A comparison may have a column for each person in place of `choice`. Optional keys are
`references`, `history`, `system`, `input` or `context`, `aspect`, `annotator` or `annotators`, `time` (also
`updated_at`, `created_at`, `timestamp`) or `times`, `group`, and `id`. The source's `columns` map other names
in the file. A table's cell contains a list as JSON, or as Python prints it. A reviewer's decision may have
`first_choices` and `first_annotators`, the judgements that it replaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import UserError
from tasks.common.annotators import is_nobody
from tasks.common.value_kinds import kind_of
from tasks.data.formats.unpaired import fits_unpaired
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.conversations import (
    CONTEXT,
    MEDIA,
    SYSTEM,
    SourceTurn,
    history_turns,
    holds_turns,
    only_answer,
    read_exchange,
    read_history,
    read_turns,
    shared_turns,
    turns_before_answer,
)
from tasks.data.parsing.listed_votes import holds_listed_votes, vote_person
from tasks.data.parsing.preference_fields import TIMES, row_time
from tasks.data.parsing.row_stream import Keys, row_stream
from tasks.data.parsing.row_verdicts import is_side_vote, is_unscored, side_votes
from tasks.data.parsing.side_columns import scored_choice, side_scores
from tasks.data.records import (
    ParsedRow,
    comparison_row,
    describe_number,
    group_digest,
    pair_row,
    rating_row,
    text_row,
)
from tasks.data.values.annotators import ANNOTATORS, UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.data.values.choices import plain_choice
from tasks.data.values.field_meanings import as_verdict, group_name, is_empty
from tasks.data.values.label_times import iso_time
from tasks.data.values.list_literals import read_literal
from tasks.data.values.score_values import as_score, number_advice
from tasks.data.values.several_scores import split_values

_KNOWN = "text | prompt, completion | prompt, a, b, choice | prompt, completion, score or scores"
_NAMED = 8  # keys that a message lists
_NOTHING = "rows without an answer or a vote"
_BEFORE = frozenset(("prompt", "history", "group", "id", "tools", "functions", *SYSTEM, *CONTEXT, *MEDIA))
LABEL = frozenset(("aspect", *TIMES, *ANNOTATORS))
_OWN = {
    "text": frozenset(("text", "group", "id")),
    "comparison": _BEFORE | LABEL | {"a", "b", "choice", "first_choices", "first_annotators"},
    "rating": _BEFORE | LABEL | {"completion", "score", "scores", "annotators", "times"},
    "pair": _BEFORE | {"completion", "references"},
}


def _record_kind(row: Mapping[str, Any], reading: ParseOptions) -> str:
    """Return the kind of record that the keys of a row make; empty for none."""
    # Of two whole conversations the prompt is what they share.
    asked = "prompt" in row or (holds_turns(row.get("a")) and holds_turns(row.get("b")))
    told = (
        "choice" in row
        or any(map(is_side_vote, reading.fields.values()))
        or side_scores(row, reading) is not None
    )
    if {"a", "b"} <= row.keys() and asked and told:
        return "comparison"
    if {"prompt", "completion"} <= row.keys():
        return "rating" if row.keys() & {"score", "scores"} else "pair"
    return "text" if "text" in row else ""


def _own_keys(values: Mapping[str, Any], reading: ParseOptions) -> frozenset[str]:
    columns = reading.columns
    there = {name: values[own] for name, own in columns.items() if own in values}
    row = {**{key: value for key, value in values.items() if key not in columns.values()}, **there}
    kind = _record_kind(row, reading)
    # Two answers are read as soon as the preset says where their choice is.
    known = _OWN.get(kind, _OWN["comparison" if {"a", "b"} <= row.keys() else "pair"])
    if kind == "text" and "text" in columns:
        known = _OWN["text"]
    # If `columns` maps a name to another column, the column with that name itself is not ours.
    return (known - columns.keys()) | frozenset(columns.values())


def read_row(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[ParsedRow]:
    """Yield the record that a row's keys make. Raise UserError with file and line."""
    row = _rename_columns(values, reading, where)
    kind = _record_kind(row, reading)
    # `judged_rows` leaves out and counts a pair with empty scores.
    if kind == "rating" and is_unscored(row["scores" if "scores" in row else "score"]):
        kind = "pair"
    if not kind:
        raise UserError(f"{where}: keys {', '.join(row) or '(none)'} do not form a row; expected {_KNOWN}")
    if kind == "comparison" and (scored := side_scores(row, reading)):
        choice = scored_choice(row, reading, *scored)
        if choice is not None:
            yield _comparison_record({**row, "choice": choice}, reading, where)
        return
    if kind == "comparison" and "choice" not in row:
        # Each person has a column that `fields` declares as a vote.
        for person, choice in side_votes(values, reading).items():
            if not is_empty(choice):
                name = vote_person(values, person, reading)
                voted = {**row, "choice": choice, "annotator": "" if is_nobody(name) else name}
                yield _comparison_record({**dict.fromkeys(ANNOTATORS), **voted}, reading, where)
        return
    # An export of doccano has such a list where nobody wrote an answer yet.
    if kind == "pair" and row["completion"] == []:
        return
    found = {
        "text": _text_record,
        "comparison": _comparison_record,
        "rating": _rating_record,
        "pair": _pair_record,
    }[kind]
    yield found(row, reading, where)


def _rename_columns(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Mapping[str, Any]:
    """Return the row under the names of this format. If `columns` names the text, the row is only a text."""
    if not reading.columns:
        return values
    columns = {
        name: own
        for name, own in reading.columns.items()
        if own in values or reading.fields.get(own) != "ignore"
    }
    for name, own in columns.items():
        if own not in values:
            raise UserError(
                f"{where}: no column {own}, which columns names for {name}; there are "
                f"{', '.join(values) or 'none'}"
            )
    renamed = {own: name for name, own in columns.items()}
    # If `columns` maps a name to another column, the column with that name itself is not ours.
    row = {key: value for key, value in values.items() if key not in reading.columns and key not in renamed}
    row |= {name: values[own] for name, own in columns.items()}
    # Questions about one passage are a group, whose name would repeat the whole passage in each row.
    if "group" in columns and columns["group"] == columns.get("context"):
        row["group"] = group_digest(str(row["group"]))
    if "text" in reading.columns:
        row = {key: row[key] for key in ("text", "group", "id") if key in row}
    return row


def _text_record(row: Mapping[str, Any], reading: ParseOptions, where: str) -> ParsedRow:
    if not isinstance(row["text"], str):
        raise UserError(f"{where}: text is {kind_of(row['text'])}; expected a text")
    return ParsedRow(text_row(row["text"], reading.source, _group_value(row, where)), where, _own_id(row))


def _comparison_record(row: Mapping[str, Any], reading: ParseOptions, where: str) -> ParsedRow:
    turns, (a, b) = _prompt_and_answers(row, ("a", "b"), reading, where)
    who, prompt = _row_annotator(row) or UNKNOWN_ANNOTATOR, turns[-1].content
    if row["choice"] is None:
        raise UserError(f"{where}: choice is null; expected a, b or tie")
    choice = plain_choice(row["choice"], reading.columns)
    made = comparison_row(
        prompt, a, b, choice,  # type: ignore[arg-type]
        _text_value(row, "aspect", where) or reading.aspect, who, reading.source, _row_group(row, turns,
        where, prompt),
        history_turns(turns[:-1]), row_time(row, reading), *_first_judgements(row, where),
    )  # fmt: skip
    return ParsedRow(made, where, anonymous=who == UNKNOWN_ANNOTATOR)


def _first_judgements(row: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
    """Return the choices that a reviewer's decision replaces, and who made them."""
    choices = _list_value(row, "first_choices", "choices", where)
    people = [
        normalize_annotator(name) or UNKNOWN_ANNOTATOR
        for name in _list_value(row, "first_annotators", "names", where)
    ]
    if len(choices) != len(people):
        raise UserError(f"{where}: {len(choices)} first_choices by {len(people)} people; expected one each")
    if wrong := [choice for choice in choices if choice not in ("a", "b", "tie")]:
        raise UserError(f"{where}: first_choices has {wrong[0]!r}; expected a, b or tie")
    return choices, people


def _rating_record(row: Mapping[str, Any], reading: ParseOptions, where: str) -> ParsedRow:
    turns, (completion,) = _prompt_and_answers(row, ("completion",), reading, where)
    prompt = turns[-1].content
    given = _list_value(row, "scores", "numbers", where) if "scores" in row else row["score"]
    given = given if isinstance(given, list) else [given]
    one = _row_annotator(row)
    named = [normalize_annotator(name) for name in _list_value(row, "annotators", "names", where)]
    people = len(given)
    given, named, voted = _given_votes(given, named)
    scores = [_score_value(value, where) for value in given]
    named = named or [one] * len(scores)
    # Unknown people are numbered, so that each of their scores is a vote.
    annotators = [name or f"{UNKNOWN_ANNOTATOR}-{index}" for index, name in enumerate(named)]
    if len(annotators) != len(scores):
        raise UserError(f"{where}: {len(scores)} scores by {len(annotators)} annotators; expected one each")
    time = row_time(row, reading)
    listed = _list_value(row, "times", "times", where)
    # Times in the order of the people, of whom some gave no score.
    listed = [listed[n] for n in voted] if len(listed) == people else listed
    times = [iso_time(value) for value in listed] or [time] * len(scores)
    if len(times) != len(scores):
        raise UserError(f"{where}: {len(scores)} scores at {len(times)} times; expected one each")
    group = _row_group(row, turns, where, prompt if len(turns) > 1 else prompt + completion)
    made = rating_row(
        prompt, completion, scores, annotators, _text_value(row, "aspect", where) or reading.aspect,
        reading.source,
        group, history_turns(turns[:-1]), times if any(times) else (),
    )  # fmt: skip
    return ParsedRow(made, where, anonymous=not any(named))


def _pair_record(row: Mapping[str, Any], reading: ParseOptions, where: str) -> ParsedRow:
    turns, (completion,) = _prompt_and_answers(row, ("completion",), reading, where)
    references = [str(reference) for reference in _list_value(row, "references", "texts", where)]
    prompt = turns[-1].content
    group = _row_group(row, turns, where, prompt)
    made = pair_row(prompt, completion, reading.source, group, references, history_turns(turns[:-1]))
    return ParsedRow(made, where, _own_id(row))


def _own_id(row: Mapping[str, Any]) -> str:
    return "" if is_empty(row.get("id")) else str(row["id"])


def _prompt_and_answers(
    row: Mapping[str, Any], answers: tuple[str, ...], reading: ParseOptions, where: str
) -> tuple[list[SourceTurn], list[str]]:
    before = read_history(row.get("history"), where)
    # The columns of this row are already renamed.
    plain = ParseOptions(reading.source)
    if "prompt" not in row:
        given = [read_turns(row[name], f"{where}, {name}") for name in answers]
        shared = shared_turns(*given)
        turns = turns_before_answer([*before, *given[0][:shared]], row, plain, where)
        return turns, [only_answer(one[shared:], n, where) for one, n in zip(given, answers, strict=True)]
    return read_exchange(row["prompt"], {name: row[name] for name in answers}, row, plain, where, before)


def _row_group(row: Mapping[str, Any], turns: list[SourceTurn], where: str, alone: str) -> str:
    """Return the group that a row names, or else the digest of the user's first turn."""
    earlier = (turn.content for turn in turns[:-1] if turn.role == "user")
    return _group_value(row, where) or group_digest(next(earlier, alone))


def _row_annotator(row: Mapping[str, Any]) -> str:
    return next(filter(None, (normalize_annotator(row.get(name)) for name in ANNOTATORS)), "")


def _text_value(row: Mapping[str, Any], key: str, where: str) -> str:
    """Return a name or a number as text; empty if it is missing."""
    value = row.get(key)
    if value is not None and not isinstance(value, str | int | float):
        raise UserError(f"{where}: {key} is {kind_of(value)}; expected a name")
    return "" if value is None else str(value)


def _group_value(row: Mapping[str, Any], where: str) -> str:
    return group_name(row.get("group")) or _text_value(row, "group", where)


def _list_value(row: Mapping[str, Any], key: str, what: str, where: str) -> list[Any]:
    value = row.get(key)
    if (isinstance(value, str) and value.lstrip()[:1] in ("[", "(")) or (
        isinstance(value, str) and "array(" in value
    ):
        try:
            value = read_literal(value)
        except ValueError as error:
            raise UserError(f"{where}, {key}: broken JSON ({describe_number(error)})") from error
    if is_empty(value):
        return []
    # References are texts, which may hold semicolons and commas.
    if key != "references" and isinstance(value, str) and value.lstrip()[:1] not in ("[", "(", "{"):
        value = split_values(value) or value
    # An object's order says nothing about which score belongs to which person.
    if isinstance(value, dict) or (isinstance(value, str) and value.lstrip()[:1] == "{"):
        raise UserError(
            f"{where}: {key} is an object, whose keys may be people or questions; write {what} as a "
            "list, with annotators in the same order, or one row per question with its aspect"
        )
    if not isinstance(value, list):
        raise UserError(f"{where}: {key} are {what} in a list, and this is {value!r:.40}")
    return value


def _given_votes(scores: list[Any], names: list[str]) -> tuple[list[Any], list[str], list[int]]:
    """Return the scores and people without those who gave none, and the places of the others.

    Only names in the same order tell whose score is missing, so without them nothing is left out.
    """
    places = [n for n, score in enumerate(scores) if not is_empty(score)]
    if len(names) != len(scores):
        return scores, names, list(range(len(scores)))
    return [scores[n] for n in places], [names[n] for n in places], places


def _score_value(value: Any, where: str) -> float:
    """Return a score from a number or a text such as "4", "4 stars" or "4/5"; good and bad are 1 and -1."""
    number = as_score(value)
    if number is None and isinstance(value, str):
        number = as_verdict(value)
    if number is None and is_empty(value):
        raise UserError(
            f"{where}: one of several scores is empty; leave it out, or name all people in the same order "
            "under annotators, so that it counts as no vote"
        )
    if isinstance(value, dict):
        keys = ", ".join(map(str, list(value)[:_NAMED])) or "none"
        raise UserError(
            f"{where}: scores are numbers, and this is an object with the keys {keys}; write the numbers as "
            "a list, and the people under annotators in the same order, or a row per question with its aspect"
        )
    if number is None:
        raise UserError(f"{where}: scores are numbers, and this is {value!r:.40}{number_advice(value)}")
    return number


def _holds_conversations(values: Mapping[str, Any]) -> bool:
    """Return whether a row is a choice between two whole conversations."""
    two = all(values.get(name) and holds_turns(values[name]) for name in ("a", "b"))
    return two and "choice" in values


def _detect_mismatch(sample: FileSample) -> str:
    if not fits_unpaired(sample):
        return "keys prompt, completion and label are another format's"
    if any({"instruction", "output"} <= item.values.keys() for item in sample.items):
        return "keys instruction and output are another format's"
    known = ({"text"}, {"prompt", "completion"}, {"prompt", "a", "b", "choice"})
    told = bool(sample.items) and all(
        any(keys <= i.values.keys() for keys in known)
        or _holds_conversations(i.values)
        or ({"prompt", "a", "b"} <= i.values.keys() and holds_listed_votes(i.values))
        for i in sample.items
    )
    return "" if told else f"keys are not {_KNOWN}"


FORMAT = Format("rows", row_stream(read_row, Keys(_own_keys, {}), nothing=_NOTHING), "line", _detect_mismatch)
