"""Parse MLflow's traces with people's assessments: lines of `Trace.to_json`, or a table of `search_traces`.

Assessments of source HUMAN count unless another one overrides them. A number or a yes or no (1 or 0) is a
Rating of the trace's answer to its request. A preference, if the outputs contain several answers by key, is a
Comparison ("a", or {"preference": "a"}). An expectation named expected_response is a Pair. Of several by one
person with one name on one trace the newest counts, in whichever export it is. The user is asked for the
meaning of other words. Assessments by judges and code, and those of a part of the trace, are counted and
skipped.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.common.value_kinds import kind_of
from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.conversations import read_turns
from tasks.data.parsing.label_rows import (
    ANSWERS,
    Label,
    asked_of,
    chosen_pairs,
    label_prompt_key,
    labelled_rows,
    option_score,
    text_at,
    time_of,
)
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Fault, ParsedRow, Record, text_digest
from tasks.data.values.annotators import UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.data.values.field_meanings import is_empty
from tasks.data.values.newest import REPLACED, NewestAnnotations
from tasks.data.values.value_meanings import mapped_value, read_meaning
from tasks.data.values.verdict_scales import ZERO_THUMBS, scale_of

_SHORT = 60  # characters; a longer text is a remark
_OTHERS = "assessments by judges and code"
OF_PART = "assessments of a part of a trace"
_UNANSWERED = "traces with an assessment and without an answer"
UNJUDGED = "traces that no person judged"
WRITTEN = "expected_response"
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


def stream_rows(
    files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts
) -> Iterator[ParsedRow | Fault]:
    """Yield the rows of all traces, and a Fault for each that cannot be read."""
    newest, overridden = NewestAnnotations(), set[str]()
    for told in _read_traces(files):
        if isinstance(told, Fault):
            continue
        for one in told.human:
            overridden |= {str(one["overrides"])} if one.get("overrides") else set()
            if one.get("valid") is False:
                # MLflow keeps assessments that were replaced or withdrawn in the trace, marked as not valid.
                overridden.add(str(one.get("assessment_id")))
            newest.add(_key(told, one), _time_of(one, told.where))
    for told in _read_traces(files):
        if isinstance(told, Fault):
            yield told
            continue
        kept = [one for one in told.human if newest.keeps(_key(told, one))]
        kept = [
            one for one in kept
            if one.get("valid") is not False and str(one.get("assessment_id", "")) not in overridden
        ]  # fmt: skip
        if dropped := len(told.human) - len(kept):
            tally.left_out[REPLACED] += dropped
        if told.others:
            tally.left_out[_OTHERS] += told.others
        if not told.human:
            tally.left_out[UNJUDGED] += 1
        try:
            found = list(_trace_rows(told.trace, kept, reading, told.where, tally))
        except UserError as error:
            yield Fault(told.item, str(error))
            continue
        yield from (ParsedRow(row, told.where) for row in found)


class AssessedTrace(NamedTuple):
    """A trace with people's assessments, and the places of its item and of itself."""

    item: str
    where: str
    trace: dict[str, Any]
    human: list[dict[str, Any]]
    others: int


def _read_traces(files: Sequence[SourceFile]) -> Iterator[AssessedTrace | Fault]:
    """Yield the traces of all exports, and a Fault for each that cannot be read."""
    for file in files:
        for item in file.all_items():
            if isinstance(item, BrokenItem):
                yield Fault(item.where, item.fault)
                continue
            try:
                trace = _parse_trace(item)
                where = f"{item.where}, trace {_number(trace) or 'without an id'}"
                given = trace["info"].get("assessments") or []
                if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
                    raise UserError(f"{where}: assessments is not a list of objects")
                human = [one for one in given if _is_human(one, where)]
                for one in human:
                    # Checked in the first pass, so that a bad time makes one Fault and not an error in the
                    # second.
                    _time_of(one, where)
                yield AssessedTrace(item.where, where, trace, human, len(given) - len(human))
            except UserError as error:
                yield Fault(item.where, str(error))


def _number(trace: Mapping[str, Any]) -> str:
    info = trace["info"]
    return str(info.get("trace_id") or info.get("request_id") or "")


def _key(told: AssessedTrace, one: Mapping[str, Any]) -> str:
    """Return the identity of an assessment: the trace or the part of it, the name, and the person."""
    person = normalize_annotator(one["source"].get("source_id"))
    try:
        _, inputs, outputs = _root_exchange(told.trace, told.where)
        exchange = json.dumps([inputs, outputs], sort_keys=True, default=str)
    except UserError:
        exchange = ""
    # Unknown people are told apart by their assessments.
    known = person or str(one.get("assessment_id") or one)
    kind = "expectation" if "expectation" in one else "feedback"
    return text_digest(_number(told.trace), exchange, str(one.get("span_id") or ""), _name(one), kind, known)


def _name(one: Mapping[str, Any]) -> str:
    return str(one.get("assessment_name", "feedback"))


def _time_of(one: Mapping[str, Any], where: str) -> str:
    return time_of(one.get("last_update_time") or one.get("create_time"), where)


def _parse_trace(item: SourceRecord) -> dict[str, Any]:
    """Return the trace of an item: itself, or the JSON in the row of a table."""
    given = item.values.get("trace", item.values)
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{item.where}: trace is invalid JSON") from error
    if not isinstance(given, dict) or not isinstance(given.get("info"), dict):
        raise UserError(
            f"{item.where}: keys {', '.join(item.values) or '(none)'} are not a trace; expected what "
            "Trace.to_json writes, one per line, or a table of search_traces"
        )
    return given


def _trace_rows(
    trace: Mapping[str, Any],
    human: list[dict[str, Any]],
    reading: ParseOptions,
    where: str,
    tally: SkipCounts,
) -> Iterator[Record]:
    if not human:
        return
    root, inputs, outputs = _root_exchange(trace, where)
    if outputs is None:
        tally.left_out[_UNANSWERED] += 1
        return
    labels: list[Label] = []
    for one in human:
        # Feedback on the root span is about the whole trace.
        if one.get("span_id") and root and str(one["span_id"]).removeprefix("0x") != root:
            tally.left_out[OF_PART] += 1
            continue
        name, person = (
            _name(one),
            normalize_annotator(one["source"].get("source_id")) or UNKNOWN_ANNOTATOR,
        )
        time = _time_of(one, where)
        told, scale = _read_assessment(name, one, outputs, reading, where, tally)
        if any(isinstance(value, float) for _, value in told):
            tally.note_scale(name, scale, name, where)
        for texts, value in told:
            labels.append(Label(name, person, time, texts, value))
    if labels:
        shown = {"prompt": inputs} if isinstance(inputs, str | list) else inputs
        if not isinstance(shown, dict):
            raise UserError(f"{where}: its request is {kind_of(inputs)}; expected a text or messages")
        key = "messages" if "messages" in shown else label_prompt_key(shown, (), (), reading, where)
        yield from labelled_rows(asked_of(key, shown, reading, where), labels, reading, where)


def _is_human(one: Mapping[str, Any], where: str) -> bool:
    source = one.get("source")
    if not isinstance(source, dict):
        raise UserError(f"{where}: an assessment without a source, so its author is unknown")
    return str(source.get("source_type", "")).upper() == "HUMAN"


def _root_exchange(trace: Mapping[str, Any], where: str) -> tuple[str, Any, Any]:
    """Return the root span's id, and the request and the response of a trace."""
    data = trace.get("data")
    spans = data.get("spans") if isinstance(data, dict) else None
    for span in spans if isinstance(spans, list) else ():
        if isinstance(span, dict) and not (span.get("parent_span_id") or span.get("parent_id")):
            attributes = span.get("attributes")
            held = attributes if isinstance(attributes, dict) else {}
            inputs, outputs = held.get("mlflow.spanInputs"), held.get("mlflow.spanOutputs")
            return _span_hex(span.get("span_id")), _unpack_json(inputs), _unpack_json(outputs)
    if isinstance(data, dict) and {"request", "response"} <= data.keys():
        return "", _unpack_json(data["request"]), _unpack_json(data["response"])
    raise UserError(f"{where}: no spans, so there is no request or answer; export with include_spans=True")


def _span_hex(span: Any) -> str:
    """Return a span's id as assessments have it. Exports encode it in base 64, older ones do not."""
    try:
        raw = base64.b64decode(str(span), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # OpenTelemetry's span ids have 8 bytes. Assessments write them as hex digits.
    return raw.hex() if len(raw) == 8 else str(span).removeprefix("0x")


def _unpack_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _assessment_values(
    name: str, one: Mapping[str, Any], outputs: Any, reading: ParseOptions, where: str
) -> Iterator[tuple[tuple[str, ...], Any]]:
    expected = one.get("expectation")
    if name == WRITTEN and isinstance(expected, dict) and isinstance(expected.get("value"), str):
        yield (expected["value"],), None
    feedback = one.get("feedback")
    value = feedback.get("value") if isinstance(feedback, dict) else None
    if isinstance(value, dict):
        value = value.get("preference")
    if isinstance(value, str) and isinstance(outputs, dict):
        answers = [key for key, text in outputs.items() if isinstance(text, str)]
        for a, b, choice in chosen_pairs([value], (), answers, reading):
            yield (text_at(outputs, a, where), text_at(outputs, b, where)), choice
            value = None
    # MLflow's own categories are yes and no.
    score = _WORDS.get(value.casefold()) if isinstance(value, str) else None
    score = option_score(value, reading) if score is None else score
    if score is not None:
        yield (_find_answer(outputs, reading, where),), score


def _read_assessment(
    name: str, one: Mapping[str, Any], outputs: Any, reading: ParseOptions, where: str, tally: SkipCounts
) -> tuple[list[tuple[tuple[str, ...], Any]], str]:
    """Return the answers and values of an assessment, and the scale of a score.

    What `fields` says has precedence. A value that its mapping does not list is read as without it.
    """
    feedback = one.get("feedback")
    value = feedback.get("value") if isinstance(feedback, dict) else None
    meaning = reading.fields.get(name)
    if meaning is not None:
        tally.used.add(name)
    if meaning == "ignore" and feedback is not None:
        return [], ""
    listed = isinstance(meaning, Mapping) and not is_empty(value) and mapped_value(value, meaning) is not None
    if listed or (meaning is not None and not isinstance(meaning, Mapping) and not is_empty(value)):
        scale = "" if listed else scale_of(value, str(meaning))
        return list(_by_fields(name, one, outputs, reading, where, tally)), scale
    told = list(_assessment_values(name, one, outputs, reading, where))
    if not told:
        return list(_by_fields(name, one, outputs, reading, where, tally)), ""
    if isinstance(value, bool) or (isinstance(value, str) and value.casefold() in _WORDS):
        # The question about two scales lists yes and no, which `fields` can map to numbers.
        tally.note_values(name, value)
    return told, _scale(value)


def _scale(value: Any) -> str:
    """Return the scale of a score; true and false are 1 and 0 here."""
    return ZERO_THUMBS if isinstance(value, bool) or value in (0, "0") else scale_of(value, "number")


def _by_fields(
    name: str, one: Mapping[str, Any], outputs: Any, reading: ParseOptions, where: str, tally: SkipCounts
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the meaning that the source's `fields` give to a word. Ask for the meaning of others."""
    feedback = one.get("feedback")
    value = feedback.get("value") if isinstance(feedback, dict) else None
    if is_empty(value):
        return
    meaning = reading.fields.get(name)
    if meaning is None:
        short = not isinstance(value, str) or len(value) <= _SHORT
        tally.note_unread(name, value, where, "a verdict" if short else "")
        tally.note_values(name, value)
        return
    tally.used.add(name)
    read = read_meaning(name, meaning, value)
    if read is None:
        raise UserError(f"{where}: {name} is {str(value)!r:.60}, a value without a meaning in fields")
    if read[0] == "verdict":
        yield (_find_answer(outputs, reading, where),), read[1]


def _find_answer(outputs: Any, reading: ParseOptions, where: str) -> str:
    """Return the answer in a trace's outputs: a text, a chat completion, messages, or the text of a key."""
    if isinstance(outputs, str):
        return outputs
    if isinstance(outputs, list):
        turns = read_turns(outputs, where)
        if turns and turns[-1].role == "assistant":
            return turns[-1].content
    if isinstance(outputs, dict):
        choices = outputs.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict) and "message" in choices[0]:
            return _find_answer([choices[0]["message"]], reading, where)
        if isinstance(outputs.get("messages"), list):
            return _find_answer(outputs["messages"], reading, where)
        # A single chat message, perhaps without its role.
        if "content" in outputs:
            return _find_answer([{"role": "assistant", **outputs}], reading, where)
        texts = {key: value for key, value in outputs.items() if isinstance(value, str)}
        named = [key for key in texts if key == reading.columns.get("completion")]
        named = named or [key for key in texts if key.lower() in ANSWERS] or list(texts)
        if len(named) == 1:
            return texts[named[0]]
    kind = f"keys {', '.join(outputs)}" if isinstance(outputs, dict) else kind_of(outputs)
    raise UserError(
        f"{where}: unknown which part of its response ({kind}) is the answer; set it in columns, as in "
        "{completion: answer}"
    )


def _detect_mismatch(sample: FileSample) -> str:
    told = bool(sample.items) and all(
        "trace" in item.values or {"info", "data"} <= item.values.keys() for item in sample.items
    )
    return "" if told else "no traces with info and data"


FORMAT = Format("mlflow_feedback", stream_rows, "source", _detect_mismatch)
