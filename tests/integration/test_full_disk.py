"""Writes on a full disk: the old file stays, and no part of a new file remains."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from flows.common.disk_space import is_disk_full, start_failure
from flows.servers.mlflow_auth import write_settings
from model.atomic_file import atomic_path, fixed_part, replace_text
from model.data.hf_checkpoint import _save_weights
from model.errors import UserError
from model.training.checkpoint import write_synced as write_state
from tasks.data.audit_log import append_lines
from tasks.data.labels.new_labels import LabelCursor
from tasks.engine.source_snapshot import _store_snapshot
from tasks.ingestion.repeated_labels import _write_without
from tasks.project.data_folder import list_files

OLD = "what was there\n"
FULL = Path("/dev/full")


@contextmanager
def no_room(size: int = 64) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: a write fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda file: replace_text(file, "x" * 9000),
    "fixed part": lambda file: replace_text(file, "x" * 9000, fixed_part(file)),
    "state": lambda file: write_state(file, {"w": torch.zeros(5000)}),
    "ledger": lambda file: append_lines(file.parent, file.name, lambda read: ["x" * 9000], lambda: None),
    "without": lambda file: _write_without([file], set()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_writers_full_disk_keeps_existing_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "kept.jsonl"
    content = OLD * 600
    file.write_text(content)
    with no_room(), pytest.raises((OSError, UserError, RuntimeError)):
        WRITERS[name](file)
    assert file.read_text() == content
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path != file] in (
        [], ["kept.lock"]
    )  # fmt: skip


def test_list_files_and_remember_labels_full_disk_leaves_no_part(tmp_path: Path) -> None:
    list_files(tmp_path, ["text/00000.jsonl"])
    with no_room(), pytest.raises(UserError):
        list_files(tmp_path, [f"text/{number:05}.jsonl" for number in range(900)])
    known = LabelCursor(tmp_path / "labels" / "demo.npz")
    with no_room(), pytest.raises(OSError, match="File too large"):
        known.remember_labels(tmp_path / "good", "0" * 64, "1.dir")
    assert not list(tmp_path.rglob("*.part"))


def test_write_settings_full_disk_leaves_no_part(tmp_path: Path) -> None:
    with no_room(8), pytest.raises(OSError, match="File too large"):
        write_settings(tmp_path, "sqlite:///a.db", "ann")
    assert not list(tmp_path.rglob("*.part"))


def test_store_snapshot_full_disk_leaves_no_part(tmp_path: Path) -> None:
    files = {"flows/a.py": b"# short", "tasks/b.py": b"# " + b"x" * 900, "requirements.txt": b""}
    with no_room(), pytest.raises(OSError, match="File too large"):
        _store_snapshot(tmp_path / "sources", "0" * 20, files)
    assert not list(tmp_path.rglob("*.part"))


def test_save_weights_full_disk_names_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with no_room(), pytest.raises(OSError, match=r"model\.safetensors"), atomic_path(path) as part:
        _save_weights({"w": torch.zeros(9000)}, part)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ValueError])
def test_atomic_path_any_error_removes_part(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "a.json"
    file.write_text(OLD)
    with pytest.raises(error), atomic_path(file) as part:
        part.write_text("half")
        raise error
    assert file.read_text() == OLD and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "said", ["sqlite3.OperationalError: database or disk is full", "[Errno 28] No space left on device: 'a'"]
)
def test_start_failure_full_disk_in_new_log_lines_is_user_error(tmp_path: Path, said: str) -> None:
    log = tmp_path / "server.log"
    log.write_text(f"Traceback\n{said}\n")
    failure = start_failure("Prefect", log)
    assert isinstance(failure, UserError) and "free disk space" in str(failure)
    # Log lines of an earlier start are ignored.
    assert isinstance(start_failure("Prefect", log, log.stat().st_size), RuntimeError)
    assert not is_disk_full(tmp_path / "none.log")


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    "words", [("models", "nobody/9", "extra"), ("chat", "--model", "nowhere"), ("up", "--pool", "x")]
)
def test_main_error_on_full_output_exits_2(tmp_path: Path, words: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli.main", *words], cwd=tmp_path, stdout=full, stderr=full,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=False,
        )  # fmt: skip
    assert done.returncode == 2
