"""What commands that show versions say about missing and damaged files of a version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.cli.approve import approve
from flows.cli.compare import compare
from flows.cli.lineage import lineage
from flows.cli.models import models
from flows.orchestration.tracker import open_tracker
from tasks.tracking.approval import ApprovalRequest
from tests.flows.cli_runner import call, of
from tests.tasks.tracking.damaged_models import (
    Damage,
    cut,
    place,
    registered,
    remove_nested,
    turn_over,
)

__all__ = ["registered"]


@pytest.fixture
def project(tmp_path: Path, registered: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(registered, root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root


DAMAGES = [
    (cut, "model/model.safetensors differs from the registered file"),
    (turn_over, "model/model.safetensors differs from the registered file"),
    (remove_nested, "model/extra/notes.txt is missing"),
    (shutil.rmtree, "model is missing"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES)
@pytest.mark.parametrize("number", [1, 2])
def test_models_and_compare_damaged_version_is_named(
    project: Path, number: int, damage: Damage, says: str
) -> None:
    program = of(models, compare, lineage)
    commands = (("models",), ("compare", "1", "2"), ("lineage", str(number)))
    assert "damaged" not in "".join(call(program, *words).output for words in commands)
    damage(place(project, number))
    shown = {words[0]: call(program, *words).output for words in commands}
    for said in shown.values():
        told = [line for line in said.splitlines() if "put it back or restore a backup" in line]
        assert len(told) == 1 and told[0].startswith(f"version {number} of chatmill: var/mlflow/")
        assert f"/{says};" in told[0]
    second, first = shown["models"].splitlines()[1:3]
    assert ("champion, damaged" in second, "damaged" in first) == (number == 2, number == 1)
    # The other version is as it was.
    assert f"version {3 - number}" not in "".join(call(program, "lineage", str(3 - number)).output)[60:]


def test_approve_show_damaged_version_is_named(project: Path) -> None:
    client = open_tracker().client
    for name, value in ApprovalRequest(72.0, "run").tags("").items():
        client.set_model_version_tag("chatmill", "2", name, value)
    assert "restore a backup" not in call(of(approve), "2", "--show").output
    cut(place(project, 2))
    assert "version 2 of chatmill: var/mlflow/" in call(of(approve), "2", "--show").output
