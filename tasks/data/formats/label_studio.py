"""Parse Label Studio's exports, JSON and JSON_MIN.

Pairwise becomes a Comparison (nothing selected is a tie), Rating a Rating (0 is none), Number a Rating, and
Ranker a Comparison for each pair. Choices that name answers become Comparisons. Choices that are numbers, or
words such as Good and Bad on one answer, become a Rating. TextArea becomes a Pair for each text that a person
wrote, unless its control takes remarks (named comment, reason, ...). The user is asked for the meaning of
other choices, and other controls are counted.

The labelling configuration is `label_config`, or an .xml file among the source's files. It says which answer
is on the left, and what the keys of JSON_MIN are. A cancelled annotation does not count. Of several by one
person on a task the newest counts, in whichever export it is. Ground truth is kept as labels of the annotator
"ground-truth", with which all others can be compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.label_studio_config import KINDS, Control, Labelling, read_labelling
from tasks.data.formats.label_studio_export import (
    GIVE,
    MIN_KEYS,
    Annotation,
    LabelStudioResult,
    Task,
    annotations_of,
    every_task,
    newest_annotations,
    task_key,
)
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.label_rows import (
    PROMPTS,
    Label,
    answer_key,
    asked_of,
    by_rank,
    chosen_pairs,
    fold_name,
    is_remark,
    label_prompt_key,
    labelled_rows,
    option_score,
    score_of,
    text_at,
)
from tasks.data.parsing.labelled_items import item_left_out
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Choice, Fault, ParsedRow, Record
from tasks.data.values.column_names import yaml_value
from tasks.data.values.field_meanings import Meaning, as_verdict, is_null_word, plain_word
from tasks.data.values.key_text import yaml_key
from tasks.data.values.label_times import time_seconds
from tasks.data.values.newest import REPLACED
from tasks.data.values.value_meanings import read_meaning

CANCELLED = "annotations that were cancelled"
_REVIEWS = {"accept": 1.0, "reject": -1.0}
REJECTED = "annotations that a reviewer rejected"
UNLABELLED = "tasks without an annotation"


def stream_rows(
    files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts
) -> Iterator[ParsedRow | Fault]:
    """Yield the rows of all tasks, and a Fault for each that cannot be read."""
    texts = [(file.text(), file.origin) for file in files if file.origin.lower().endswith(".xml")]
    if reading.labelling:
        texts = [(reading.labelling, f"source {reading.source}, labelling")]
    if len(texts) > 1:
        raise UserError(f"source {reading.source}: {len(texts)} labelling configurations; expected one")
    labelling = read_labelling(*texts[0]) if texts else None
    exports = [file for file in files if not file.origin.lower().endswith(".xml")]
    people, newest = newest_annotations(exports, labelling)
    place = 0
    for task in every_task(exports, labelling):
        if isinstance(task, Fault):
            yield task
            continue
        kept, rejected = [], 0
        for annotation in task.annotations:
            person = people.get(annotation.annotator, annotation.annotator)
            # Exports that overlap hold a corrected label and its old version: only the newest may count.
            if newest[task_key(task), person] == place:
                if annotation.rejected:
                    rejected += 1
                else:
                    kept.append(annotation._replace(annotator=person))
            place += 1
        _count_skipped(tally, REPLACED, len(task.annotations) - len(kept) - rejected)
        _count_skipped(tally, REJECTED, rejected)
        _count_skipped(tally, CANCELLED, task.cancelled)
        _count_skipped(tally, UNLABELLED, not task.annotations)
        try:
            found = list(_task_rows(task._replace(annotations=kept), labelling, reading, tally))
        except UserError as error:
            yield Fault(task.where, str(error))
            continue
        yield from (ParsedRow(row, task.where) for row in found)


def _count_skipped(tally: SkipCounts, reason: str, count: int) -> None:
    if count:
        tally.left_out[reason] += count


def _task_rows(
    task: Task, labelling: Labelling | None, reading: ParseOptions, tally: SkipCounts
) -> Iterator[Record]:
    labels: list[Label] = []
    answers: set[str] = set()
    written: set[str] = set()
    for annotation in sorted(task.annotations, key=lambda one: time_seconds(one.time)):
        # In Pairwise, clicking neither side is a tie, and Label Studio exports no result for it.
        for result in [*annotation.results, *_find_ties(annotation, task, labelling, reading)]:
            if result.kind not in KINDS:
                _note_unread(result, task, reading, tally)
                continue
            control = _find_control(result, task, labelling)
            if result.control in reading.fields:
                tally.used.add(result.control)
            told = list(_result_values(result, control, task, reading))
            # A value that `fields` ignores needs no meaning any more.
            if not told and reading.fields.get(result.control, "ignore") == "ignore":
                _note_unread(result, task, reading, tally)
            for said in told:
                texts = tuple(said.answers.values())
                labels.append(Label(result.control, annotation.annotator, annotation.time, texts, said.value))
                answers.update(said.answers)
                written.update(control.targets)
    if not labels:
        return
    shown = {key: task.data[key] for key in labelling.shown if key in task.data} if labelling else task.data
    key = label_prompt_key(shown, answers, written, reading, task.where)
    # A guess went wrong: a prompt cannot be its own answer.
    if key in answers:
        raise UserError(
            f"{task.where}: {key} is both the prompt and a labelled answer; map the keys in "
            "columns, as in {prompt: question, completion: response}"
        )
    asked = asked_of(key, task.data, reading, task.where)
    read = {key, *answers, *written, *reading.columns.values()}
    # A task may have `meta` in its data too.
    values = {**({"meta": task.meta} if task.meta else {}), **task.data}
    if reason := item_left_out(values, read, reading, task.where, tally):
        _count_skipped(tally, reason, 1)
        return
    yield from labelled_rows(asked, labels, reading, task.where)


def _note_unread(result: LabelStudioResult, task: Task, reading: ParseOptions, tally: SkipCounts) -> None:
    """Count the value of an unread control. Choices may be a verdict, so their meaning is asked for."""
    if reading.fields.get(result.control) == "ignore":
        tally.used.add(result.control)
        return
    values = [value for value in result.value.values() if value not in (None, "", [], 0)]
    if values:
        asked = "a verdict" if result.kind in ("choices", "taxonomy") else ""
        value = values[0][0] if isinstance(values[0], list) and len(values[0]) == 1 else values[0]
        tally.note_unread(result.control or result.kind, value, task.where, asked)
        if asked:
            tally.note_values(result.control or result.kind, value)


def _find_ties(
    annotation: Annotation, task: Task, labelling: Labelling | None, reading: ParseOptions
) -> list[LabelStudioResult]:
    """Return the ties of an annotation. An export contains no result for them."""
    said = {result.control for result in annotation.results}
    silent = [
        name
        for name, control in (labelling.controls.items() if labelling else ())
        if control.kind == "pairwise" and name not in said
    ]
    # Without the configuration an empty result is ambiguous: any control may have been left blank.
    if labelling is None and not annotation.results:
        if _answer_sides(Control("pairwise", (), ()), task, reading) is None:
            raise UserError(f"{task.where}: an empty result is a tie where two are compared; {GIVE}")
        silent = ["pairwise"]
    return [LabelStudioResult(name, "pairwise", {"selected": "tie"}) for name in silent]


def _find_control(result: LabelStudioResult, task: Task, labelling: Labelling | None) -> Control:
    if labelling is None:
        return Control(result.kind, tuple(name for name in result.on.split(",") if name in task.data), ())
    if result.control not in labelling.controls:
        raise UserError(
            f"{task.where}: {result.control} is not in the labelling configuration, which has "
            f"{', '.join(labelling.controls) or 'no control'}"
        )
    return labelling.controls[result.control]


class ResultValue(NamedTuple):
    """The content of a result: the answers it is about, by their keys, and a verdict."""

    answers: dict[str, str]
    value: Choice | float | None


def _result_values(
    result: LabelStudioResult, control: Control, task: Task, reading: ParseOptions
) -> Iterator[ResultValue]:
    value: Any = result.value.get(KINDS[result.kind])
    if not _is_valid_value(result.kind, value):
        raise UserError(
            f"{task.where}: {result.control} says {value!r:.60}, which is invalid for {result.kind}"
        )
    if result.kind == "pairwise":
        sides = _answer_sides(control, task, reading)
        if sides is None:
            raise UserError(f"{task.where}: unknown which answer is on the left; {GIVE}")
        choice: Choice = "a" if value == "left" else "b" if value == "right" else "tie"
        yield ResultValue(_task_texts(sides, task), choice)
    # A Rating of 0 stars is no rating, and a Number of 0 is one.
    elif (result.kind == "rating" and value) or (result.kind == "number" and value is not None):
        yield ResultValue(
            _task_texts([_rated_answer(result, control, task, reading)], task),
            score_of(value, result.control, task.where),
        )
    elif result.kind == "ranker":
        yield from _ranked_choices(result, control, task)
    elif result.kind == "choices":
        yield from _chosen_pairs(value, result, control, task, reading)
    elif result.kind == "textarea" and not is_remark(result.control):
        for text in [value] if isinstance(value, str) else value:
            if text.strip():
                yield ResultValue({"": text}, None)


def _is_valid_value(kind: str, value: Any) -> bool:
    if kind == "pairwise":
        return value in ("left", "right", "tie")
    if kind in ("rating", "number"):
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    if kind == "ranker":
        return isinstance(value, dict | list)
    texts = [value] if isinstance(value, str) and kind == "textarea" else value
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)


def _task_texts(keys: Iterable[str], task: Task) -> dict[str, str]:
    return {key: text_at(task.data, key, task.where) for key in keys}


def _answer_sides(control: Control, task: Task, reading: ParseOptions) -> tuple[str, str] | None:
    """Return the keys of the left and the right answer, if they are known."""
    if {"left", "right"} <= reading.columns.keys():
        return reading.columns["left"], reading.columns["right"]
    # Pairwise lists the left object first in its toName.
    if len(control.targets) == 2:
        return control.targets[0], control.targets[1]
    # JSON without the configuration has no targets, so names such as answer_left and answer_right must tell.
    words = {key: fold_name(key).split("_") for key in task.data}
    pairs = [
        (left, right)
        for left, right in itertools.permutations(words, 2)
        if "left" in words[left]
        and ["right" if word == "left" else word for word in words[left]] == words[right]
    ]
    return pairs[0] if len(pairs) == 1 else None


def _rated_answer(result: LabelStudioResult, control: Control, task: Task, reading: ParseOptions) -> str:
    """Return the key of the rated answer: the control's target, unless that is the prompt."""
    prompts = {*PROMPTS, reading.columns.get("prompt")}
    if (
        len(control.targets) == 1
        and "completion" not in reading.columns
        and control.targets[0] not in prompts
    ):
        return control.targets[0]
    texts = [key for key, value in task.data.items() if isinstance(value, str)]
    return answer_key(texts, result.control, reading, task.where)


def _ranked_choices(result: LabelStudioResult, control: Control, task: Task) -> Iterator[ResultValue]:
    value = result.value["ranker"]
    order = value.get(result.control) if isinstance(value, dict) and len(value) == 1 else value
    if not isinstance(order, list):
        raise UserError(
            f"{task.where}: {result.control} sorts into buckets without saying which is better; use "
            "a Ranker without buckets"
        )
    lists = [task.data[key] for key in control.targets or task.data if isinstance(task.data.get(key), list)]
    items = [item for one in lists for item in one if isinstance(item, dict) and "id" in item]
    texts = {str(item["id"]): item.get("body") or item.get("title") for item in items}
    ranks = {str(number): rank for rank, number in enumerate(order)}
    if not all(isinstance(texts.get(number), str) for number in ranks):
        raise UserError(
            f"{task.where}: {result.control} ranks {', '.join(ranks)}, and the texts by id of the task's "
            f"list are {', '.join(texts) or 'none'}"
        )
    # In the order of the task's list, so that the better answer is not always the first.
    placed = {number: ranks[number] for number in texts if number in ranks}
    for one, other, choice in by_rank(placed):
        yield ResultValue({f"{result.control}: {name}": str(texts[name]) for name in (one, other)}, choice)


def _chosen_pairs(
    picked: list[str], result: LabelStudioResult, control: Control, task: Task, reading: ParseOptions
) -> Iterator[ResultValue]:
    texts = [key for key, value in task.data.items() if isinstance(value, str)]
    pairs = chosen_pairs(picked, control.options, texts, reading, control.shown)
    for one, other, choice in pairs:
        yield ResultValue(_task_texts((one, other), task), choice)
    if pairs:
        return
    meaning = reading.fields.get(result.control)
    scores = [
        _score_of_choice(choice, result, control, reading)
        if meaning is None
        else _told_score(choice, meaning, result, task)
        for choice in picked
        if meaning is not None or len(picked) == 1
    ]
    # Of several choices the worst counts.
    if known := [score for score in scores if score is not None]:
        yield ResultValue(_task_texts([_rated_answer(result, control, task, reading)], task), min(known))


def _told_score(choice: str, meaning: Meaning, result: LabelStudioResult, task: Task) -> float | None:
    """Return the score of a choice as the preset says; None if it ignores it."""
    if isinstance(meaning, Mapping) and is_null_word(choice):
        # An option None says that nothing is wrong. In a table, the word stands for an empty cell.
        said = {plain_word(str(value)): one for value, one in meaning.items()}.get(plain_word(choice))
        meaning = {"option": said} if said is not None else {}
        read = read_meaning(result.control, meaning, "option")
    else:
        read = read_meaning(result.control, meaning, choice)
    if read is None:
        raise UserError(
            f"{task.where}: {result.control} is {choice!r:.60}, a value without a meaning in fields; map "
            f"each value, as in {{{yaml_key(result.control)}: {{{yaml_value(choice)}: accept}}}}"
        )
    if read[0] == "review":
        # There is no pair beside the choice that a reviewer could accept.
        return _REVIEWS.get(read[1])
    return float(read[1]) if read[0] == "verdict" else None


def _score_of_choice(
    choice: str, result: LabelStudioResult, control: Control, reading: ParseOptions
) -> float | None:
    """Return the score of a choice: by columns, as a number, or as a word about one answer."""
    score = option_score(choice, reading)
    prompts = {*PROMPTS, reading.columns.get("prompt")}
    # Good or Bad about a prompt, or about two answers, is no score of one answer.
    on_answer = len(control.targets) == 1 and control.targets[0] not in prompts
    return as_verdict(choice) if score is None and on_answer else score


def _detect_mismatch(sample: FileSample) -> str:
    if sample.name.lower().endswith(".xml"):
        return "" if sample.text.lstrip().startswith("<View") else "no labelling configuration"
    told = bool(sample.items) and all(
        item.values.keys() >= MIN_KEYS
        or (isinstance(item.values.get("data"), dict) and annotations_of(item.values) is not None)
        for item in sample.items
    )
    return "" if told else "no tasks with data and annotations, nor annotator and annotation_id"


FORMAT = Format("label_studio", stream_rows, "source", _detect_mismatch)
