"""Test that the list of versions is complete again after a kill, whichever command comes next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.common.file_lock import exclusive_lock
from tasks.data.sources.source_types import DataParameters
from tasks.data.versions.version_history import find_version_hash, last_accepted, version_log
from tasks.dvc import versions
from tasks.dvc.pointer_file import read_pointer
from tasks.dvc.version_list import KNOWN, complete_list, remembered_versions
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.project.paths import VERSIONS_LOCK
from tasks.reproduction.data import place_data
from tests.any_user import as_any_user
from tests.tasks.dvc_project import lay, meta, texts
from tests.tasks.ingest_project import OWN, write
from tests.waiting import PATIENCE

INGEST = """
from pathlib import Path
from tests.tasks.dvc_project import lay, meta, texts
from tests.tasks.ingest_project import run
run(Path("."))
"""
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    write(project, {"text": "one"}, {"text": "two"})
    return project


def ingest_killed_after_pointer(root: Path) -> str:
    """Ingest in another process, kill it once it has written data.dvc; return the hash of that version."""
    before = read_pointer(root)
    (root / "var").mkdir(exist_ok=True)
    # The process waits for this lock between data.dvc and the list, so the kill comes at the right moment.
    with exclusive_lock(root / VERSIONS_LOCK, lambda event: None, ""):
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        other = subprocess.Popen([sys.executable, "-c", INGEST], cwd=root, env=environment)
        try:
            until = time.monotonic() + PATIENCE
            while (now := read_pointer(root)) == before:
                assert time.monotonic() < until and other.poll() is None
                time.sleep(0.01)
        finally:
            other.send_signal(signal.SIGKILL)
            other.wait()
    assert now is not None and now["md5"] not in {entry["md5"] for entry in remembered_versions(root)}
    return str(now["md5"])


def reproduce(root: Path) -> None:
    (root.parent / "checkout").mkdir()
    preset = {"name": "mine", "data": {"sources": [{"name": "mine", "files": "none/*.jsonl"}]}}
    with pytest.raises(UserError, match="not in DVC's cache"):
        place_data(root, root.parent / "checkout", preset, "0.dir", None)


def reuse(root: Path) -> None:
    ingest.run(DataParameters((OWN,)), {}, StageContext(root), lambda event: None)


@pytest.mark.parametrize("follow", [version_log, last_accepted, reproduce, reuse])
def test_complete_list_killed_ingestion_is_completed(root: Path, follow: Callable[[Path], object]) -> None:
    reuse(root)
    first = str((read_pointer(root) or {})["md5"])
    write(root, {"text": "three"}, name="b")
    second = ingest_killed_after_pointer(root)
    follow(root)
    entries = remembered_versions(root)
    assert [entry["md5"] for entry in entries] == [first, second]
    assert entries[1]["meta"]["rows"]["text"] == 3 and entries[1]["made"] >= entries[0]["made"] > ""


def test_version_log_killed_first_ingestion_has_time_and_is_found(root: Path) -> None:
    killed = ingest_killed_after_pointer(root)
    assert [version.hash for version in version_log(root)] == [killed] and version_log(root)[0].date
    assert find_version_hash(root, killed[:8]) == killed
    assert [entry["md5"] for entry in remembered_versions(root)] == [killed]


@pytest.mark.parametrize("meta", [None, "{}", "{rows: {}}"])
def test_complete_list_pointer_of_another_owner_adds_nothing(root: Path, meta: str | None) -> None:
    reuse(root)
    before = (root / KNOWN).read_bytes()
    (root / "data.dvc").unlink()
    if meta:
        (root / "data.dvc").write_text(f"outs: [{{md5: 1.dir}}]\nmeta: {meta}\n")
    complete_list(root)
    assert (root / KNOWN).read_bytes() == before


def test_version_log_project_closed_to_writing_is_listed(root: Path) -> None:
    killed = ingest_killed_after_pointer(root)
    for folder in (root / "var", root / KNOWN.parent):
        folder.chmod(0o500)
    (root / VERSIONS_LOCK).chmod(0o400)
    try:
        with as_any_user():
            assert [(version.hash, bool(version.date)) for version in version_log(root)] == [(killed, True)]
        assert not (root / KNOWN).exists()
    finally:
        for folder in (root / "var", root / KNOWN.parent):
            folder.chmod(0o700)


@pytest.mark.parametrize("more", [{}, {"names": ["tales"]}, {"withdrawn": {"digest": "d", "members": ["m"]}}])
def test_add_version_made_before_is_recorded_as_it_was(root: Path, more: dict[str, object]) -> None:
    lay(root, *texts("one", "two"))
    former = {**meta("a", text=2), **more}
    versions.add_version(root, "", former)
    first = (root / "data.dvc").read_bytes()
    lay(root, *texts("three"))
    versions.add_version(root, "", meta("b", text=1))
    # Another release records more of a version than the one that made it.
    lay(root, *texts("one", "two"))
    versions.add_version(root, "", {**former, "repeats": {"text": 4}})
    assert (root / "data.dvc").read_bytes() == first


@pytest.mark.parametrize(
    "other", [meta("c", text=2), {**meta("a", text=2), "withdrawn": {"digest": "d", "members": ["m"]}}]
)
def test_add_version_same_rows_of_others_are_recorded_anew(root: Path, other: dict[str, object]) -> None:
    lay(root, *texts("one", "two"))
    versions.add_version(root, "", meta("a", text=2))
    versions.add_version(root, "", other)
    pointer = read_pointer(root)
    assert pointer is not None and pointer["meta"] == {"layout": 2, **other}
