"""Label Studio's exports, JSON and JSON_MIN.

A control becomes: Pairwise a Comparison (nothing selected is a tie), Rating a Rating (0 is none), Ranker a
Comparison a pair, Choices that name answers Comparisons and those that are numbers a Rating, TextArea a Pair
whose completion a person wrote, but for a remark (a control named so: comment, reason, ...). Choices that
are neither are passed over; they are an error where nothing else is labelled.

Which answer stands left, and what JSON_MIN's keys are, the labelling configuration says: `labelling`, or an
.xml file among the source's. An annotation that was cancelled does not count; of several by one person on a
task the last does. What is marked as ground truth is kept as said by the annotator "ground-truth", so that
everybody else can be held against it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.formats import Fault, File, Format, Found, Item, Reading, Sample, Tally
from tasks.formats.labelled import (
    PROMPTS,
    Label,
    answer_key,
    asked_of,
    by_rank,
    chosen,
    flat,
    instant,
    is_remark,
    labelled_rows,
    number,
    prompt_key,
    score_of,
    text_at,
    time_of,
)
from tasks.formats.labelling import KINDS, Control, Labelling, read_labelling
from tasks.records import Choice, Record

GROUND_TRUTH = "ground-truth"
GIVE = "give the project's labelling configuration as labelling, or its .xml file beside the export"
MIN_KEYS = {"annotator", "annotation_id", "lead_time"}
BOOKS = {*MIN_KEYS, "id", "created_at", "updated_at", "agreement"}


class Result(NamedTuple):
    """What was said with one control, and what the export says that the control stands on."""

    control: str
    kind: str
    value: Mapping[str, Any]
    on: str = ""


class Annotation(NamedTuple):
    """What one person said about a task, at one time."""

    annotator: str
    time: str
    results: list[Result]


class Task(NamedTuple):
    """What was labelled, and by whom how."""

    where: str
    data: dict[str, Any]
    annotations: list[Annotation]


def stream(files: Sequence[File], reading: Reading, tally: Tally) -> Iterator[Found | Fault]:
    """The rows of all tasks, and a Fault for each that cannot be read."""
    texts = [(file.text(), file.origin) for file in files if file.origin.lower().endswith(".xml")]
    if reading.labelling:
        texts = [(reading.labelling, f"source {reading.source}, labelling")]
    if len(texts) > 1:
        raise UserError(f"source {reading.source}: {len(texts)} labelling configurations; one is right")
    labelling = read_labelling(*texts[0]) if texts else None
    unread, rows = "", 0
    for file in files:
        if file.origin.lower().endswith(".xml"):
            continue
        for task in _tasks(file, labelling):
            try:
                found = list(_rows(task, labelling, reading))
            except UserError as error:
                yield Fault(task.where, str(error))
                continue
            rows += len(found)
            yield from (Found(row, task.where) for row in found)
            unread = unread or _unread(task)
    if unread and not rows:
        raise UserError(
            f"{unread} names no answer and is no number; say in columns what each choice stands for, "
            'as in {A: answer_a, B: answer_b} or {Good: "1", Bad: "0"}'
        )


def _unread(task: Task) -> str:
    for annotation in task.annotations:
        for result in annotation.results:
            if result.kind == "choices":
                return f"{task.where}: the choice {result.value.get('choices')} of {result.control}"
    return ""


def _tasks(file: File, labelling: Labelling | None) -> Iterator[Task]:
    """The tasks of a file. The rows of one task stand together in JSON_MIN, one an annotation."""
    for key, group in itertools.groupby(file.items(), _task_key):
        item = next(group)
        where = f"{item.where}, task {item.values.get('id', 'without an id')}"
        if key is None:
            for one in itertools.chain([item], group):
                yield _whole(one, f"{one.where}, task {one.values.get('id', 'without an id')}")
        elif labelling is None:
            raise UserError(f"{where}: JSON_MIN does not say which keys are labels; {GIVE}")
        else:
            rows = [item.values, *(other.values for other in group)]
            annotations = [_least(row, labelling, where) for row in rows if row["annotation_id"] is not None]
            kept = rows[0].keys() - labelling.controls.keys() - BOOKS
            data = {name: value for name, value in rows[0].items() if name in kept}
            yield Task(where, data, annotations)


def _task_key(item: Item) -> Any:
    if isinstance(item.values.get("data"), dict) and _annotations(item.values) is not None:
        return None
    if item.values.keys() >= MIN_KEYS:
        return str(item.values.get("id", item.where))
    raise UserError(
        f"{item.where}: keys {', '.join(item.values) or '(none)'} are no task of Label Studio's; export as "
        "JSON or JSON_MIN"
    )


def _annotations(task: Mapping[str, Any]) -> list[Any] | None:
    given = task.get("annotations", task.get("completions"))
    return given if isinstance(given, list) else None


def _whole(item: Item, where: str) -> Task:
    annotations = []
    for place, given in enumerate(_annotations(item.values) or []):
        if not isinstance(given, dict) or not isinstance(given.get("result") or [], list):
            raise UserError(f"{where}: an annotation is an object with a list of results")
        if given.get("was_cancelled") or given.get("skipped"):
            continue
        person = (
            GROUND_TRUTH
            if given.get("ground_truth")
            else _person(given.get("completed_by"), given.get("id", place))
        )
        time = time_of(given.get("updated_at") or given.get("created_at"), where)
        results = [_result(result, where) for result in given.get("result") or []]
        annotations.append(Annotation(person, time, results))
    return Task(where, item.values["data"], annotations)


def _result(given: Any, where: str) -> Result:
    if not isinstance(given, dict) or not isinstance(given.get("value", {}), dict):
        raise UserError(f"{where}: a result is an object with from_name, type and value")
    kind, value = str(given.get("type", "")).lower(), given.get("value", {})
    # What was said of a passage in the answer is not said of the answer.
    kind = "region" if "start" in value else kind
    return Result(str(given.get("from_name", "")), kind, value, str(given.get("to_name", "")))


def _least(row: Mapping[str, Any], labelling: Labelling, where: str) -> Annotation:
    results = []
    for name, control in labelling.controls.items():
        given = row.get(name)
        for value in given if isinstance(given, list) else [] if given is None else [given]:
            if isinstance(value, str) and control.kind in ("choices", "textarea"):
                value = {KINDS[control.kind]: [value]}
            if not isinstance(value, dict):
                raise UserError(f"{where}: {name} is {value!r:.40}, which no {control.kind} says")
            if "start" not in value:
                results.append(Result(name, control.kind, value))
    time = time_of(row.get("updated_at") or row.get("created_at"), where)
    return Annotation(_person(row["annotator"], row["annotation_id"]), time, results)


def _person(given: Any, number: Any) -> str:
    """Who annotated. Nobody knows whether two unknown people are one, so each is one."""
    if isinstance(given, dict):
        given = given.get("email") or given.get("id")
    return f"unknown-{number}" if given is None or given in ("", "None") else str(given)


def _rows(task: Task, labelling: Labelling | None, reading: Reading) -> Iterator[Record]:
    last: dict[str, Annotation] = {}
    for annotation in sorted(task.annotations, key=lambda one: instant(one.time)):
        last[annotation.annotator] = annotation
    labels: list[Label] = []
    answers: set[str] = set()
    written: set[str] = set()
    for annotation in last.values():
        for result in [*annotation.results, *_ties(annotation, task, labelling, reading)]:
            if result.kind not in KINDS:
                continue
            control = _control(result, task, labelling)
            for said in _said(result, control, task, reading):
                texts = tuple(said.answers.values())
                labels.append(Label(result.control, annotation.annotator, annotation.time, texts, said.value))
                answers.update(said.answers)
                written.update(control.targets)
    if not labels:
        return
    shown = {key: task.data[key] for key in labelling.shown if key in task.data} if labelling else task.data
    key = prompt_key(shown, answers, written, reading, task.where)
    if key in answers:
        raise UserError(
            f"{task.where}: {key} is the prompt and a labelled answer at once; say in columns which key "
            "holds what, as in {prompt: question, completion: response}"
        )
    yield from labelled_rows(asked_of(key, task.data, reading, task.where), labels, reading, task.where)


def _ties(annotation: Annotation, task: Task, labelling: Labelling | None, reading: Reading) -> list[Result]:
    """The ties of an annotation: an export leaves them out."""
    said = {result.control for result in annotation.results}
    silent = [
        name
        for name, control in (labelling.controls.items() if labelling else ())
        if control.kind == "pairwise" and name not in said
    ]
    if labelling is None and not annotation.results:
        if _sides(Control("pairwise", (), ()), task, reading) is None:
            raise UserError(f"{task.where}: an empty result is a tie where two are compared; {GIVE}")
        silent = ["pairwise"]
    return [Result(name, "pairwise", {"selected": "tie"}) for name in silent]


def _control(result: Result, task: Task, labelling: Labelling | None) -> Control:
    if labelling is None:
        return Control(result.kind, tuple(name for name in result.on.split(",") if name in task.data), ())
    if result.control not in labelling.controls:
        raise UserError(
            f"{task.where}: {result.control} is not in the labelling configuration, which has "
            f"{', '.join(labelling.controls) or 'no control'}"
        )
    return labelling.controls[result.control]


class Said(NamedTuple):
    """What one result says: of which answers, by the key that holds each, and what of them."""

    answers: dict[str, str]
    value: Choice | float | None


def _said(result: Result, control: Control, task: Task, reading: Reading) -> Iterator[Said]:
    value: Any = result.value.get(KINDS[result.kind])
    if not _sound(result.kind, value):
        raise UserError(f"{task.where}: {result.control} says {value!r:.60}, which no {result.kind} does")
    if result.kind == "pairwise":
        sides = _sides(control, task, reading)
        if sides is None:
            raise UserError(f"{task.where}: which answer stands left is not known; {GIVE}")
        choice: Choice = "a" if value == "left" else "b" if value == "right" else "tie"
        yield Said(_texts(sides, task), choice)
    elif result.kind == "rating" and value:
        yield Said(
            _texts([_rated(result, control, task, reading)], task),
            score_of(value, result.control, task.where),
        )
    elif result.kind == "ranker":
        yield from _ranked(result, control, task)
    elif result.kind == "choices":
        yield from _chosen(value, result, control, task, reading)
    elif result.kind == "textarea" and not is_remark(result.control):
        text = value if isinstance(value, str) else value[-1] if value else ""
        if text.strip():
            yield Said({"": text}, None)


def _sound(kind: str, value: Any) -> bool:
    if kind == "pairwise":
        return value in ("left", "right", "tie")
    if kind == "rating":
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    if kind == "ranker":
        return isinstance(value, dict | list)
    texts = [value] if isinstance(value, str) and kind == "textarea" else value
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)


def _texts(keys: Iterable[str], task: Task) -> dict[str, str]:
    return {key: text_at(task.data, key, task.where) for key in keys}


def _sides(control: Control, task: Task, reading: Reading) -> tuple[str, str] | None:
    """The keys of the left and the right answer, if they are known."""
    if {"left", "right"} <= reading.columns.keys():
        return reading.columns["left"], reading.columns["right"]
    if len(control.targets) == 2:
        return control.targets[0], control.targets[1]
    words = {key: flat(key).split("_") for key in task.data}
    pairs = [
        (left, right)
        for left, right in itertools.permutations(words, 2)
        if "left" in words[left]
        and ["right" if word == "left" else word for word in words[left]] == words[right]
    ]
    return pairs[0] if len(pairs) == 1 else None


def _rated(result: Result, control: Control, task: Task, reading: Reading) -> str:
    """The key of the answer that is rated: the one that the control stands on, unless that is the prompt."""
    prompts = {*PROMPTS, reading.columns.get("prompt")}
    if (
        len(control.targets) == 1
        and "completion" not in reading.columns
        and control.targets[0] not in prompts
    ):
        return control.targets[0]
    texts = [key for key, value in task.data.items() if isinstance(value, str)]
    return answer_key(texts, result.control, reading, task.where)


def _ranked(result: Result, control: Control, task: Task) -> Iterator[Said]:
    value = result.value["ranker"]
    order = value.get(result.control) if isinstance(value, dict) and len(value) == 1 else value
    if not isinstance(order, list):
        raise UserError(
            f"{task.where}: {result.control} sorts into buckets, and none is said to be the better one; a "
            "Ranker without buckets is read"
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
    # Side by side as the task lists them, so that the better one is not always the first.
    placed = {number: ranks[number] for number in texts if number in ranks}
    for one, other, choice in by_rank(placed):
        yield Said({f"{result.control}: {name}": str(texts[name]) for name in (one, other)}, choice)


def _chosen(
    picked: list[str], result: Result, control: Control, task: Task, reading: Reading
) -> Iterator[Said]:
    texts = [key for key, value in task.data.items() if isinstance(value, str)]
    pairs = chosen(picked, control.options, texts, reading, control.shown)
    for one, other, choice in pairs:
        yield Said(_texts((one, other), task), choice)
    if not pairs and len(picked) == 1 and (score := number(picked[0], reading)) is not None:
        yield Said(_texts([_rated(result, control, task, reading)], task), score)


def _fits(sample: Sample) -> str:
    if sample.name.lower().endswith(".xml"):
        return "" if sample.text.lstrip().startswith("<View") else "no labelling configuration"
    told = bool(sample.items) and all(
        item.values.keys() >= MIN_KEYS
        or (isinstance(item.values.get("data"), dict) and _annotations(item.values) is not None)
        for item in sample.items
    )
    return "" if told else "no tasks with data and annotations, nor annotator and annotation_id"


FORMAT = Format("label_studio", stream, "source", _fits)
