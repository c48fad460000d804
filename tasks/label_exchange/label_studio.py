"""Label Studio: a batch becomes projects with their labelling configuration, and annotations come back.

The community edition asks one person about an item. A batch that needs several people for each item becomes
one project a person; each project's description names its batch and its person.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from tasks.label_exchange.batch_items import (
    ANYBODY,
    ExchangedBatch,
    ExchangedItem,
    PushedList,
    assign_items,
    check_people,
    explain_no_items,
    read_exchanged_batches,
)
from tasks.label_exchange.label_studio_client import LabelStudioClient
from tasks.label_exchange.returned_judgements import (
    BAD,
    FIRST,
    SECOND,
    TIE,
    PullResult,
    ReturnedJudgement,
    ToolItems,
    normal_time,
    store_returned,
)
from tasks.labelling.people import list_people
from tasks.labelling.schema import LabelStore

TOOL = "label-studio"
_LONGEST_TITLE = 50
# The line of a project's description by which it is found again.
_MARK = re.compile(r"^chatmill: (\{.*\})\s*$", re.MULTILINE)
# The fields of a task's data.
_ITEM, _GUIDE = "chatmill_item", "chatmill_guide"
_CHOICES = (
    (FIRST, "Answer 1 is better", "1"),
    (SECOND, "Answer 2 is better", "2"),
    (TIE, "tie: both are equally good", "0"),
    (BAD, "both are bad", "b"),
)
_FLAG = "flag"
_SIDE = '<View style="flex: 1; white-space: pre-wrap">'


class LabelStudioProjects:
    """The projects of batches on one Label Studio."""

    def __init__(self, client: LabelStudioClient) -> None:
        self._client = client

    def push(self, store: LabelStore, name: str, people: Sequence[str]) -> list[PushedList]:
        """Send a batch's items that Label Studio lacks; a second call sends nothing.

        Args:
            store: The label page's store.
            name: The batch's name.
            people: The people who get items, in the order of their projects; none where one judgement is
                enough.

        Raises:
            UserError: The batch or a person is unknown, people are missing, or the server refuses a request.
        """
        [batch] = read_exchanged_batches(store, name)
        wanted = check_people(batch, people, (person.name for person in list_people(store)))
        client, projects = self._client, dict[str, int]()
        there: dict[str, set[str]] = {}
        for person, project in _projects_of(client.projects(), batch):
            # A killed call may have left a second one; new items go to the first.
            projects.setdefault(person, project)
            there.setdefault(person, set()).update(
                str(task["data"].get(_ITEM, "")) for task in client.tasks(project)
            )
        pushed = []
        for person, items in assign_items(batch, wanted, there).items():
            if items and person not in projects:
                projects[person] = int(client.create_project(project_values(batch, person))["id"])
            place = ""
            if person in projects:
                client.add_tasks(projects[person], [task_data(batch, item, person) for item in items])
                place = client.project_page(projects[person])
            total = len(there.get(person, ())) + len(items)
            reason = "" if items else explain_no_items(batch, person, there)
            pushed.append(PushedList(person, len(items), total, place, reason))
        return pushed

    def pull(self, store: LabelStore, name: str = "") -> dict[str, PullResult]:
        """Add the annotations of the store's batches, or of one, that the store lacks; return them by batch.

        Batches without a project are left out. Raises UserError as `push` does.
        """
        results, every = {}, self._client.projects()
        users: dict[int, str] = {}
        for batch in read_exchanged_batches(store, name):
            found: list[tuple[str, ReturnedJudgement | str]] = []
            projects, there = list(_projects_of(every, batch)), ToolItems()
            for person, project in projects:
                if not person and not users:
                    users = self._client.users()
                for task in self._client.tasks(project):
                    item = str(task["data"].get(_ITEM, ""))
                    there.add(person, item)
                    for annotation in task["annotations"]:
                        there.note(person or _email_of(annotation.get("completed_by"), users), item)
                        said = read_annotation(batch, person, task, annotation, users)
                        found.append((str(annotation.get("updated_at", "")), said))
            if projects:
                # The newest judgement of a person counts, so they are added in the order of their times.
                ordered = [each for _, each in sorted(found, key=lambda each: each[0])]
                results[batch.name] = store_returned(store, batch, TOOL, ordered, there)
        return results


def _projects_of(projects: Iterable[Mapping[str, Any]], batch: ExchangedBatch) -> Iterator[tuple[str, int]]:
    """Yield the person and the number of each of some projects that is of a batch."""
    for project in projects:
        mark = _MARK.search(str(project.get("description") or ""))
        try:
            found = json.loads(mark[1]) if mark else {}
        except ValueError:
            continue
        if found.get("batch") == batch.key:
            yield str(found.get("person", ANYBODY)), int(project["id"])


def project_values(batch: ExchangedBatch, person: str) -> dict[str, Any]:
    """Return what a batch's project is created with."""
    mark = json.dumps({"batch": batch.key, "person": person})
    whose = f" · {person}" if person else ""
    return {
        "title": f"chatmill {batch.name}{whose}"[:_LONGEST_TITLE],
        "description": f"Batch {batch.name} of chatmill. Keep the next line.\nchatmill: {mark}",
        "label_config": labelling_config(batch),
        # Label Studio shows this as HTML; the guide is somebody's text.
        "expert_instruction": f'<div style="white-space: pre-wrap">{html.escape(batch.guide_text)}</div>',
        "show_instruction": True,
    }


def task_data(batch: ExchangedBatch, item: ExchangedItem, person: str) -> dict[str, str]:
    """Return an item as a task's data: nothing in it says which model answered."""
    first, second = item.answers_for(person)
    return {
        "conversation": item.conversation, FIRST: first, SECOND: second, _ITEM: item.digest,
        _GUIDE: batch.guide,
    }  # fmt: skip


def labelling_config(batch: ExchangedBatch) -> str:
    """Return the labelling configuration of a batch: two answers beside each other, and what is asked."""
    choices = "".join(
        f"<Choice value={quoteattr(said)} alias={quoteattr(value)} hotkey={quoteattr(key)}/>"
        for value, said, key in _CHOICES
    )
    single = 'toName="conversation" choice="single-radio" showInLine="true"'
    steps = "".join(f'<Choice value="{step}"/>' for step in range(1, 6))
    aspects = "".join(
        f"<Header value={quoteattr(f'{aspect}: 1 if Answer 1 is clearly better, 5 if Answer 2 is')}/>"
        f"<Choices name={quoteattr(_aspect_field(number))} {single}>{steps}</Choices>"
        for number, aspect in enumerate(batch.aspects)
    )
    answers = "".join(
        f'{_SIDE}<Header value="Answer {number}"/>'
        f'<Text name="{field}" value="${field}" valueType="text"/></View>'
        for number, field in ((1, FIRST), (2, SECOND))
    )
    return (
        '<View><View style="white-space: pre-wrap">'
        '<Text name="conversation" value="$conversation" valueType="text"/></View>'
        f'<View style="display: flex; gap: 1rem">{answers}</View>'
        f'<Choices name="choice" {single} required="true">{choices}</Choices>{aspects}'
        f'<Choices name="{_FLAG}" toName="conversation" choice="multiple">'
        f'<Choice value="something is wrong with this item" alias="{_FLAG}" hotkey="f"/></Choices>'
        '<Header value="Comment"/><TextArea name="comment" toName="conversation" maxSubmissions="1" '
        'editable="true"/><Header value="A better answer"/><TextArea name="better" toName="conversation" '
        'maxSubmissions="1" editable="true"/></View>'
    )


def _aspect_field(number: int) -> str:
    # An aspect's name may have characters that Label Studio does not take.
    return f"aspect_{number + 1}"


def read_annotation(
    batch: ExchangedBatch,
    person: str,
    task: Mapping[str, Any],
    annotation: Mapping[str, Any],
    users: Mapping[int, str],
) -> ReturnedJudgement | str:
    """Return an annotation as a judgement, or why it is none.

    Args:
        batch: The project's batch.
        person: The project's person, or ANYBODY.
        task: The task, with its data.
        annotation: The annotation.
        users: The users' e-mail addresses by number, for a project that is no one person's.
    """
    where = f"annotation {annotation.get('id')} of task {task.get('id')}"
    name = person or _email_of(annotation.get("completed_by"), users)
    if not name:
        return f"{where} is by a user whom Label Studio does not name"
    answers = _read_results(annotation.get("result"))
    choice = next((value for value, said, _ in _CHOICES if answers.get("choice") in (value, said)), "")
    skipped = bool(annotation.get("was_cancelled"))
    if not choice and not skipped:
        return f"{where} has no choice between the answers"
    steps = {}
    for number, aspect in enumerate(batch.aspects):
        step = answers.get(_aspect_field(number), "")
        if step and step not in ("1", "2", "3", "4", "5"):
            return f"{where} has the step {step[:20]!a} of {aspect}; expected 1 to 5"
        if step and not skipped:
            steps[aspect] = int(step)
    return ReturnedJudgement(
        person=name,
        order=person,
        item=str(task["data"].get(_ITEM, "")),
        origin=f"{annotation.get('id')} {annotation.get('updated_at')}",
        choice="" if skipped else choice,
        steps=steps,
        comment=answers.get("comment", ""),
        better="" if skipped else answers.get("better", ""),
        flag=bool(answers.get(_FLAG)),
        seconds=_read_seconds(annotation.get("lead_time")),
        time=normal_time(annotation.get("updated_at")),
        guide=str(task["data"].get(_GUIDE, "")),
    )


def _read_seconds(lead_time: Any) -> float:
    """Return the seconds on a task; 0 if Label Studio does not tell them."""
    return max(0.0, float(lead_time)) if isinstance(lead_time, int | float) else 0.0


def _email_of(user: Any, users: Mapping[int, str]) -> str:
    if isinstance(user, Mapping):
        return str(user.get("email") or "")
    return users.get(user, "") if isinstance(user, int) else ""


def _read_results(results: Any) -> dict[str, str]:
    """Return the text that each control of the configuration has; of several texts all, a line each."""
    found = {}
    for result in results if isinstance(results, list) else ():
        value = result.get("value") if isinstance(result, Mapping) else None
        if not isinstance(value, Mapping):
            continue
        given = value.get("choices") or value.get("text") or []
        texts = given if isinstance(given, list) else [given]
        found[str(result.get("from_name"))] = "\n".join(map(str, texts))
    return found
