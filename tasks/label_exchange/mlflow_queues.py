"""MLflow's review queues (3.17): a batch becomes an experiment with queues of traces; feedback comes back.

A queue's item ends with the first person who completes it. A batch that needs several people for each item
therefore becomes one queue a person, with traces of their own: each person has an order of the answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.genai.label_schemas import InputCategorical
from mlflow.tracing.client import TracingClient

from model.errors import UserError
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

if TYPE_CHECKING:
    from mlflow.entities import TraceInfo
    from mlflow.genai.review_queues import ReviewQueue, ReviewQueueItem

_TOOL = "mlflow"
# MLflow shows questions by name, so this one comes before the aspects.
_CHOICE = "answer"
_OPTIONS = {
    "Answer 1 is better": FIRST,
    "Answer 2 is better": SECOND,
    "tie: both are equally good": TIE,
    "both are bad": BAD,
}
_STEPS = [str(step) for step in range(1, 6)]
# Tags of a trace.
_ITEM, _PERSON, _GUIDE = "chatmill.item", "chatmill.person", "chatmill.guide"
_ANYBODYS_QUEUE = "anybody"
_PAGE = 100
_Result = TypeVar("_Result")


class ReviewQueues:
    """The experiments with review queues in one MLflow store."""

    def __init__(self, uri: str) -> None:
        """Use the store of an address. The environment must be prepared, as MLflow reads it when imported."""
        self.uri = uri
        # Traces are written to the store of the process.
        mlflow.set_tracking_uri(uri)
        self._client, self._tracing = mlflow.MlflowClient(uri), TracingClient(uri)

    def push(self, store: LabelStore, name: str, people: Sequence[str]) -> list[PushedList]:
        """Send a batch's items that the queues lack; a second call sends nothing.

        Args:
            store: The label page's store.
            name: The batch's name.
            people: The people who get items; none where one judgement is enough.

        Raises:
            UserError: The batch or a person is unknown, people are missing, or MLflow refuses a request.
        """
        [batch] = read_exchanged_batches(store, name)
        wanted = check_people(batch, people, (person.name for person in list_people(store)))
        return _explained(lambda: self._push(batch, wanted))

    def pull(self, store: LabelStore, name: str = "") -> dict[str, PullResult]:
        """Add the feedback on the store's batches, or on one, that the store lacks; return it by batch.

        Batches without an experiment are left out. Raises UserError as `push` does.
        """
        results = {}
        for batch in read_exchanged_batches(store, name):
            found = _explained(lambda batch=batch: self._fetch(batch))  # type: ignore[misc]
            if found is not None:
                results[batch.name] = store_returned(store, batch, _TOOL, *found)
        return results

    def _push(self, batch: ExchangedBatch, people: Sequence[str]) -> list[PushedList]:
        experiment = self._find_experiment(batch)
        traces: dict[str, dict[str, str]] = {}
        for trace in self._traces(experiment) if experiment else ():
            # MLflow stores a trace before its tags. One that a kill left without them is no item.
            if item := trace.tags.get(_ITEM):
                digests = traces.setdefault(trace.tags.get(_PERSON, ANYBODY), {})
                digests.setdefault(item, trace.trace_id)
        there = {person: set(digests) for person, digests in traces.items()}
        assigned = assign_items(batch, people, there)
        if any(assigned.values()) and not experiment:
            experiment = self._client.create_experiment(
                experiment_name(batch), tags={"mlflow.note.content": batch.guide_text}
            )
        schemas = self._schemas(experiment, batch) if experiment else []
        pushed = []
        for person, items in assigned.items():
            mine = traces.setdefault(person, {})
            for item in items:
                mine[item.digest] = self._add_trace(experiment, batch, item, person)
            # All of them: a killed call may have left traces that are in no queue.
            if mine:
                self._fill_queue(experiment, person, schemas, list(mine.values()))
            reason = "" if items else explain_no_items(batch, person, there)
            place = experiment_name(batch) if mine else ""
            pushed.append(PushedList(person, len(items), len(mine), place, reason))
        return pushed

    def _find_experiment(self, batch: ExchangedBatch) -> str:
        found = self._client.get_experiment_by_name(experiment_name(batch))
        if found is None:
            return ""
        if found.lifecycle_stage != "active":
            raise UserError(
                f"the experiment {found.name} was deleted in MLflow; restore it there, as no second one can "
                "have its name"
            )
        return str(found.experiment_id)

    def _schemas(self, experiment: str, batch: ExchangedBatch) -> list[str]:
        """Return the ids of the questions, which are made if they are missing."""
        known = {
            schema.name: str(schema.schema_id)
            for schema in _each_page(lambda token: self._tracing._list_label_schemas(
                experiment, max_results=_PAGE, page_token=token
            ))
        }  # fmt: skip
        for name, options, instruction in questions(batch):
            if name not in known:
                schema = self._tracing._create_label_schema(
                    experiment, name=name, type="feedback", input=InputCategorical(options=options),
                    instruction=instruction, enable_comment=name == _CHOICE,
                )  # fmt: skip
                known[name] = str(schema.schema_id)
        return [known[name] for name, *_ in questions(batch)]

    def _add_trace(self, experiment: str, batch: ExchangedBatch, item: ExchangedItem, person: str) -> str:
        first, second = item.answers_for(person)
        span = mlflow.start_span_no_context(
            name="item",
            inputs={"conversation": item.conversation, "Answer 1": first, "Answer 2": second},
            tags={_ITEM: item.digest, _PERSON: person, _GUIDE: batch.guide},
            experiment_id=experiment,
        )
        span.end()
        return str(span.trace_id)

    def _fill_queue(
        self, experiment: str, person: str, schemas: Sequence[str], traces: Sequence[str]
    ) -> None:
        name = queue_name(person)
        queue = next((each for each in self._queues(experiment) if each.name == name), None)
        if queue is None:
            queue = self._tracing._create_review_queue(
                experiment, name=name, queue_type="custom", users=[person] if person else [],
                schema_ids=list(schemas),
            )  # fmt: skip
        for start in range(0, len(traces), _PAGE):
            self._tracing._add_items_to_review_queue(
                queue.queue_id, item_ids=list(traces[start : start + _PAGE])
            )

    def _queues(self, experiment: str) -> Iterator[ReviewQueue]:
        yield from _each_page(
            lambda token: self._tracing._list_review_queues(experiment, max_results=_PAGE, page_token=token)
        )

    def _traces(self, experiment: str) -> Iterator[TraceInfo]:
        for trace in _each_page(
            lambda token: self._tracing.search_traces(
                experiment_ids=[experiment], max_results=_PAGE, page_token=token, include_spans=False
            )
        ):
            yield trace.info

    def _fetch(self, batch: ExchangedBatch) -> tuple[list[ReturnedJudgement | str], ToolItems] | None:
        """Return what people said of a batch, in the order of its time; None if it was not sent here."""
        there = ToolItems()
        experiment = self._find_experiment(batch)
        if not experiment:
            return None
        traces = {trace.trace_id: trace for trace in self._traces(experiment)}
        found: list[tuple[int, ReturnedJudgement | str]] = []
        for queue in self._queues(experiment):
            for item in _each_page(
                lambda token, queue=queue: self._tracing._list_review_queue_items(  # type: ignore[misc]
                    queue.queue_id, max_results=_PAGE, page_token=token
                )
            ):
                if item.item_id not in traces:
                    continue
                digest, person = (traces[item.item_id].tags.get(tag, "") for tag in (_ITEM, _PERSON))
                there.add(person, digest)
                if str(item.status) != "pending":
                    there.note(person or str(item.completed_by or ""), digest)
                    moment = int(item.completed_time_ms or 0)
                    found.append((moment, read_review(batch, item, traces[item.item_id])))
        return [each for _, each in sorted(found, key=lambda each: each[0])], there


def experiment_name(batch: ExchangedBatch) -> str:
    """Return the name of a batch's experiment."""
    return f"labels {batch.name} ({batch.key})"


def queue_name(person: str) -> str:
    """Return the name of a person's queue, or of the one that is no one person's."""
    # A person may have the name of that queue, or one that MLflow reserves.
    return f"items for {person}" if person else _ANYBODYS_QUEUE


def questions(batch: ExchangedBatch) -> list[tuple[str, list[str], str]]:
    """Return the name, the options and the words of each question of a batch."""
    whole = "Which answer is better? The guide is the experiment's description."
    aspects = [
        (f"aspect_{number}", _STEPS, f"{aspect}: 1 if Answer 1 is clearly better, 5 if Answer 2 is")
        for number, aspect in enumerate(batch.aspects, 1)
    ]
    return [(_CHOICE, list(_OPTIONS), whole), *aspects]


def read_review(batch: ExchangedBatch, item: ReviewQueueItem, trace: TraceInfo) -> ReturnedJudgement | str:
    """Return a completed or declined item of a queue as a judgement, or why it is none."""
    person = trace.tags.get(_PERSON, ANYBODY)
    name = person or str(item.completed_by or "")
    if not name:
        return f"trace {item.item_id} was completed by nobody whom MLflow names"
    given = _newest_feedback(trace, str(item.completed_by or ""))
    choice = _OPTIONS.get(str(given[_CHOICE].value)) if _CHOICE in given else None
    declined = str(item.status) == "declined"
    if choice is None and not declined:
        return f"trace {item.item_id}, which {name} completed, has no choice between the answers"
    steps = {}
    for number, aspect in enumerate(batch.aspects, 1):
        if (found := given.get(f"aspect_{number}")) is not None and not declined:
            if str(found.value) not in _STEPS:
                step = str(found.value)[:20]
                return f"trace {item.item_id} has the step {step!a} of {aspect}; expected 1 to 5"
            steps[aspect] = int(str(found.value))
    comment = str(given[_CHOICE].rationale or "") if _CHOICE in given else ""
    # A judgement that was changed and changed back is a third one.
    changes = sorted(each.last_update_time_ms or 0 for each in given.values())
    state = json.dumps([str(item.status), choice, steps, comment, item.completed_time_ms, changes])
    return ReturnedJudgement(
        person=name,
        order=person,
        item=trace.tags.get(_ITEM, ""),
        origin=f"{item.item_id} {hashlib.sha256(state.encode()).hexdigest()[:16]}",
        choice="" if declined else choice or "",
        steps=steps,
        comment=comment,
        time=_time_of(item),
        guide=trace.tags.get(_GUIDE, ""),
    )


def _newest_feedback(trace: TraceInfo, person: str) -> dict[str, Any]:
    """Return the newest valid feedback on each question of the person who completed the item."""
    found: dict[str, Any] = {}
    for each in sorted(trace.assessments, key=lambda each: each.last_update_time_ms or 0):
        mine = each.source.source_id.lower() == person.lower()
        # Valid: no later feedback of the same person replaces it.
        if getattr(each, "feedback", None) is not None and each.valid is not False and mine:
            found[each.name] = each
    return found


def _time_of(item: ReviewQueueItem) -> str:
    moment = item.completed_time_ms
    return normal_time(datetime.fromtimestamp(moment / 1000, UTC).isoformat()) if moment else ""


def _each_page(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the rows of all pages of a list."""
    token: str | None = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def _explained(act: Callable[[], _Result]) -> _Result:
    try:
        return act()
    except MlflowException as error:
        said = str(error).strip().splitlines()[0][:300]
        raise UserError(
            f"MLflow refuses a request about review queues ({said}); its server must have version 3.17"
        ) from None
