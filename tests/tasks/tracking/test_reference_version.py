"""Test which champion a data version is compared with, on a real MLflow store."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.common.git_checkout import Code
from tasks.drift_detection.profile import ABOUT, FILE, IDS
from tasks.engine.output import StageOutput, read_manifest
from tasks.engine.stage import Stage, StageContext, stage
from tasks.reproduction.checkout import Checkout
from tasks.reproduction.past_opponents import compared_as_then
from tasks.reproduction.recorded_run import RecordedRun
from tasks.reproduction.verdict import IDENTICAL, StageResult, judge_stages, overall_verdict, verdict_sentence
from tasks.tracking.reference_version import (
    Baseline,
    fetch_reference_version,
    find_by_key,
    newest_other,
    of_version,
)
from tasks.tracking.registered_model import DamagedModel
from tasks.tracking.tracker import Tracker
from tests.tasks.event_sink import ignore_event
from tests.tasks.tracking.mlflow_store import open_tracker


@stage()
def ingest(parameters, out, on_event):
    return {"data_hash": parameters["data"]}


@stage(inputs=("ingest", "champion"))
def drift(parameters, ingest, champion, out, on_event):
    (out / FILE).write_text(json.dumps(parameters))
    (out / IDS).write_text("text 0123\n")
    return {"against": json.loads((champion / ABOUT).read_text())["version"]} if champion else {}


@stage(inputs=("ingest",))
def rlhf(parameters, ingest, out, on_event):
    (out / "model").mkdir()
    (out / "model" / "config.json").write_text(json.dumps(parameters))
    return {}


@stage(inputs=("rlhf",))
def evaluate(parameters, rlhf, out, on_event):
    return {"aligned_bits_per_byte": parameters["bits"], "aligned_completion_loss": 3.0}


@dataclass
class Team:
    """Project with a store of its own."""

    root: Path
    tracker: Tracker

    def chain(self, data: str, score: float, without: tuple[str, ...] = ()) -> dict[str, StageOutput]:
        """Run the stages on a data version; a higher score beats the champion."""
        made: dict[str, StageOutput] = {}
        with self.tracker.open_run("demo", {}, {}, "note"):
            if found := self.champion(data):
                reference = fetch_reference_version(
                    found, self.tracker.client, self.tracker.uri, self.root, ignore_event
                )
                assert reference
                made["champion"] = reference
            for each in (ingest, drift, rlhf, evaluate):
                if each.name not in without:
                    made[each.name] = self._make(each, {"data": data, "bits": 2 - score}, made)
        metrics = {"passed": 1, "reason": "good", "score": score}
        verdict = StageOutput("gate", "g", "", f"{data}{score}", False, 0.1, metrics)
        self.tracker.register(made["rlhf"], verdict)
        return made

    def _make(self, each: Stage, parameters: dict[str, Any], made: dict[str, StageOutput]) -> StageOutput:
        parents = [made[name].run for name in each.inputs if name in made]
        with self.tracker.open_stage(each.name, parameters, parents) as run:
            reference = each.run(parameters, made, StageContext(self.root), ignore_event, run=run)
            return replace(reference, run=self.tracker.close_stage(reference, parameters["data"]))

    def champion(self, data: str) -> Baseline | None:
        """Return the champion that the data version is compared with."""
        return newest_other(self.tracker.registry, data)[0]


@pytest.fixture
def team(tmp_path: Path, empty_database: bytes) -> Team:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    return Team(tmp_path, open_tracker(tmp_path))


def test_newest_other_skips_champions_of_same_data(team: Team) -> None:
    assert newest_other(team.tracker.registry, "one") == (None, "")
    team.chain("one", 0.1)
    # The champion's own data is compared with nothing, so its drift stage is reused.
    assert team.champion("one") is None
    first = team.champion("two")
    assert first and (first.version, first.data) == ("1", "one")
    assert first.held_out == {"bits_per_byte": 1.9, "completion_loss": 3.0}
    made = team.chain("two", 0.2)
    assert made["drift"].metrics == {"against": "1"}
    assert team.champion("two") == first
    again = team.chain("two", 0.2)
    assert again["drift"].reused and again["drift"].key == made["drift"].key
    third = team.champion("three")
    assert third and third.version == "2" and third.digest != first.digest
    team.tracker.registry.rollback("", "rude", "ann")
    assert team.champion("two") == first and team.champion("three") == first


def test_fetch_reference_version_in_another_folder_is_complete(team: Team) -> None:
    made = team.chain("one", 0.1)
    found = team.champion("two")
    assert found
    elsewhere = team.root / "elsewhere"
    client, uri = team.tracker.client, team.tracker.uri
    reference = fetch_reference_version(found, client, uri, elsewhere, ignore_event)
    assert reference and reference.run == made["rlhf"].run
    folder = Path(reference.path)
    assert read_manifest(folder) and json.loads((folder / FILE).read_text())["data"] == "one"
    assert (folder / "model" / "config.json").read_bytes() == (
        Path(made["rlhf"].path) / "model" / "config.json"
    ).read_bytes()
    assert find_by_key(found.key, elsewhere) == reference
    # The fetched copy is used even if MLflow loses the files.
    there = Path(client.get_run(made["drift"].run).info.artifact_uri.removeprefix("mlflow-artifacts:/"))
    for name in (FILE, IDS):
        (team.root / "mlflow" / "artifacts" / there / name).unlink()
    assert fetch_reference_version(found, client, uri, elsewhere, ignore_event) == reference
    assert fetch_reference_version(found, client, uri, team.root / "third", ignore_event) is None
    assert not list((team.root / "third").rglob("*.json"))
    with pytest.raises(UserError, match="reference_output is 12ab"):
        find_by_key("12ab", elsewhere)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (FILE, b'{"data": "other", "bits": 1.9}'), (FILE, b""), (FILE, b'{"data": "on'),
        (IDS, b"text 4567\n"),
        ("manifest.json", b"{}"), ("manifest.json", b"\xff\x00"),
    ],
)  # fmt: skip
def test_fetch_reference_version_damaged_profile_is_refused(team: Team, name: str, damage: bytes) -> None:
    made = team.chain("one", 0.1)
    found = team.champion("two")
    assert found
    client, uri = team.tracker.client, team.tracker.uri
    there = Path(client.get_run(made["drift"].run).info.artifact_uri.removeprefix("mlflow-artifacts:/"))
    (team.root / "mlflow" / "artifacts" / there / name).write_bytes(damage)
    with pytest.raises(DamagedModel, match=rf"version 1 of .*: {name} differs from the recorded file"):
        fetch_reference_version(found, client, uri, team.root / "elsewhere", ignore_event)
    assert not list((team.root / "elsewhere").rglob("*.json"))


def test_newest_other_champion_without_profile_is_skipped(team: Team) -> None:
    team.chain("one", 0.1, without=("drift",))
    found, why = newest_other(team.tracker.registry, "two")
    assert found is None and "champion 1 was trained on other data" in why
    # A later run with the same model records a profile.
    team.chain("one", 0.1)
    later = team.champion("two")
    assert later and later.version == "1"


def test_compared_as_then_repeated_run_uses_same_champion(team: Team, tmp_path: Path) -> None:
    team.chain("one", 0.1)
    made = team.chain("two", 0.2)["drift"]
    manifest = read_manifest(Path(made.path))
    before = StageResult("drift", made.digest, made.metrics, manifest)
    original = RecordedRun("12" * 16, "mine", Code("", ""), {}, "two", {}, [before])
    checkout = Checkout(tmp_path / "tree", tmp_path / "preset.json", "")
    checkout.preset.write_text(json.dumps({"drift": {"max_loss_increase": 0.2}}))
    assert compared_as_then(team.tracker.client, original, checkout) == {}
    preset = json.loads(checkout.preset.read_text())["drift"]
    assert preset["max_loss_increase"] == 0.2 and manifest
    reference = find_by_key(preset["reference_output"], checkout.project)
    assert reference.digest == manifest["inputs"]["champion"]["digest"]

    team.tracker.client.delete_model_version("chatmill", "1")
    left_out = compared_as_then(team.tracker.client, original, checkout)
    assert "version 1, the champion at that time" in left_out["drift"]
    other = StageResult("gate", "same", {})
    verdicts = judge_stages([before, other], {"gate": other}, {}, ({}, {}), left_out)
    assert [each.says for each in verdicts] == ["left out", IDENTICAL] and overall_verdict(
        verdicts
    ) == IDENTICAL
    assert "the one stage has" in verdict_sentence(
        verdicts
    ) and "drift is left out: MLflow no longer has version 1" in verdict_sentence(verdicts)
    assert of_version(team.tracker.registry, "1") is None
