"""Read the tasks of Label Studio's exports, JSON and JSON_MIN: what was labelled, by whom and when."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord
from tasks.data.formats.label_studio_config import KINDS, Labelling
from tasks.data.parsing.label_rows import time_of
from tasks.data.records import Fault, text_digest
from tasks.data.values.annotators import UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.data.values.field_meanings import as_flag
from tasks.data.values.label_times import time_seconds

GROUND_TRUTH = "ground-truth"
GIVE = "give the project's labelling configuration as label_config, or its .xml file beside the export"
MIN_KEYS = {"annotator", "annotation_id", "lead_time"}
BOOKS = {*MIN_KEYS, "id", "created_at", "updated_at", "agreement"}


class LabelStudioResult(NamedTuple):
    """The value of one control, and what the control is about according to the export."""

    control: str
    kind: str
    value: Mapping[str, Any]
    on: str = ""


class Annotation(NamedTuple):
    """A person's results on a task at one time, and whether a reviewer rejected them."""

    annotator: str
    time: str
    results: list[LabelStudioResult]
    rejected: bool = False


class Task(NamedTuple):
    """A labelled task with its annotations. `meta` is what its project stores about it."""

    where: str
    number: str
    data: dict[str, Any]
    annotations: list[Annotation]
    cancelled: int = 0
    meta: Any = None


def newest_annotations(
    files: Sequence[SourceFile], labelling: Labelling | None
) -> tuple[dict[str, str], dict[tuple[str, str], int]]:
    """Return the names of people by their numbers, and the newest annotation of each person on each task.

    A task may be in several exports, and a person may be a number in one and an object with an address in
    another. An annotation is identified by its index among all that are read.
    """
    people: dict[str, str] = {}
    seen: list[tuple[str, str, tuple[float, bool]]] = []
    for task in every_task(files, labelling, people):
        if isinstance(task, Task):
            # At equal times the version that a reviewer rejected is the newer one.
            seen += [
                (task_key(task), one.annotator, (time_seconds(one.time), one.rejected))
                for one in task.annotations
            ]
    newest: dict[tuple[str, str], int] = {}
    times: dict[tuple[str, str], tuple[float, bool]] = {}
    for index, (labelled, annotator, time) in enumerate(seen):
        key = (labelled, people.get(annotator, annotator))
        # Without times, or at equal times, the later one in the export counts.
        if time >= times.get(key, time):
            newest[key], times[key] = index, time
    return people, newest


def task_key(task: Task) -> str:
    """Return the identity of a task: its number and its data."""
    return text_digest(task.number, json.dumps(task.data, sort_keys=True, default=str))


def every_task(
    files: Sequence[SourceFile], labelling: Labelling | None, people: dict[str, str] | None = None
) -> Iterator[Task | Fault]:
    """Yield the tasks of all files, and a Fault for each that cannot be read."""
    for file in files:
        yield from _read_tasks(file, labelling, {} if people is None else people)


def _read_tasks(
    file: SourceFile, labelling: Labelling | None, people: dict[str, str]
) -> Iterator[Task | Fault]:
    """Yield the tasks of a file. JSON_MIN has one row for each annotation, with those of a task together."""
    # `groupby` joins neighbours only, so at most the rows of one task are in memory.
    for (kind, _), group in itertools.groupby(file.all_items(), _kind_of_item):
        items = list(group)
        first = items[0]
        if isinstance(first, BrokenItem):
            yield Fault(first.where, first.fault)
            continue
        where = f"{first.where}, task {first.values.get('id', 'without an id')}"
        if kind == "min" and labelling is None:
            raise UserError(f"{where}: JSON_MIN does not name the label keys; {GIVE}")
        try:
            if kind == "whole":
                yield _complete_task(first, where, people)
            elif kind == "min" and labelling is not None:
                yield _least_task(
                    [item.values for item in items if isinstance(item, SourceRecord)], labelling, where
                )
            else:
                raise UserError(
                    f"{first.where}: keys {', '.join(first.values) or '(none)'} are no task of Label "
                    "Studio's; export as JSON or JSON_MIN"
                )
        except UserError as error:
            # One unreadable task must not lose the others of the export.
            yield Fault(first.where, str(error))


def _kind_of_item(item: SourceRecord | BrokenItem) -> tuple[str, str]:
    """Return the kind of export of an item, and the identity of its task."""
    if isinstance(item, BrokenItem):
        return "broken", item.where
    if isinstance(item.values.get("data"), dict) and annotations_of(item.values) is not None:
        return "whole", item.where
    if item.values.keys() >= MIN_KEYS:
        return "min", str(item.values.get("id", item.where))
    return "other", item.where


def _least_task(rows: list[dict[str, Any]], labelling: Labelling, where: str) -> Task:
    annotations = [_minimal_result(row, labelling, where) for row in rows if row["annotation_id"] is not None]
    kept = rows[0].keys() - labelling.controls.keys() - BOOKS
    data = {name: value for name, value in rows[0].items() if name in kept}
    return Task(where, str(rows[0].get("id", where)), data, annotations)


def annotations_of(task: Mapping[str, Any]) -> list[Any] | None:
    """Return the annotations of a task, which old exports call completions; None if there is no list."""
    given = task.get("annotations", task.get("completions"))
    return given if isinstance(given, list) else None


def _complete_task(item: SourceRecord, where: str, people: dict[str, str]) -> Task:
    annotations, cancelled = [], 0
    for index, given in enumerate(annotations_of(item.values) or []):
        if not isinstance(given, dict) or not isinstance(given.get("result") or [], list):
            raise UserError(f"{where}: an annotation is an object with a list of results")
        # Old exports say skipped, as they say completions for annotations.
        if given.get("was_cancelled") or given.get("skipped"):
            cancelled += 1
            continue
        _note_person(given.get("completed_by"), people)
        person = (
            GROUND_TRUTH
            if given.get("ground_truth")
            else _annotator_name(given.get("completed_by"), given.get("id", index))
        )
        time = time_of(given.get("updated_at") or given.get("created_at"), where)
        results = [_parse_result(result, where) for result in given.get("result") or []]
        annotations.append(Annotation(person, time, results, _is_rejected(given)))
    number = str(item.values.get("id", where))
    return Task(where, number, item.values["data"], annotations, cancelled, item.values.get("meta"))


def _is_rejected(annotation: Mapping[str, Any]) -> bool:
    """Return whether the last reviewer of an annotation rejected it."""
    action = str(annotation.get("last_action") or annotation.get("state") or "").strip().lower()
    if action in ("rejected", "accepted", "fixed_and_accepted"):
        return action == "rejected"
    reviews = annotation.get("reviews")
    told = [one for one in reviews if isinstance(one, dict)] if isinstance(reviews, list) else []
    # ISO 8601 texts of one export sort by time. Without times the last one of the list counts.
    told = sorted(told, key=lambda one: str(one.get("created_at") or ""))
    return bool(told) and as_flag(told[-1].get("accepted")) is False


def _note_person(given: Any, people: dict[str, str]) -> None:
    """Record the name of a person, whom another export may identify only by number."""
    if isinstance(given, dict):
        name = normalize_annotator(given)
        for key in ("id", "user_id", "username"):
            if other := normalize_annotator(given.get(key)):
                people[other] = name


def _parse_result(given: Any, where: str) -> LabelStudioResult:
    if not isinstance(given, dict) or not isinstance(given.get("value", {}), dict):
        raise UserError(f"{where}: a result is an object with from_name, type and value")
    kind, value = str(given.get("type", "")).lower(), given.get("value", {})
    # A label of a passage in the answer is no label of the answer.
    kind = "region" if "start" in value else kind
    return LabelStudioResult(str(given.get("from_name", "")), kind, value, str(given.get("to_name", "")))


def _minimal_result(row: Mapping[str, Any], labelling: Labelling, where: str) -> Annotation:
    results = []
    for name, control in labelling.controls.items():
        given = row.get(name)
        for value in given if isinstance(given, list) else [] if given is None else [given]:
            if isinstance(value, str) and control.kind in ("choices", "textarea"):
                value = {KINDS[control.kind]: [value]}
            if isinstance(value, int | float) and control.kind in ("rating", "number"):
                value = {KINDS[control.kind]: value}
            if not isinstance(value, dict):
                raise UserError(f"{where}: {name} is {value!r:.40}, which is invalid for {control.kind}")
            # As in the full export, labels of a passage are skipped.
            if "start" not in value:
                results.append(LabelStudioResult(name, control.kind, value))
    time = time_of(row.get("updated_at") or row.get("created_at"), where)
    return Annotation(_annotator_name(row["annotator"], row["annotation_id"]), time, results)


def _annotator_name(given: Any, number: Any) -> str:
    """Return the annotator. Each unknown person counts as another one."""
    return normalize_annotator(given) or f"{UNKNOWN_ANNOTATOR}-{number}"
