"""Batches in MLflow's review queues, in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import AssessmentSource
from mlflow.tracing.client import TracingClient

from model.errors import UserError
from tasks.label_exchange.batch_items import ANYBODY, ExchangedBatch, read_exchanged_batches
from tasks.label_exchange.mlflow_queues import ReviewQueues, experiment_name, questions
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.judgements import newest_judgements
from tasks.labelling.queue import is_swapped
from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import judge, opened, person


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    yield from opened(tmp_path)


@pytest.fixture
def queues(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReviewQueues]:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    before = mlflow.get_tracking_uri()
    yield ReviewQueues(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_tracking_uri(before)


class Reviewer:
    """A person who works through a queue as MLflow's page does."""

    def __init__(self, queues: ReviewQueues, batch: ExchangedBatch, queue: str, user: str) -> None:
        self.client, self.user = TracingClient(queues.uri), user
        experiment = mlflow.get_experiment_by_name(experiment_name(batch))
        found = self.client._get_review_queue_by_name(experiment.experiment_id, queue)
        self.queue = found.queue_id

    def traces(self) -> list[str]:
        return [item.item_id for item in self.client._list_review_queue_items(self.queue, max_results=100)]

    def answer(self, trace: str, status: str = "complete", **values: str) -> None:
        for name, value in values.items():
            mlflow.log_feedback(
                trace_id=trace, name=name, value=value, rationale="short" if name == "answer" else None,
                source=AssessmentSource(source_type="HUMAN", source_id=self.user),
            )  # fmt: skip
        self.client._set_review_queue_item_status(
            self.queue, item_id=trace, status=status, completed_by=self.user
        )


def test_push_each_person_gets_a_queue_and_a_killed_push_goes_on(
    store: LabelStore, queues: ReviewQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_batch(
        store,
        BatchSettings("first", aspects=("truth",)),
        [LabelItem(f"Q{n}", "x", "y", a_model="m@1") for n in range(4)],
    )
    for name in ("Ana", "Ben"):
        person(store, name)
    added = ReviewQueues._add_trace
    calls = iter(range(5))

    def killed_later(*words: object) -> str:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return added(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(ReviewQueues, "_add_trace", killed_later)
    with pytest.raises(KeyboardInterrupt):
        queues.push(store, "first", ["Ana", "Ben"])
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    pushed = queues.push(store, "first", ["Ana", "Ben"])
    assert [(each.person, each.added, each.items) for each in pushed] == [("Ana", 0, 4), ("Ben", 3, 4)]
    assert [each.added for each in queues.push(store, "first", ["Ana", "Ben"])] == [0, 0]
    [batch] = read_exchanged_batches(store)
    for name in ("Ana", "Ben"):
        reviewer = Reviewer(queues, batch, f"items for {name}", name)
        traces = [mlflow.get_trace(trace) for trace in reviewer.traces()]
        assert {trace.info.tags["chatmill.person"] for trace in traces} == {name}
        for trace in traces:
            swapped = is_swapped(name, trace.info.tags["chatmill.item"])
            shown = trace.data.spans[0].inputs
            assert (shown["Answer 1"], shown["Answer 2"]) == (("y", "x") if swapped else ("x", "y"))
            assert "m@1" not in str(trace.to_dict())


def test_pull_twice_adds_once_in_the_order_of_the_store(store: LabelStore, queues: ReviewQueues) -> None:
    items = [LabelItem(f"Q{n}", "x", "y") for n in range(5)]
    add_batch(store, BatchSettings("first", aspects=("truth",), needed=1), items)
    person(store, "Ana")
    assert queues.pull(store) == {}
    queues.push(store, "first", ["Ana"])
    [batch] = read_exchanged_batches(store)
    ana = Reviewer(queues, batch, "items for Ana", "ana")
    first, second, third, fourth, _ = ana.traces()
    ana.answer(first, answer="Answer 1 is better", aspect_1="2")
    ana.answer(second, answer="both are bad")
    ana.answer(third, "declined")
    ana.answer(fourth, aspect_1="3")
    found = queues.pull(store)["first"]
    assert (found.new, found.known, found.people) == (3, 0, {"Ana"})
    assert len(found.faults) == 1 and f"trace {fourth}, which Ana completed, has no choice" in found.faults[0]
    assert queues.pull(store, "first")["first"].new == 0
    rows = {row["item_digest"]: row for row in newest_judgements(store)}
    assert len(rows) == 2
    row = rows[mlflow.get_trace(first).info.tags["chatmill.item"]]
    swapped = is_swapped("Ana", row["item_digest"])
    assert (row["person"], row["comment"], row["swapped"]) == ("Ana", "short", swapped)
    assert (row["choice"], row["steps"]) == (("b", {"truth": 4}) if swapped else ("a", {"truth": 2}))
    assert row["time"].endswith("+00:00") and row["seconds"] == 0
    ana.answer(first, answer="tie: both are equally good")
    assert queues.pull(store)["first"].new == 1
    assert [row["choice"] for row in newest_judgements(store)] == ["bad", "tie"]


def test_pull_item_that_is_pending_again_is_withdrawn(store: LabelStore, queues: ReviewQueues) -> None:
    items = [LabelItem(f"Q{n}", "x", "y") for n in range(2)]
    add_batch(store, BatchSettings("first", needed=1), items)
    person(store, "Ana")
    queues.push(store, "first", ["Ana"])
    [batch] = read_exchanged_batches(store)
    ana = Reviewer(queues, batch, "items for Ana", "ana")
    for trace in ana.traces():
        ana.answer(trace, answer="both are bad")
    assert queues.pull(store)["first"].new == 2
    ana.client._set_review_queue_item_status(ana.queue, item_id=ana.traces()[0], status="pending")
    found = queues.pull(store)["first"]
    assert (found.new, found.withdrawn) == (0, 1)
    assert len(list(newest_judgements(store))) == 1
    assert queues.pull(store)["first"].withdrawn == 0


def test_push_without_person_makes_one_queue_for_everybody(store: LabelStore, queues: ReviewQueues) -> None:
    add_batch(store, BatchSettings("first", needed=1), [LabelItem("Q", "x", "y")])
    [pushed] = queues.push(store, "first", [])
    assert (pushed.person, pushed.items) == (ANYBODY, 1)
    [batch] = read_exchanged_batches(store)
    default = Reviewer(queues, batch, "anybody", "default")
    default.answer(default.traces()[0], answer="Answer 2 is better")
    assert queues.pull(store)["first"].people == {"default"}


def test_push_trace_without_tags_of_a_killed_call_is_no_item(store: LabelStore, queues: ReviewQueues) -> None:
    add_batch(store, BatchSettings("first", needed=1), [LabelItem("Q0", "x", "y"), LabelItem("Q1", "x", "y")])
    queues.push(store, "first", [])
    [batch] = read_exchanged_batches(store)
    experiment = mlflow.get_experiment_by_name(experiment_name(batch)).experiment_id
    # MLflow stores a trace before its tags: this is what a kill between the two leaves.
    mlflow.start_span_no_context(name="item", inputs={"conversation": "Q"}, experiment_id=experiment).end()
    [pushed] = queues.push(store, "first", [])
    assert (pushed.added, pushed.items) == (0, 2)
    assert len(Reviewer(queues, batch, "anybody", "default").traces()) == 2
    assert queues.pull(store)["first"].faults == []


def test_push_finished_batch_sends_nothing_and_says_why(store: LabelStore, queues: ReviewQueues) -> None:
    add_batch(store, BatchSettings("first", needed=1), [LabelItem("Q", "x", "y")])
    judge(store, person(store, "Ana"), 1)
    [pushed] = queues.push(store, "first", [])
    assert (pushed.added, pushed.items, pushed.place) == (0, 0, "")
    assert pushed.reason == "1 item of the batch: 1 with the 1 person that an item needs"
    [batch] = read_exchanged_batches(store)
    assert mlflow.get_experiment_by_name(experiment_name(batch)) is None
    assert queues.pull(store) == {}


def test_push_deleted_experiment_is_named(store: LabelStore, queues: ReviewQueues) -> None:
    add_batch(store, BatchSettings("first", needed=1), [LabelItem("Q", "x", "y")])
    queues.push(store, "first", [])
    [batch] = read_exchanged_batches(store)
    mlflow.delete_experiment(mlflow.get_experiment_by_name(experiment_name(batch)).experiment_id)
    with pytest.raises(UserError, match=r"labels first \(.*\) was deleted in MLflow; restore it"):
        queues.push(store, "first", [])


def test_questions_have_the_aspects_in_words() -> None:
    batch = ExchangedBatch(1, "first", "key", "guide", "", ("truth", "tone"), 1, ())
    assert [name for name, *_ in questions(batch)] == ["answer", "aspect_1", "aspect_2"]
    assert questions(batch)[2][2].startswith("tone: 1 if Answer 1")
