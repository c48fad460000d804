"""Test that a registered version with changed files is refused by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.backup.archive import write_backup
from tasks.engine.cache_key import folder_sums, output_digest
from tasks.engine.output import MANIFEST, StageOutput, file_sizes, read_manifest, write_manifest
from tasks.tracking.champion_input import fetch_champion_model
from tasks.tracking.registered_model import DamagedModel, MissingModel, damaged_copies
from tasks.tracking.tracker import Tracker
from tests.any_user import as_any_user

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project once with two versions that passed, as making a database takes seconds."""
    root = tmp_path_factory.mktemp("project")
    (root / "var" / "mlflow" / "artifacts").mkdir(parents=True)
    tracker = at(root)
    for key, score in (("a", 0.1), ("b", 0.2)):
        folder = root / "out" / key
        (folder / "model" / "extra").mkdir(parents=True)
        (folder / "model" / "config.json").write_text(json.dumps({"weights": key}))
        (folder / "model" / "model.safetensors").write_bytes(key.encode() * 100)
        (folder / "model" / "extra" / "notes.txt").write_text(key)
        sums = folder_sums(folder)
        manifest = {
            "stage": "rlhf", "key": key, "digest": output_digest(sums), "metrics": {}, "seconds": 1.0,
            "sums": sums, "files": file_sizes(folder),
        }  # fmt: skip
        write_manifest(folder, manifest)
        with tracker.open_run("demo", {}, {}, f"flow-{key}"), tracker.open_stage("rlhf", {}, []):
            made = StageOutput("rlhf", key, str(folder), manifest["digest"], False, 1.0, {})
            made = StageOutput(**{**vars(made), "run": tracker.close_stage(made, "1.dir")})
        gate = {"passed": 1, "reason": "good", "score": score}
        assert tracker.register(made, StageOutput("gate", key, "", key, False, 0.1, gate)).champion
        assert read_manifest(folder)
    return root


@pytest.fixture
def project(tmp_path: Path, registered: Path) -> Path:
    shutil.copytree(registered, tmp_path / "project")
    return tmp_path / "project"


def at(root: Path) -> Tracker:
    return Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "tests", root / "var" / "mlflow")


def place(project: Path, number: int) -> Path:
    """Return the folder of a version's model in MLflow's store."""
    version = next(found for found in at(project).registry.versions() if int(found.version) == number)
    (found,) = project.glob(f"var/mlflow/artifacts/**/{version.run_id}/artifacts/model")
    return found


def cut(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"b" * 99)


def turn_over(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"b" * 99 + b"c")


def empty(model: Path) -> None:
    (model / "config.json").write_bytes(b"")


def remove_nested(model: Path) -> None:
    (model / "extra" / "notes.txt").unlink()


def add_shards(model: Path) -> None:
    (model / "model.safetensors.index.json").write_text("{}")


def replace_by_folder(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").mkdir()


def replace_by_pipe(model: Path) -> None:
    (model / "config.json").unlink()
    os.mkfifo(model / "config.json")


def break_link(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").symlink_to("nowhere")


def forge_manifest(model: Path) -> None:
    (model / "config.json").write_text("{}")
    manifest = json.loads((model.parent / MANIFEST).read_text())
    manifest["sums"] = folder_sums(model.parent, (MANIFEST,))
    write_manifest(model.parent, manifest)


def damage_manifest(model: Path) -> None:
    (model.parent / MANIFEST).write_text("[1, 2")


def remove_manifest(model: Path) -> None:
    (model.parent / MANIFEST).unlink()


DAMAGES = [
    (cut, "model/model.safetensors"), (turn_over, "model/model.safetensors"), (empty, "model/config.json"),
    (remove_nested, "model/extra/notes.txt"), (add_shards, "model/model.safetensors.index.json"),
    (replace_by_folder, "model/config.json"), (replace_by_pipe, "model/config.json"),
    (break_link, "model/config.json"), (forge_manifest, MANIFEST), (damage_manifest, MANIFEST),
    (remove_manifest, MANIFEST),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_damaged_copies_of_run_are_named(project: Path, damage: Damage, name: str) -> None:
    tracker, model = at(project), place(project, 2)
    runs = tracker.client.search_runs([tracker.experiment], "tags.`chatmill.stage` = 'rlhf'")
    parents = [tracker.client.get_run(run.data.tags["mlflow.parentRunId"]) for run in runs]
    assert [damaged_copies(tracker.client, parent) for parent in parents] == [[]] * len(parents)
    damage(model)
    told = [said for parent in parents for said in damaged_copies(tracker.client, parent)]
    assert len(told) == 1 and told[0].startswith(f"rlhf: MLflow's copy of {name} (run ")
    shutil.rmtree(model)
    assert [damaged_copies(tracker.client, parent) for parent in parents] == [[]] * len(parents)


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_champion_folder_damaged_file_is_refused_by_name(project: Path, damage: Damage, name: str) -> None:
    tracker, model = at(project), place(project, 2)
    assert tracker.champion_folder("") == model
    damage(model)
    how = {
        remove_nested: "is missing", remove_manifest: "is missing",
        replace_by_folder: "is a folder in place of the registered file",
    }.get(damage, "differs from the registered file")  # fmt: skip
    says = rf"version 2 of chatmill: {model.parent / name} {how}, so the model is not used.*restore"
    with pytest.raises(DamagedModel, match=says):
        tracker.champion_folder("")
    [second, first] = tracker.registry.versions()
    with pytest.raises(DamagedModel, match="version 2"):
        fetch_champion_model(second, tracker.uri, project, lambda event: None)
    assert not list(project.glob("var/cache/artifacts/champion/*.part"))
    assert fetch_champion_model(first, tracker.uri, project, lambda event: None)
    [said] = write_backup(project, project / "a.tar").damaged
    assert f"version 2 of chatmill: var/{(model.parent / name).relative_to(project / 'var')}" in said


@pytest.mark.parametrize("closed", [".", "extra", "model.safetensors"])
def test_champion_folder_closed_path_is_not_called_damaged(project: Path, closed: str) -> None:
    tracker, model = at(project), place(project, 2)
    path, mode = model / closed, (model / closed).stat().st_mode
    path.chmod(0)
    with as_any_user(), pytest.raises(PermissionError) as found:
        tracker.champion_folder("")
    assert os.path.realpath(found.value.filename) == os.path.realpath(path)
    path.chmod(mode)
    assert tracker.champion_folder("") == model


def test_check_files_removed_model_is_refused(project: Path) -> None:
    model = place(project, 1)
    assert write_backup(project, project / "a.tar").damaged == ()
    shutil.rmtree(model)
    tracker = at(project)
    with pytest.raises(MissingModel, match="version 1 of chatmill: MLflow's store lacks the folder"):
        tracker.check_files(tracker.registry.versions()[1])
    assert len(write_backup(project, project / "b.tar").damaged) == 1


@pytest.mark.parametrize("damage", [cut, add_shards, remove_manifest])
def test_rollback_damaged_version_is_refused(project: Path, damage: Damage) -> None:
    damage(place(project, 1))
    tracker = at(project)
    with pytest.raises(UserError, match="version 1 of chatmill"):
        tracker.registry.rollback("1", "rude", "ann", check=tracker.check_files)
    assert str(tracker.registry.champion().version) == "2" and len(tracker.registry.moves()) == 2
