"""Test the registry: promotion, rollback, approval and the history of the champion."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from model.errors import UserError
from tasks.engine.output import StageOutput
from tasks.evaluation.scores import Score, ScoreComparison
from tasks.tracking.alias_changes import ELSEWHERE, GATE, PERSON
from tasks.tracking.approval import (
    EXPIRED,
    REJECTED,
    UNTIL,
    ApprovalRequest,
    approval_state,
    evaluation_rows,
    find_version_asked,
)
from tasks.tracking.products import CHAMPION, MODEL
from tasks.tracking.registry import Registered, Registry
from tests.tasks.tracking.mlflow_store import open_tracker


@pytest.fixture
def registry(tmp_path, empty_database):
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    return open_tracker(tmp_path).registry


def register(
    registry: Registry, digest: str, score: float | None, passed: bool = True, gate: str = "", path: str = "",
    question: ApprovalRequest | None = None, beyond_chance: bool = False,
) -> Registered:  # fmt: skip
    run = registry.client.create_run("0").info.run_id
    aligned = StageOutput("rlhf", digest, "", digest, False, 1.0, {}, run)
    reason = "all 4 thresholds are met" if passed else "kl is 20, at most 12 is wanted"
    metrics = {"passed": int(passed), "reason": reason, "score": score}
    verdict = StageOutput("gate", "g", path, gate or f"{digest}-{score}-{passed}", False, 0.1, metrics)
    return registry.register(
        aligned, verdict, f"file:///models/{digest}", question, beyond_chance=beyond_chance
    )


def trail(registry: Registry) -> list[tuple[str, str, str]]:
    return [(move.before, move.now, move.by) for move in registry.moves()]


def champion(registry: Registry) -> str:
    found = registry.champion()
    return str(found.version) if found else ""


def three(registry: Registry) -> None:
    for digest, score in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        register(registry, digest, score)


def test_register_moves_have_reason_and_time(registry):
    assert registry.moves() == []
    three(registry)
    register(registry, "d", 0.2)
    assert trail(registry) == [("", "1", GATE), ("1", "2", GATE), ("2", "3", GATE)]
    last = registry.moves()[-1]
    assert last.why == "all 4 thresholds are met; score: 0.3 beats version 2's 0.2"
    assert last.time.endswith("Z") and last.time[:4].isdigit()
    # Another client of the store reads the same moves.
    assert Registry(registry.client, registry.alone).moves() == registry.moves()


def test_rollback_without_version_goes_to_previous_champion(registry):
    three(registry)
    move = registry.rollback("", " rude ", "ann")
    assert (move.before, move.now, move.by, move.who, move.why) == ("3", "2", PERSON, "ann", "rude")
    assert champion(registry) == "2"
    assert registry.rollback("", "still rude", "ann").now == "1"
    with pytest.raises(UserError, match="no champion before version 1"):
        registry.rollback("", "and again", "ann")
    assert trail(registry)[3:] == [("3", "2", PERSON), ("2", "1", PERSON)]
    assert registry.rollback("3", "it was the labels", "bob").before == "1"
    assert registry.rollback("", "it was not", "bob").now == "1"


def test_rollback_deleted_version_is_skipped(registry):
    three(registry)
    registry.client.delete_model_version(MODEL, "2")
    assert registry.rollback("", "rude", "ann").now == "1"


def test_rollback_invalid_request_is_refused(registry):
    with pytest.raises(UserError, match="no champion before the first"):
        registry.rollback("", "rude", "ann")
    three(registry)
    register(registry, "bad", 0.9, passed=False)
    for version, why, says in (
        ("9", "rude", "there is no version 9 of chatmill; there are: 1, 2, 3, 4"),
        ("x", "rude", "there is no version x"),
        ("3", "rude", "version 3 of chatmill is already the champion"),
        ("4", "rude", r"version 4 of chatmill never passed the gate \(kl is 20.*--force"),
        ("2", "  ", "a rollback needs --reason TEXT"),
        ("2", "x" * 2001, "2,001 characters"),
    ):
        with pytest.raises(UserError, match=says):
            registry.rollback(version, why, "ann")
    assert champion(registry) == "3" and len(registry.moves()) == 3
    assert registry.rollback("4", "needed today", "ann", force=True).now == champion(registry) == "4"


def test_register_rolled_back_model_is_not_promoted(registry):
    three(registry)
    registry.rollback("", "rude", "ann")
    again = register(registry, "c", 0.3)
    assert again.version == "3" and not again.champion
    assert "not promoted again" in again.says and "(ann: rude)" in again.says
    # Another verdict does not promote it either.
    other = register(registry, "c", 0.3, gate="other")
    assert other.version == "4" and not other.champion and "not promoted again" in other.says
    assert champion(registry) == "2"
    registry.rollback("3", "it was the labels", "ann")
    assert register(registry, "c", 0.3).champion


def test_register_better_model_replaces_choice_of_person(registry):
    three(registry)
    registry.rollback("1", "rude", "ann")
    better = register(registry, "d", 0.15)
    assert better.champion and "over" not in better.version
    assert "it beats version 1, which was made champion at" in better.says and "by ann: rude" in better.says
    assert trail(registry)[-1] == ("1", "4", GATE)


def test_moves_alias_moved_elsewhere_is_recorded(registry):
    three(registry)
    registry.client.set_registered_model_alias(MODEL, CHAMPION, "1")
    assert trail(registry)[-1] == ("3", "1", ELSEWHERE) and registry.moves()[-1].time == ""
    registry.rollback("2", "rude", "ann")
    assert trail(registry)[3:] == [("3", "1", ELSEWHERE), ("1", "2", PERSON)]
    registry.client.delete_registered_model_alias(MODEL, CHAMPION)
    assert trail(registry)[-1] == ("2", "", ELSEWHERE)
    assert register(registry, "e", 0.05).champion


def test_moves_registry_without_records_is_read(registry):
    client = registry.client
    client.create_registered_model(MODEL)
    for score, reason in (
        ("0.1", "all 4 thresholds are met"),
        ("0.05", "the champion, version 1, has 0.1; this has 0.05"),
        ("9", "kl is 20, at most 12 is wanted"),
    ):
        client.create_model_version(MODEL, "file:///m", tags={"score": score, "reason": reason})
    client.set_registered_model_alias(MODEL, CHAMPION, "1")
    assert trail(registry) == [("", "1", ELSEWHERE)]
    with pytest.raises(UserError, match="never passed"):
        registry.rollback("3", "rude", "ann")
    registry.rollback("2", "rude", "ann")
    assert trail(registry) == [("", "1", ELSEWHERE), ("1", "2", PERSON)]


def test_register_champion_without_known_score_stays(registry):
    register(registry, "a", None, passed=False)
    assert not register(registry, "b", None).champion
    registry.rollback("2", "better than none", "ann")
    stays = register(registry, "c", 9.0)
    assert not stays.champion and "does not record what its score measures" in stays.says


def test_register_version_holds_metrics_of_gate(registry, tmp_path):
    checks = [{"name": "kl", "value": 6.5}, {"name": "gone", "value": None}]
    (tmp_path / "verdict.json").write_text(json.dumps({"checks": checks, "by": "gain", "score": 0.4}))
    register(registry, "a", 0.4, path=str(tmp_path))
    [version] = registry.versions()
    assert json.loads(version.tags["figures"]) == {"kl": 6.5, "gain": 0.4}
    assert version.tags["passed"] == "true"


ASKS = ApprovalRequest(1, "run-of-mlflow", "run-of-prefect", "brave-otter")


def stands(registry: Registry, version: str) -> str:
    return approval_state(registry.client.get_model_version(MODEL, version).tags)


def test_decide_approval_moves_alias_once(registry):
    three(registry)
    asked = register(registry, "d", 0.4, question=ASKS)
    assert asked.pending_approval and not asked.champion and "`chatmill approve chatmill/4`" in asked.says
    assert champion(registry) == "3" and len(registry.moves()) == 3
    # Registering it again makes no second version and no champion.
    for question in (ASKS, None):
        again = register(registry, "d", 0.4, question=question)
        assert again.version == "4" and again.pending_approval and champion(registry) == "3"
    for name in ("", "4", "run-of-m", "run-of-prefect", "brave-otter"):
        assert find_version_asked(registry.versions(), name).version == 4
    decided = registry.decide("4", True, "ann", "reads well")
    assert decided == Registered("4", True, "version 4 of chatmill is now the champion instead of version 3")
    assert trail(registry)[-1] == ("3", "4", PERSON) and registry.moves()[-1].why == "reads well"
    # A repeated decision changes nothing; the opposite one is refused.
    assert registry.decide("4", True, "bob", "").champion and len(registry.moves()) == 4
    with pytest.raises(UserError, match=r"version 4 of chatmill: approved by ann at .*: reads well"):
        registry.decide("4", False, "bob", "rude")
    registry.rollback("", "rude after all", "ann")
    assert "rude after all" in register(registry, "d", 0.4, question=ASKS).says
    # A worse model needs no approval.
    assert not register(registry, "e", 0.1, question=ASKS).pending_approval


def test_decide_refused_model_stays_out(registry):
    three(registry)
    register(registry, "d", 0.4, question=ASKS)
    assert registry.decide("4", False, "ann", "rude").says == (
        "version 4 of chatmill was rejected by ann; the champion stays version 3"
    )
    assert stands(registry, "4") == REJECTED
    assert "rejected by ann" in register(registry, "d", 0.4).says
    other = register(registry, "d", 0.5, gate="other")
    assert other.version == "5" and not other.champion and "rejected by ann" in other.says
    assert champion(registry) == "3" and len(registry.moves()) == 3
    assert registry.rollback("4", "it was the labels", "ann").now == champion(registry)


def test_decide_compares_with_current_champion_late_word_is_refused(registry):
    three(registry)
    for digest, score in (("d", 0.4), ("e", 0.5)):
        register(registry, digest, score, question=ASKS)
    with pytest.raises(UserError, match=r"several versions match \(chatmill/5, chatmill/4\)"):
        find_version_asked(registry.versions(), "")
    assert registry.decide("5", True, "ann", "").champion
    late = registry.decide("4", True, "ann", "")
    assert not late.champion and "version 5, stays: score: 0.5, and this version has 0.4" in late.says
    assert champion(registry) == "5"

    register(registry, "f", 0.6, question=ASKS)
    registry.client.set_model_version_tag(MODEL, "6", UNTIL, "2001-01-01T00:00:00Z")
    assert stands(registry, "6") == EXPIRED
    with pytest.raises(UserError, match=r"approval expired at 2001.*chatmill rollback chatmill/6 --reason"):
        registry.decide("6", True, "ann", "")
    assert not register(registry, "f", 0.6).champion
    # A decision made in time counts, although its run resumed late.
    assert registry.decide("6", True, "ann", "", in_time=True).champion
    for name, says in (
        ("", "no model waits for approval"),
        ("9", "9 is not a version or run"),
        ("run", "run is not"),
    ):
        with pytest.raises(UserError, match=says):
            find_version_asked(registry.versions(), name)


@pytest.mark.parametrize(
    ("stored", "state", "listed"),
    [("waits", "pending", True), ("refused", "rejected", False), ("late", "expired", False)],
)
def test_approval_state_older_name_is_read_as_present_one(registry, stored, state, listed):
    asked = register(registry, "d", 0.4, question=ASKS)
    registry.client.set_model_version_tag(MODEL, asked.version, "approval", stored)
    assert stands(registry, asked.version) == state
    if listed:
        assert str(find_version_asked(registry.versions(), "").version) == asked.version
        assert registry.decide(asked.version, True, "ann", "").champion
    else:
        assert not register(registry, "d", 0.4).champion
        assert registry.rollback(asked.version, "needed", "ann").now == champion(registry)


def test_evaluation_rows_compare_with_champion(registry, tmp_path):
    register(registry, "a", 0.1)
    (tmp_path / "verdict.json").write_text(
        json.dumps({"checks": [{"name": "kl", "value": 6.5}], "by": "score", "score": 0.4})
    )
    register(registry, "b", 0.4, path=str(tmp_path), question=ASKS)
    found = find_version_asked(registry.versions(), "")
    assert evaluation_rows(found, registry.champion()) == [
        ("divergence from the assistant, nats an answer", "6.5", ""),
        ("score", "0.4", "0.1"),
    ]


def test_versions_two_hundred_are_read_quickly(registry):
    registry.client.create_registered_model(MODEL)
    for number in range(200):
        registry.client.create_model_version(MODEL, "file:///m", tags={"score": str(number)})
        tag = {
            "before": str(number or ""),
            "now": str(number + 1),
            "by": GATE,
            "who": "",
            "why": "",
            "time": "",
        }
        registry.client.set_registered_model_tag(MODEL, f"chatmill.move.{number + 1:06}.a", json.dumps(tag))
    registry.client.set_registered_model_alias(MODEL, CHAMPION, "200")
    # Of the processor: other programs on the machine do not lengthen it.
    began = time.process_time()
    assert len(registry.versions()) == len(registry.moves()) == 200
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("difference", "required", "promoted"),
    [((-0.1, 0.3), False, True), ((-0.1, 0.3), True, False), ((0.1, 0.3), True, True)],
)
def test_register_model_better_by_chance_needs_no_more_by_default(
    registry, tmp_path, difference, required, promoted
):
    score = Score("aligned_judge", 0.3, prompts="p", n=9)
    first = ScoreComparison(replace(score, value=0.2))
    second = ScoreComparison(score, replace(score, value=0.2), "a", difference=difference)
    found = []
    for digest, comparison in (("a", first), ("b", second)):
        folder = tmp_path / digest
        folder.mkdir()
        verdict = {"passed": True, "by": "aligned_judge", "checks": [], "comparison": comparison.plain()}
        (folder / "verdict.json").write_text(json.dumps({**verdict, "score": comparison.candidate.value}))
        found.append(register(registry, digest, 0.3, path=str(folder), beyond_chance=required))
    assert found[0].champion and found[1].champion == promoted
    if not promoted:
        assert "within chance (95%: -0.1 to +0.3); promote.beyond_chance asks for more" in found[1].says
