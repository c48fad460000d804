"""A project with two registered versions, and kinds of damage to the files of a version in MLflow's store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.engine.cache_key import folder_sums, output_digest
from tasks.engine.output import MANIFEST, StageOutput, file_sizes, read_manifest, write_manifest
from tasks.tracking.tracker import Tracker

Damage = Callable[[Path], None]


def register_versions(root: Path) -> None:
    """Register two versions that passed the gate, the second as the champion."""
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


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project once with two versions that passed, as making a database takes seconds."""
    root = tmp_path_factory.mktemp("project")
    register_versions(root)
    return root


@pytest.fixture
def project(tmp_path: Path, registered: Path) -> Path:
    """Copy the project, to be damaged."""
    return Path(shutil.copytree(registered, tmp_path / "project"))


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
