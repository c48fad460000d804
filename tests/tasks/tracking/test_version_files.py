"""Test that a quick look at a registered version finds missing, truncated and changed files."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.servers.commands import ListenAddress, mlflow_server
from flows.servers.credentials import read_login
from flows.servers.environment import LOOPBACK, Settings, free_port
from flows.servers.supervisor import SupervisedProcess
from tasks.project.paths import OUTPUT_DIGESTS
from tasks.tracking.registered_model import RESTORE
from tasks.tracking.version_files import FileState, VersionFiles
from tests.any_user import as_any_user
from tests.tasks.tracking.damaged_models import (
    DAMAGES,
    Damage,
    add_shards,
    at,
    cut,
    empty,
    forge_manifest,
    place,
    project,
    registered,
    remove_manifest,
    remove_nested,
    replace_by_folder,
    turn_over,
)

__all__ = ["project", "registered"]


def look(project: Path, number: int = 2, left: int = 1 << 20) -> FileState:
    """Look at a version of a local store, and read at most `left` bytes."""
    tracker = at(project)
    files = VersionFiles(tracker.client, project)
    files.left = left
    return files.look_at(tracker.client.get_model_version("chatmill", str(number)))


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_look_at_damaged_file_is_named_and_other_version_is_whole(
    project: Path, damage: Damage, name: str
) -> None:
    model = place(project, 2)
    assert look(project) == FileState()
    damage(model)
    how = {
        remove_nested: "is missing", remove_manifest: "is missing",
        replace_by_folder: "is a folder in place of the registered file",
    }.get(damage, "differs from the registered file")  # fmt: skip
    path = (model.parent / name).relative_to(project)
    assert look(project).sentence == f"version 2 of chatmill: {path} {how}; {RESTORE}"
    assert look(project, 1) == FileState()


@pytest.mark.parametrize("gone", ["model", "artifacts", "."])
def test_look_at_missing_folder_is_damage(project: Path, gone: str) -> None:
    model = place(project, 2)
    shutil.rmtree({"model": model, "artifacts": model.parent, ".": model.parent.parent}[gone])
    assert look(project).damage.endswith(" is missing") and look(project, 1) == FileState()


@pytest.mark.parametrize("closed", [".", "extra", "model.safetensors"])
def test_look_at_closed_path_is_unknown_not_damaged(project: Path, closed: str) -> None:
    path = place(project, 2) / closed
    mode = path.stat().st_mode
    path.chmod(0)
    with as_any_user():
        found = look(project)
    path.chmod(mode)
    assert found == FileState(
        unknown="version 2 of chatmill: its files were not checked: "
        f"{os.path.normpath(path.relative_to(project))}: Permission denied"
    )


@pytest.mark.parametrize(
    ("damage", "found"), [(cut, True), (empty, True), (add_shards, True), (turn_over, False)]
)
def test_look_at_more_bytes_than_it_may_read_compares_sizes(
    project: Path, damage: Damage, found: bool
) -> None:
    damage(place(project, 2))
    assert bool(look(project, left=10).damage) == found


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "extra/notes.txt"])
def test_look_at_reads_a_file_once_and_again_after_it_changed(project: Path, name: str) -> None:
    path = place(project, 2) / name
    # Files that changed in the last two seconds are not cached.
    time.sleep(2.1)
    assert look(project) == FileState() and str(path) in (project / OUTPUT_DIGESTS).read_text()
    # Nothing is left to read, so the cached checksums decide.
    assert look(project, left=0) == FileState()
    path.write_bytes(bytes(reversed(path.read_bytes() + b"\n"))[: path.stat().st_size])
    assert "differs" in look(project).damage


@pytest.fixture(scope="module")
def served(registered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve a copy of the project's store, as `chatmill up` does; yield the address and the project."""
    root = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(registered, root)
    uri, login, port = (
        f"sqlite:///{root / 'var' / 'mlflow.db'}",
        read_login("reader:as-nobody-does"),
        free_port(),
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in login.client_environment.items():
            patch.setenv(name, value)
        server = SupervisedProcess(
            mlflow_server(Settings(root, uri, "", login), ListenAddress(LOOPBACK, port)), root
        )
        address = f"http://{LOOPBACK}:{port}"
        try:
            server.wait_until_ready()
            yield address, root
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "model/model.safetensors differs from the registered file at MLflow's server"),
        (remove_nested, "model/extra/notes.txt is missing at MLflow's server"),
        (remove_manifest, "manifest.json is missing at MLflow's server"),
        (forge_manifest, "manifest.json differs from the registered file at MLflow's server"),
        (shutil.rmtree, "model is missing at MLflow's server"),
    ],
)
def test_look_at_files_of_a_server_compares_sizes(
    served: tuple[str, Path], tmp_path: Path, damage: Damage, says: str
) -> None:
    address, root = served
    model, client = place(root, 2), MlflowClient(address, address)
    version = client.get_model_version("chatmill", "2")
    # Another machine has no such folder; the machine of the server has it, and reads the files.
    here, there = VersionFiles(client, root), VersionFiles(client, tmp_path)
    assert (here.look_at(version), there.look_at(version)) == (FileState(), FileState())
    shutil.copytree(model.parent, tmp_path / "kept")
    damage(model)
    try:
        assert there.look_at(version).damage == f"version 2 of chatmill: {says}"
        assert here.look_at(version).damage
    finally:
        shutil.rmtree(model.parent)
        shutil.copytree(tmp_path / "kept", model.parent)


def test_look_at_files_of_own_server_reads_them(served: tuple[str, Path]) -> None:
    address, root = served
    client, weights = MlflowClient(address, address), place(root, 2) / "model.safetensors"
    before = weights.read_bytes()
    turn_over(weights.parent)
    found = VersionFiles(client, root).look_at(client.get_model_version("chatmill", "2"))
    weights.write_bytes(before)
    assert found.damage.endswith("model.safetensors differs from the registered file")
