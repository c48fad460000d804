"""Test that a registered version with changed files is refused by name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.backup.archive import write_backup
from tasks.tracking.champion_input import fetch_champion_model
from tasks.tracking.registered_model import DamagedModel, MissingModel, damaged_copies
from tests.any_user import as_any_user
from tests.tasks.tracking.damaged_models import (
    DAMAGES,
    Damage,
    add_shards,
    at,
    cut,
    place,
    project,
    registered,
    remove_manifest,
    remove_nested,
    replace_by_folder,
)

__all__ = ["project", "registered"]


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
def test_version_folder_damaged_file_is_refused_by_name(project: Path, damage: Damage, name: str) -> None:
    tracker, model = at(project), place(project, 2)
    assert tracker.version_folder("") == model
    damage(model)
    how = {
        remove_nested: "is missing", remove_manifest: "is missing",
        replace_by_folder: "is a folder in place of the registered file",
    }.get(damage, "differs from the registered file")  # fmt: skip
    says = rf"version 2 of chatmill: {model.parent / name} {how}, so the model is not used.*restore"
    with pytest.raises(DamagedModel, match=says):
        tracker.version_folder("")
    [second, first] = tracker.registry.versions()
    with pytest.raises(DamagedModel, match="version 2"):
        fetch_champion_model(second, tracker.uri, project, lambda event: None)
    assert not list(project.glob("var/cache/artifacts/champion/*.part"))
    assert fetch_champion_model(first, tracker.uri, project, lambda event: None)
    [said] = write_backup(project, project / "a.tar").damaged
    assert f"version 2 of chatmill: var/{(model.parent / name).relative_to(project / 'var')}" in said


@pytest.mark.parametrize("closed", [".", "extra", "model.safetensors"])
def test_version_folder_closed_path_is_not_called_damaged(project: Path, closed: str) -> None:
    tracker, model = at(project), place(project, 2)
    path, mode = model / closed, (model / closed).stat().st_mode
    path.chmod(0)
    with as_any_user(), pytest.raises(PermissionError) as found:
        tracker.version_folder("")
    assert os.path.realpath(found.value.filename) == os.path.realpath(path)
    path.chmod(mode)
    assert tracker.version_folder("") == model


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
