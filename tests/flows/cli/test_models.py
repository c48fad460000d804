"""What `chatmill models` and `chatmill rollback` print."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli import models
from flows.orchestration.tracker import open_tracker
from model.errors import UserError
from tasks.engine.output import StageOutput
from tests.flows.cli_runner import call, of


def say(*words: str, columns: int = 200) -> str:
    return call(of(models.models, models.rollback), *words, columns=columns).output


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def register_two_versions() -> None:
    """Register two models that passed the gate, the second better than the first."""
    register({"a": 0.1, "b": 0.2})


def register(scores: dict[str, float], reason: str = "all [4] thresholds are met", passed: int = 1) -> None:
    """Register a model for each digest, with its score."""
    tracker = open_tracker()
    for digest, score in scores.items():
        run = tracker.client.create_run(tracker.experiment).info.run_id
        tracker.client.log_text(run, digest, "model/config.json")
        aligned = StageOutput("rlhf", digest, "", digest, False, 1.0, {}, run)
        metrics = {"passed": passed, "reason": reason, "score": score}
        tracker.register(aligned, StageOutput("gate", digest, "", digest, False, 0.1, metrics))


def test_models_and_rollback_show_versions_champion_and_history(project):
    assert "No model is registered yet" in say("models")
    assert "No model has been champion yet" in say("models", "--history")
    register_two_versions()
    shown = say("models").splitlines()
    assert shown[1].split()[:3] == ["chatmill", "2", "chatmill"]
    assert "champion" in shown[1]
    assert "champion" not in shown[2]
    assert shown[4].split() == ["metric", "version", "2", "version", "1"]
    assert shown[5].split() == ["score", "0.2", "0.1"]
    assert shown[-1].startswith("champion of chatmill: version 2, since 20")
    assert "(the gate: all [4] thresholds" in shown[-1]
    assert "Missing option" in say("rollback")
    assert say("rollback", "--reason", "rude [b]").strip() == (
        "version 1 of chatmill is now the champion instead of version 2"
    )
    # Repeating the same rollback changes nothing.
    say("rollback", "1", "--reason", "rude [b]")
    with pytest.raises(UserError, match="already the champion"):
        say("rollback", "1", "--reason", "rude")
    assert "(" + models.current_user() + ": rude [b])" in say("models")
    when, *moves = say("models", "--history").splitlines()
    assert when.split() == ["product", "when", "was", "now", "reason"] and len(moves) == 3
    assert "rude [b]" in moves[2] and moves[0].split()[3:5] == ["none", "1"]


@pytest.mark.parametrize(
    ("back", "champion", "former"),
    [
        ([], "the gate: all [4] thresholds are met", "replaced by version 2 (the gate: all [4]"),
        (["too rude"], "{who}: too rude", "replaced by version 1 ({who}: too rude)"),
        (
            ["too rude", "[it] was fine"],
            "{who}: [it] was fine",
            "replaced by version 2 ({who}: [it] was fine)",
        ),
    ],
)
def test_models_reason_of_champion_and_former_champion_is_that_of_the_last_move(
    project: Path, back: list[str], champion: str, former: str
) -> None:
    """After a rollback the champion's row does not say that another version stays champion."""
    register_two_versions()
    for number, reason in enumerate(back):
        say("rollback", str(1 + number % 2), "--reason", reason)
    rows = [line for line in say("models").splitlines() if line.startswith("chatmill ")]
    [now] = [row for row in rows if " champion " in row]
    [before] = [row for row in rows if row is not now]
    who = models.current_user()
    assert champion.format(who=who) in now
    assert former.format(who=who) in before


def test_models_long_reason_stands_below_the_table_in_whole_words(project):
    reason = "; ".join(f"number {n}: 0 [0, 0] (n = 3), at least 0.5 is required" for n in range(6))
    register({"a": 0.1}, reason, passed=0)
    lines = say("models", columns=80).splitlines()
    assert lines[0].split() == ["product", "version", "preset", "made", "status"]
    assert lines[1].split()[-1] == "refused"
    assert lines[2].startswith("version 1: number 0: 0 [0, 0] (n = 3), at least")
    assert " ".join(" ".join(lines[2:8]).split()).startswith(f"version 1: {reason}")
    assert max(map(len, lines)) <= 80


def test_models_address_shows_this_version_alone(project):
    register_two_versions()
    for address in ("chatmill/1", "1"):
        said = say("models", address)
        lines = said.splitlines()
        assert lines[1].split()[:2] == ["chatmill", "1"] and "replaced by version 2" in said
        assert not any(line.split()[:2] == ["chatmill", "2"] for line in lines)
        assert "version 1" in said and "champion of chatmill: version 2" in said
    assert say("models", "chatmill/champion") == say("models", "2", "--product", "chatmill")
    assert len(say("models", "1", "--history").splitlines()) == 3
    with pytest.raises(UserError, match="no version 7 of chatmill"):
        say("models", "chatmill/7")
    with pytest.raises(UserError, match="there is no product 'press'; there are: chatmill"):
        say("models", "press/1")


def test_models_with_many_versions_shows_metrics_of_the_newest_and_the_champion(project):
    register({"a": 0.9})
    register({letter: 0.1 for letter in "bcdef"})
    lines = say("models", columns=80).splitlines()
    header = next(line for line in lines if line.startswith("metric"))
    assert header.split()[2::2] == ["6", "5", "4", "1"]
    assert "2 older versions: their metrics are in MLflow" in lines
