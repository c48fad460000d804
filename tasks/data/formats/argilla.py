"""Parse Argilla's exports.

They are rows of `to_datasets` (Argilla 2), rows of `format_as("datasets")` (Argilla 1), and records of the
server's API.

A rating is a Rating. A ranking is a Comparison for each pair, with a tie for equal ranks. A label that names
an answer gives Comparisons, one that is a number a Rating. A text is a Pair whose completion a person wrote,
unless its question takes remarks (named comment, reason, ...). Only submitted responses count. Of several by
one person to one question on one record the newest counts, in whichever export it is. The user is asked for
the meaning of other labels.

The nested export of Argilla 2 (`to_json`) does not say which responses were discarded, so it is refused. Its
rows have a ranking's values in no order and without ranks, so only rankings with ranks are read.

A row has no types of its questions. `label_config`, or a file named settings.json among the source's files,
has them (the export's `.argilla/settings.json`). Without it a text must be named in columns.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord
from tasks.data.formats.argilla_settings import ArgillaSettings, is_settings, read_settings
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.label_rows import (
    Label,
    answer_key,
    asked_of,
    by_rank,
    chosen_pairs,
    find_answer_key,
    is_remark,
    label_prompt_key,
    labelled_rows,
    option_score,
    score_of,
    text_at,
    time_of,
)
from tasks.data.parsing.labelled_items import item_left_out
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Choice, Fault, ParsedRow, Record, text_digest
from tasks.data.values.annotators import UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.data.values.field_meanings import is_empty
from tasks.data.values.newest import REPLACED, NewestAnnotations
from tasks.data.values.value_meanings import read_meaning

_UNANSWERED = "records without a response"
_LEFT_OUT = {"draft": "responses that are drafts", "discarded": "responses that were discarded"}
_ROWS = "dataset.records.to_datasets().to_json(FILE) says it"
OTHER = {"id", "_server_id", "status", "external_id", "metadata", "vectors"}
OURS = (".responses", ".responses.users", ".responses.status", ".suggestion", ".suggestion.agent",
        ".suggestion.score", "-suggestion", "-suggestion-metadata")  # fmt: skip


class Response(NamedTuple):
    """A person's answer to a question. Only submitted responses count."""

    question: str
    annotator: str
    value: Any
    time: str = ""
    status: str = "submitted"


class Annotated(NamedTuple):
    """A record: its fields, all responses, and its other columns with its metadata."""

    where: str
    number: str
    fields: dict[str, Any]
    responses: list[Response]
    beside: dict[str, Any]


class ResponseValue(NamedTuple):
    """The content of a response: the keys of the answers that it is about, and a verdict or a text."""

    answers: tuple[str, ...]
    value: Choice | float | None
    text: str = ""


def stream_rows(
    files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts
) -> Iterator[ParsedRow | Fault]:
    """Yield the rows of all records, and a Fault for each that cannot be read."""
    sources = [file for file in files if is_settings(file.origin)]
    if reading.labelling:
        sources = [
            SourceFile(f"source {reading.source}, labelling", reading.labelling.encode("utf-8", "replace"))
        ]
    if len(sources) > 1:
        raise UserError(f"source {reading.source}: {len(sources)} files of settings; expected one")
    settings = read_settings(sources[0]) if sources else ArgillaSettings()
    exports = [file for file in files if not is_settings(file.origin)]
    # Two passes: exports of different dates overlap, and a later file may hold the older response.
    newest = NewestAnnotations()
    for one in _annotated(exports, settings):
        if isinstance(one, Fault):
            continue
        for response in one.responses:
            newest.add(_key(one, response), response.time)
    unread, rows = "", 0
    for one in _annotated(exports, settings):
        if isinstance(one, Fault):
            yield one
            continue
        kept = [response for response in one.responses if newest.keeps(_key(one, response))]
        counts = Counter(_LEFT_OUT[response.status] for response in kept if response.status != "submitted")
        counts[REPLACED] = len(one.responses) - len(kept)
        counts[_UNANSWERED] = not one.responses
        tally.left_out.update({reason: count for reason, count in counts.items() if count})
        told = [
            response for response in kept if response.status == "submitted" and response.value is not None
        ]
        try:
            found = list(_record_rows(one, told, settings, reading, tally))
        except UserError as error:
            yield Fault(one.where, str(error))
            continue
        rows += len(found)
        yield from (ParsedRow(row, one.where) for row in found)
        if told and not unread:
            unread = f"{one.where}: {told[0].question} says {told[0].value!r:.40}, which"
    # Some unread labels are counted and asked about. If no label is readable, the whole export was
    # misunderstood.
    if unread and not rows and not tally.used:
        raise UserError(
            f"{unread} is neither an answer nor a number; give the meaning of each label in columns, as in "
            '{A: response_a, B: response_b} or {good: "1", bad: "0"}'
        )


def _annotated(files: Sequence[SourceFile], settings: ArgillaSettings) -> Iterator[Annotated | Fault]:
    """Yield the records of all exports, and a Fault for each that cannot be read."""
    for file in files:
        for item in _read_records(file):
            if isinstance(item, BrokenItem):
                yield Fault(item.where, item.fault)
                continue
            name = item.values.get("id") or item.values.get("external_id")
            where = f"{item.where}, record {name}" if name else item.where
            try:
                responses = list(_submitted_responses(item, where))
                fields, beside = _text_fields(item.values, settings), _other_columns(item.values)
                yield Annotated(where, str(name or where), fields, responses, beside)
            except UserError as error:
                yield Fault(where, str(error))


def _key(record: Annotated, response: Response) -> str:
    """Return the key of a person's response to a question. Unknown people are told apart by their records."""
    nobody = response.annotator.startswith(UNKNOWN_ANNOTATOR)
    # A record has different ids in different exports, so its fields identify it.
    about = json.dumps(record.fields, sort_keys=True, default=str)
    return text_digest(about, response.question, response.annotator, record.number if nobody else "")


def _read_records(file: SourceFile) -> Iterator[SourceRecord | BrokenItem]:
    for item in file.all_items():
        yield from [item] if isinstance(item, BrokenItem) else _unpage_records(item)


def _unpage_records(item: SourceRecord) -> list[SourceRecord]:
    """Return the records of an item: itself, or those of a page of the server's API."""
    page = item.values.get("items")
    if isinstance(page, list) and page and all(isinstance(record, dict) for record in page):
        return [SourceRecord(record, item.where) for record in page]
    return [item]


def _other_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record has beside its responses and its own book-keeping."""
    given = values["fields"] if isinstance(values.get("fields"), dict) else values
    questions = {name.removesuffix("-suggestion") for name in values if name.endswith("-suggestion")}
    found = {key: value for key, value in given.items() if key not in OTHER | questions}
    found = {key: value for key, value in found.items() if not key.endswith(OURS)}
    return found | ({"metadata": values["metadata"]} if values.get("metadata") else {})


def _text_fields(values: Mapping[str, Any], settings: ArgillaSettings) -> dict[str, Any]:
    given = values["fields"] if isinstance(values.get("fields"), dict) else values
    questions = {name.removesuffix("-suggestion") for name in values if name.endswith("-suggestion")}
    return {
        key: value
        for key, value in given.items()
        if (key in settings.fields if settings.fields else given is not values or key not in OTHER)
        and not key.endswith(OURS)
        and key not in questions
    }


def _submitted_responses(item: SourceRecord, where: str) -> Iterator[Response]:
    """Yield the responses of a record of any export."""
    values = item.values
    if isinstance(values.get("fields"), dict) and "responses" in values:
        given = values["responses"] or []
        found = _of_server(given, where) if isinstance(given, list) else _nested_responses(given, where)
    elif any(key.endswith(".responses") for key in values):
        found = _flat_responses(values, where)
    elif any(key.endswith("-suggestion") for key in values):
        found = _first_object(values, where)
    else:
        raise UserError(
            f"{where}: keys {', '.join(values) or '(none)'} are not an Argilla record; export with "
            "dataset.records.to_datasets().to_json(FILE)"
        )
    for response, status in found:
        if status not in ("submitted", *_LEFT_OUT):
            raise UserError(f"{where}: a response to {response.question} has the status {status!r}; {_ROWS}")
        yield response._replace(status=status)


def _of_server(given: list[Any], where: str) -> Iterator[tuple[Response, Any]]:
    for index, one in enumerate(given):
        answers = one.get("values") or {} if isinstance(one, dict) else None
        if not isinstance(answers, dict) or not all(isinstance(answer, dict) for answer in answers.values()):
            raise UserError(f"{where}: a response is an object with user_id, status and values")
        time = time_of(one.get("updated_at") or one.get("inserted_at"), where)
        person = _annotator_name(one, index)
        for question, answer in answers.items():
            yield Response(question, person, answer.get("value"), time), one.get("status")


def _nested_responses(given: Any, where: str) -> Iterator[tuple[Response, Any]]:
    for question, answers in given.items() if isinstance(given, dict) else ():
        for index, answer in enumerate(answers if isinstance(answers, list) else ()):
            if not isinstance(answer, dict) or "status" not in answer:
                raise UserError(
                    f"{where}: whether a response to {question} was submitted or discarded is not "
                    f"said in Argilla's nested export; {_ROWS}"
                )
            yield Response(question, _annotator_name(answer, index), answer.get("value")), answer["status"]


def _flat_responses(values: Mapping[str, Any], where: str) -> Iterator[tuple[Response, Any]]:
    for key, answers in values.items():
        if not key.endswith(".responses") or not answers:
            continue
        people, states = values.get(f"{key}.users"), values.get(f"{key}.status")
        lists = [answers, people, states]
        if not all(isinstance(one, list) for one in lists) or len({len(one) for one in lists}) != 1:
            raise UserError(
                f"{where}: {key}, {key}.users and {key}.status are not lists of one length; {_ROWS}"
            )
        question = key.removesuffix(".responses")
        for index, (value, person, status) in enumerate(zip(answers, people, states, strict=True)):  # type: ignore[arg-type]
            yield Response(question, _annotator_name({"user_id": person}, index), value), status


def _first_object(values: Mapping[str, Any], where: str) -> Iterator[tuple[Response, Any]]:
    for key in values:
        question = key.removesuffix("-suggestion")
        if question == key or not values.get(question):
            continue
        answers = values[question]
        if isinstance(answers, dict):
            # pandas and Arrow write a list of objects as an object of lists.
            answers = _transpose_columns(answers)
        if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
            raise UserError(f"{where}: {question} is not a list of responses with user_id, value and status")
        for index, answer in enumerate(answers):
            yield (
                Response(question, _annotator_name(answer, index), answer.get("value")),
                answer.get("status"),
            )


def _annotator_name(answer: Mapping[str, Any], index: int) -> str:
    """Return the person who answered. Each unknown person counts as another one."""
    return normalize_annotator(answer.get("user_id")) or f"{UNKNOWN_ANNOTATOR}-{index}"


def _transpose_columns(columns: Mapping[str, Any]) -> list[Any]:
    rows = itertools.zip_longest(*(one if isinstance(one, list) else [one] for one in columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _record_rows(
    record: Annotated,
    responses: list[Response],
    settings: ArgillaSettings,
    reading: ParseOptions,
    tally: SkipCounts,
) -> Iterator[Record]:
    fields, where = record.fields, record.where
    labels: list[Label] = []
    answers: set[str] = set()
    for response in responses:
        told = list(_by_fields(response, fields, reading, where, tally))
        # What the preset says about a question has precedence over what its value looks like.
        if response.question not in reading.fields:
            told = list(_response_values(response, fields, settings, reading, where))
            if not told:
                _note_unread(response, settings, where, tally)
        for said in told:
            texts = tuple(text_at(fields, key, where) for key in said.answers) or (said.text,)
            labels.append(Label(response.question, response.annotator, response.time, texts, said.value))
            answers.update(said.answers)
    if labels:
        key = label_prompt_key(fields, answers, (), reading, where)
        read = {key, *answers, *reading.columns.values()}
        if reason := item_left_out(record.beside, read, reading, where, tally):
            tally.left_out[reason] += 1
            return
        yield from labelled_rows(asked_of(key, fields, reading, where), labels, reading, where)


def _by_fields(
    response: Response, fields: Mapping[str, Any], reading: ParseOptions, where: str, tally: SkipCounts
) -> Iterator[ResponseValue]:
    """Yield the meaning that the source's `fields` give to a person's label."""
    meaning, value = reading.fields.get(response.question), response.value
    if meaning is None:
        return
    tally.used.add(response.question)
    # A question with several labels has a list, even if one is picked.
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if meaning == "ignore" or is_empty(value):
        return
    read = read_meaning(response.question, meaning, value)
    if read is None:
        raise UserError(
            f"{where}: {response.question} is {str(value)!r:.60}, a value without a meaning in fields"
        )
    texts = [key for key, text in fields.items() if isinstance(text, str)]
    if read[0] == "verdict":
        yield ResponseValue((answer_key(texts, response.question, reading, where),), float(read[1]))


def _note_unread(response: Response, settings: ArgillaSettings, where: str, tally: SkipCounts) -> None:
    """Count a response without a verdict. A label may be one, so its meaning is asked for."""
    kind, _ = settings.questions.get(response.question, ("", ()))
    remark = kind in ("text", "span") or is_remark(response.question)
    if not is_empty(response.value):
        value = response.value
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        tally.note_unread(response.question, value, where, "" if remark else "a verdict")


def _response_values(
    response: Response,
    fields: Mapping[str, Any],
    settings: ArgillaSettings,
    reading: ParseOptions,
    where: str,
) -> Iterator[ResponseValue]:
    question, value = response.question, response.value
    told = reading.columns.get("completion") == question
    kind, options = settings.questions.get(question, ("text" if told else "", ()))
    texts = [key for key, text in fields.items() if isinstance(text, str)]
    if isinstance(value, dict) and "rank" in value:  # how a table may hold a list of objects
        value = _transpose_columns(value)
    if kind == "span":
        return
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield ResponseValue((answer_key(texts, question, reading, where),), score_of(value, question, where))
    # Shape goes before the type in the settings: an export may have no settings.
    elif _is_ranking(value):
        ranks = _ranking_choices(value, question, texts, reading, where)
        for one, other, choice in by_rank({key: ranks[key] for key in texts if key in ranks}):
            yield ResponseValue((one, other), choice)
    elif kind == "ranking":
        raise UserError(
            f"{where}: {question} has a ranking without ranks, as Argilla 2 exports rows; export "
            "the records from the server's API (api/v1/datasets/ID/records?include=responses), which has them"
        )
    elif kind == "text" and isinstance(value, str):
        if value.strip() and not is_remark(question):
            # No answer of the record: the person wrote one.
            yield ResponseValue((), None, value)
    else:
        picked = [value] if isinstance(value, str) else value
        if not isinstance(picked, list) or not all(isinstance(label, str) for label in picked):
            raise UserError(f"{where}: {question} says {value!r:.60}, a value that no Argilla question has")
        pairs = chosen_pairs(picked, options, texts, reading)
        for one, other, choice in pairs:
            yield ResponseValue((one, other), choice)
        score = option_score(picked[0], reading) if len(picked) == 1 else None
        if not pairs and score is not None:
            yield ResponseValue((answer_key(texts, question, reading, where),), score)
        elif not pairs and not kind and not is_remark(question):
            raise UserError(
                f"{where}: whether {question} takes texts, labels or rankings is not said in {value!r:.40}; "
                "set label_config to the export's .argilla/settings.json, or name a text in columns, as in "
                f"{{completion: {question}}}"
            )


def _is_ranking(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "rank" in v for v in value)


def _ranking_choices(
    value: list[Any], question: str, texts: list[str], reading: ParseOptions, where: str
) -> dict[str, int]:
    ranks: dict[str, int] = {}
    for one in value:
        key = find_answer_key(str(one.get("value")), texts, reading)
        # A rank without its answer would shift the meaning of all other ranks.
        if key is None:
            raise UserError(
                f"{where}: {question} ranks {one.get('value')!r}, expected one of "
                f"{', '.join(texts)}; map it in columns, as in {{{one.get('value')}: response_1}}"
            )
        if not isinstance(one["rank"], int):
            raise UserError(f"{where}: {question} ranks {key} as {one['rank']!r}; expected a whole number")
        ranks[key] = one["rank"]
    return ranks


def _detect_mismatch(sample: FileSample) -> str:
    if is_settings(sample.name):
        return "" if '"questions"' in sample.text else "no settings of Argilla's"
    told = bool(sample.items) and all(
        (isinstance(values.get("fields"), dict) and "responses" in values)
        or any(key.endswith((".responses", "-suggestion")) for key in values)
        for item in sample.items
        for values, _ in _unpage_records(item)
    )
    return "" if told else "no responses to questions"


FORMAT = Format("argilla", stream_rows, "source", _detect_mismatch)
