"""Approval of models by the people of the label page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.orchestration.people_approval import (
    AUTHOR,
    ask_about_version,
    decide_by_votes,
    describe_other_vote,
    vote_about,
)
from tasks.engine.output import StageOutput
from tasks.evaluation.scores import Score, ScoreComparison
from tasks.labelling.batches import list_batches
from tasks.labelling.people import add_person
from tasks.labelling.schema import open_label_store
from tasks.tracking.approval import APPROVED, PENDING, REJECTED, ApprovalRequest, approval_state
from tasks.tracking.products import version_address
from tasks.tracking.registry import Registered
from tasks.tracking.tracker import Tracker
from tests.model.conftest import write_rows
from tests.tasks.labelling.label_project import judge
from tests.tasks.tracking.mlflow_store import open_tracker

PROMPTS = 40


@pytest.fixture
def tracker(tmp_path: Path, empty_database: bytes) -> Tracker:
    """Return a tracker with a champion, version 1, and version 2, which waits for people."""
    return store_with_pending(tmp_path, empty_database, "b")


def store_with_pending(root: Path, empty_database: bytes, pending: str) -> Tracker:
    """Make a store in a folder: the champion `a`, version 1, and a model that waits, version 2."""
    (root / "mlflow.db").write_bytes(empty_database)
    tracker = open_tracker(root)
    for digest, score in (("a", 0.1), (pending, 0.2)):
        run = tracker.client.create_run("0").info.run_id
        model = root / digest / "model"
        model.mkdir(parents=True, exist_ok=True)
        (model / "config.json").write_text(digest)
        tracker.client.log_artifacts(run, str(model), "model")
        aligned = StageOutput("rlhf", digest, "", digest, False, 1.0, {}, run)
        metrics = {"passed": 1, "reason": "all thresholds are met", "score": score}
        verdict = StageOutput("gate", "g", "", f"verdict {digest}", False, 0.1, metrics)
        tracker.register(aligned, verdict, ApprovalRequest(72, run) if digest == pending else None)
    return tracker


def asked(
    root: Path,
    tracker: Tracker,
    models: tuple[str, ...] = ("sft", "champion", "aligned"),
    says: str = "says",
) -> Any:
    """Ask people about version 2; return the version."""
    rows = [
        {"model": model, "prompt": f"{n}?", "completion": f"{model} {says} {n}", "reward": 0.0}
        for model in models
        for n in range(PROMPTS)
    ]
    write_rows(root / "evaluate" / "completions.jsonl", rows)
    [version] = [one for one in tracker.registry.versions() if approval_state(one.tags) == PENDING]
    said = ask_about_version(root, tracker.registry, version.version, root / "evaluate")
    assert f"({PROMPTS} prompts)" in said
    return version


def vote(root: Path, choice: Callable[[int], str], count: int) -> None:
    """Let one person judge so many items of the vote."""
    store = open_label_store(root)
    ada, _ = add_person(store, "Ada")
    for item in range(1, count + 1):
        judge(store, ada, item, choice(item))
    store.close()


@pytest.mark.parametrize(
    ("choice", "state", "champion"), [("a", APPROVED, "2"), ("b", REJECTED, "1"), ("bad", REJECTED, "1")]
)
def test_decide_by_votes_follows_the_people(
    tmp_path: Path, tracker: Tracker, choice: str, state: str, champion: str
) -> None:
    version = asked(tmp_path, tracker)
    vote(tmp_path, lambda item: choice, PROMPTS)
    said = decide_by_votes(tracker, tmp_path)
    assert len(said) == 1 and f"of {PROMPTS} judged prompts" in said[0]
    found = tracker.client.get_model_version(version.name, version.version)
    assert approval_state(found.tags) == state
    assert str(tracker.registry.champion().version) == champion
    store = open_label_store(tmp_path)
    assert [one.open for one in list_batches(store)] == [False]
    store.close()
    assert decide_by_votes(tracker, tmp_path) == []
    assert champion == "1" or tracker.registry.moves()[-1].who == AUTHOR


def register_scored(
    root: Path, tracker: Tracker, digest: str, difference: tuple[float, float] | None, by_people: bool = True
) -> Registered:
    """Register a model whose judge's score is 0.02 below that of the champion `a`."""
    scores = Score("aligned_judge", 0.08), Score("aligned_judge", 0.1)
    compared = ScoreComparison(*scores, "a", difference=difference)
    folder = root / f"gate-{digest}"
    folder.mkdir()
    verdict = {"passed": True, "by": "aligned_judge", "checks": [], "score": 0.08}
    (folder / "verdict.json").write_text(json.dumps({**verdict, "comparison": compared.plain()}))
    run = tracker.client.create_run("0").info.run_id
    model = root / digest / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(digest)
    tracker.client.log_artifacts(run, str(model), "model")
    aligned = StageOutput("rlhf", digest, "", digest, False, 1.0, {}, run)
    metrics = {"passed": 1, "reason": "all thresholds are met", "score": 0.08}
    gate = StageOutput("gate", "g", str(folder), f"verdict {digest}", False, 0.1, metrics)
    return tracker.register(aligned, gate, ApprovalRequest(72, run, by_people=by_people))


@pytest.fixture
def one_champion(tmp_path: Path, empty_database: bytes) -> Tracker:
    """Return a tracker whose champion is version 1, the model `a`; version 2 was rejected."""
    tracker = store_with_pending(tmp_path, empty_database, "b")
    tracker.registry.decide("2", False, "ann", "rude")
    return tracker


@pytest.mark.parametrize(
    ("difference", "by_people", "waits"),
    [
        ((-0.05, 0.01), True, True), (None, True, True), ((-0.05, -0.01), True, False),
        ((-0.05, 0.01), False, False),
    ],
)  # fmt: skip
def test_register_lower_score_is_asked_about_only_within_chance_and_of_people(
    tmp_path: Path,
    one_champion: Tracker,
    difference: tuple[float, float] | None,
    by_people: bool,
    waits: bool,
) -> None:
    made = register_scored(tmp_path, one_champion, "c", difference, by_people)
    assert made.pending_approval == waits and not made.champion
    assert waits or "the champion, version 1, stays" in made.says


@pytest.mark.parametrize(("choice", "champion"), [("a", "3"), ("b", "1")])
def test_decide_by_votes_lower_score_follows_the_people(
    tmp_path: Path, one_champion: Tracker, choice: str, champion: str
) -> None:
    register_scored(tmp_path, one_champion, "c", (-0.05, 0.01))
    asked(tmp_path, one_champion)
    vote(tmp_path, lambda item: choice, PROMPTS)
    assert len(decide_by_votes(one_champion, tmp_path)) == 1
    assert str(one_champion.registry.champion().version) == champion


def test_decide_by_votes_lower_score_than_another_champion_is_not_promoted(
    tmp_path: Path, one_champion: Tracker
) -> None:
    register_scored(tmp_path, one_champion, "c", (-0.05, 0.01))
    asked(tmp_path, one_champion)
    one_champion.registry.rollback("2", "kinder", "ann")
    vote(tmp_path, lambda item: "a", PROMPTS)
    [said] = decide_by_votes(one_champion, tmp_path)
    assert "is not the champion" in said and str(one_champion.registry.champion().version) == "2"


def test_decide_by_votes_undecided_waits(tmp_path: Path, tracker: Tracker) -> None:
    version = asked(tmp_path, tracker)
    assert vote_about(tmp_path, version).decision == ""
    vote(tmp_path, lambda item: "ab"[item % 2], PROMPTS - 1)
    assert decide_by_votes(tracker, tmp_path) == []
    assert approval_state(tracker.client.get_model_version(version.name, version.version).tags) == PENDING


def test_ask_about_version_without_champion_compares_with_sft(tmp_path: Path, tracker: Tracker) -> None:
    asked(tmp_path, tracker, ("sft", "aligned"))
    store = open_label_store(tmp_path)
    [batch] = list_batches(store)
    store.close()
    assert batch.origin["opponent"] == "SFT"


def test_ask_about_version_equal_answers_leaves_it_to_a_person(tmp_path: Path, tracker: Tracker) -> None:
    rows = [
        {"model": model, "prompt": "?", "completion": "same", "reward": 0.0} for model in ("sft", "aligned")
    ]
    write_rows(tmp_path / "evaluate" / "completions.jsonl", rows)
    version = tracker.registry.versions()[-1]
    said = ask_about_version(tmp_path, tracker.registry, version.version, tmp_path / "evaluate")
    assert said.startswith("people cannot compare") and "chatmill approve" in said
    assert vote_about(tmp_path, version) is None


@pytest.mark.parametrize("elsewhere", ["deleted", "store", "digest lost"])
def test_decide_by_votes_about_another_model_of_the_number_do_not_count(
    tmp_path: Path, tracker: Tracker, empty_database: bytes, elsewhere: str
) -> None:
    voted = asked(tmp_path, tracker)
    vote(tmp_path, lambda item: "a", PROMPTS)
    if elsewhere == "store":
        (tmp_path / "other").mkdir()
        tracker = store_with_pending(tmp_path / "other", empty_database, "c")
    else:
        tracker.client.delete_registered_model(tracker.registry.model)
        tracker = store_with_pending(tmp_path, empty_database, "c")
    [version] = [one for one in tracker.registry.versions() if approval_state(one.tags) == PENDING]
    assert version_address(version) == version_address(voted)
    if elsewhere == "digest lost":
        tracker.client.delete_model_version_tag(version.name, version.version, "digest")
        version = tracker.client.get_model_version(version.name, version.version)
    assert decide_by_votes(tracker, tmp_path) == []
    assert vote_about(tmp_path, version) is None
    assert "about another model that had this number" in describe_other_vote(tmp_path, version)
    asked(tmp_path, tracker, says="writes")
    found = vote_about(tmp_path, version)
    assert found is not None and (found.judged, found.items) == (0, PROMPTS)
    assert describe_other_vote(tmp_path, version) == "" and decide_by_votes(tracker, tmp_path) == []
    assert str(tracker.registry.champion().version) == "1"
