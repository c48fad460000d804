"""A store of runs, models and data that a former version wrote still answers the present commands."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import compare, lineage, models
from flows.config import load_preset
from flows.orchestration.tracker import open_tracker
from tasks.common.git_checkout import is_on_branch
from tasks.common.old_keys import rename_old_keys
from tasks.reproduction import reproduce
from tasks.reproduction.checkout import checked_out
from tasks.reproduction.past_opponents import compared_as_then
from tasks.reproduction.recorded_run import read_original
from tasks.tracking.champion_input import fetch_champion_model
from tasks.tracking.queries import read_artifact
from tasks.tracking.reference_version import fetch_reference_version, of_version
from tests.benchmarks.smoke import REPOSITORY
from tests.flows.cli_runner import call, of
from tests.integration.recorded_store import unpack

# The commit of the recorded runs, which the test's own repository does not have.
COMMIT = "a1ddef1b5847a452b1c60c71fafcc80bb6ee861b"
# The layout that the commit's code had: its command line was flows/command.py.
FORMER_COMMAND = "raise SystemExit('no stage of the former code is run by this test')\n"
SOURCES = "tests/exports/smoke"


def git(root, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a project whose two runs and versions a former version recorded."""
    root = tmp_path_factory.mktemp("project")
    (root / "flows").mkdir()
    (root / "flows" / "command.py").write_text(FORMER_COMMAND)
    (root / ".gitignore").write_text("var/\ndata/\n")
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "exports" / "smoke", root / SOURCES)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "the code of that time")
    unpack(root, {COMMIT: git(root, "rev-parse", "HEAD")})
    return root


@pytest.fixture
def root(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return project


def say(*words):
    return call(of(models.models, models.rollback, lineage.lineage, compare.compare), *words).output


def test_models_of_recorded_store_lists_versions_and_champion(root):
    said = say("models")
    assert "champion of smoke: version 1" in said and "the champion, version 1, stays" in said
    assert "aligned assistant" in said
    assert "threshold is met" in say("models", "smoke", "--history")


@pytest.mark.parametrize("name", ["champion", "smoke/2"])
def test_lineage_of_recorded_store_names_stages_sources_and_annotators(root, name):
    found = json.loads(say("lineage", name, "--json"))
    stages = [stage["stage"] for stage in found["stages"]]
    assert stages[0] == "ingest" and stages[-1] == "rlhf" and {"pretrain", "sft", "reward"} < set(stages)
    said = say("lineage", name)
    assert git(root, "rev-parse", "HEAD") in said and "person-5: 557 train, 74 valid, 69 test" in said
    assert f"{SOURCES}/comparisons.jsonl  sha256 b7101bd4" in said


def test_compare_of_recorded_store_shows_seed_and_metrics(root):
    said = say("compare", "1", "smoke/2", "--all")
    assert "seed" in said and "aligned assistant (RLHF): loss on the right answer" in said
    assert "more metrics differ; --all prints them" in say("compare", "1", "smoke/2")
    assert "nothing differs" in say("compare", "champion", "1")


def test_rollback_in_recorded_store_moves_champion_and_back(root):
    assert "version 2 of smoke is now the champion" in say("rollback", "2", "--reason", "a trial")
    try:
        assert "champion of smoke: version 2" in say("models")
    finally:
        assert "version 1 of smoke is now the champion" in say("rollback", "--reason", "the end of it")


def test_load_preset_of_recorded_runs_reads_their_keys(root):
    client = open_tracker().client
    for number in ("1", "2"):
        original = read_original(client, number)
        preset = load_preset(rename_old_keys(original.preset)[0])
        assert preset.name == "smoke" and preset.seed == int(number)
        assert preset.rlhf.steps == 2 and preset.pretrain.batch_size == 8


def test_reproduce_of_recorded_run_restores_former_code_data_and_preset(root):
    client, notes = open_tracker().client, []
    original = read_original(client, "champion")
    assert original.command == "run" and len(original.stages) == 14
    assert is_on_branch(root, original.code.commit)
    with checked_out(root, original, False, notes.append) as checkout:
        # Nothing is left out: the champion that the run was compared with is known.
        assert compared_as_then(client, original, checkout) == {}
        # Its stages are run by the command line that its own code has.
        assert reproduce.command_module(checkout.project) == "flows.command"
        assert (checkout.project / "var" / "artifacts").is_symlink()
        given = json.loads(checkout.preset.read_text())
        recorded = read_artifact(client, original.run, "preset.json")
        for name in ("pretrain", "sft", "reward", "rlhf", "evaluate", "gate"):
            assert given[name] == recorded[name]
        with pytest.raises(
            reproduce.ReproductionFailed, match="before its first stage was done with exit code 1"
        ):
            reproduce.make_anew(checkout, original, Path(sys.executable), dict(os.environ))
    assert "read again from its unchanged sources" in notes[-1]
    assert not list((root / "var" / "cache" / "reproduce").iterdir())


def test_champion_of_recorded_store_is_compared_with_next_run(root):
    tracker = open_tracker(product="smoke")
    registry = tracker.registries("smoke")[0]
    champion = next(version for version in registry.versions() if str(version.version) == "1")
    opponent = fetch_champion_model(champion, tracker.client.tracking_uri, root, lambda event: None)
    assert (root / opponent.path / "model" / "model.safetensors").exists()
    baseline = of_version(registry, "1")
    profile = fetch_reference_version(
        baseline, tracker.client, tracker.client.tracking_uri, root, lambda event: None
    )
    assert profile is not None and profile.digest
