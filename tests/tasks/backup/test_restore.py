"""What a restoration leaves that was killed before it was decided."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.servers.environment import checkout_environment
from model.errors import UserError
from tasks.backup import restore
from tasks.backup.archive import write_backup
from tasks.backup.restore import INTENTION, finish_restore, restore_backup
from tasks.project.database_check import check_mlflow_database
from tasks.project.paths import LABEL_SESSION_KEY
from tests.killed_process import NO_OPERATION, kills, run_killed
from tests.tasks.backup.test_archive import REPOSITORY, die, lay, project, word_of

__all__ = ["project"]


@pytest.mark.parametrize("moment", ["is_record", "fault_in", "replace_text"])
def test_finish_restore_removes_what_a_killed_one_unpacked(
    project: Path, tmp_path: Path, moment: str
) -> None:
    archive = tmp_path / "records.tar"
    write_backup(project, archive)
    records = {path for path in (project / "var").rglob("*") if path.is_file()}

    def restore_and_die() -> None:
        setattr(restore, moment, die)
        restore_backup(project, archive, force=True)

    assert run_killed(restore_and_die, NO_OPERATION, project)
    [left] = (project / "var").glob("restoring-*")
    # A living restoration holds its folder.
    held = os.open(left, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    finish_restore(project)
    assert left.exists()
    os.close(held)
    finish_restore(project)
    assert not left.exists() and records <= set((project / "var").rglob("*"))
    found, _ = restore_backup(project, archive, force=True)
    assert found.files and not [*(project / "var").glob("restoring-*")]


def names(folder: Path) -> set[str]:
    """Return the files below var/ without those that the tests' databases and locks leave."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_restore_backup_killed_at_any_operation_is_completed_or_undone(project: Path, tmp_path: Path) -> None:
    archive = tmp_path / "records.tar"
    write_backup(project, archive)

    def restore_again(root: Path) -> None:
        restore_backup(root, archive, force=True)

    done, undone = 0, 0
    for root in kills(restore_again, lambda root: lay(root, "second"), tmp_path / "killed"):
        var = root / "var"
        said = finish_restore(root)
        left = names(var)
        kept = {name.partition("/")[2] for name in left if name.startswith("replaced-")}
        if word_of(root) == "first":
            done += 1
            assert (var / "report.html").read_text() == "first"
            assert "mlflow.db" in kept and "labels/über & so.npz" in kept and "moved" not in kept, root
        else:
            undone += 1
            assert not said and not [*var.glob("replaced-*")], root
            assert (var / "report.html").read_text() == "second"
        # A partial file of the decision is replaced by the next restoration.
        left -= {"restoring.json.part"}
        assert not [name for name in left if name.startswith("restoring")], root
        assert finish_restore(root) == ""
        restore_again(root)
        assert word_of(root) == "first" and not [*var.glob("restoring*")], root
    assert done > 15 and undone > 10


def test_restore_backup_killed_in_empty_project_leaves_no_folder_of_replaced_records(
    project: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "records.tar"
    write_backup(project, archive)
    for root in kills(lambda root: restore_backup(root, archive), lambda root: None, tmp_path / "killed"):
        finish_restore(root)
        assert not [*(root / "var").glob("replaced-*")], root


def test_restore_backup_twice_in_one_second_keeps_all_replaced_records(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.strftime", lambda form: "20260131-120000")
    archive = tmp_path / "records.tar"
    write_backup(project, archive)
    other = tmp_path / "other"
    lay(other, "second")
    places = []
    for word in ("third", "fourth", "fifth"):
        places.append(restore_backup(other, archive, force=True)[1])
        (other / "var" / "report.html").write_text(word)
    assert [place and (place / "report.html").read_text() for place in places] == [
        "second",
        "third",
        "fourth",
    ]


@pytest.mark.parametrize("force", [False, True])
def test_restore_backup_same_command_after_any_kill_succeeds(
    project: Path, tmp_path: Path, force: bool
) -> None:
    archive = tmp_path / "records.tar"
    write_backup(project, archive)
    make = (lambda root: lay(root, "second")) if force else (lambda root: None)
    for root in kills(lambda root: restore_backup(root, archive, force), make, tmp_path / "killed"):
        found, _ = restore_backup(root, archive, force)
        assert found.files == 8 and word_of(root) == "first", root
        assert (root / "var" / "report.html").read_text() == "first"
        # The former records are there once, and the restored ones are not moved aside.
        replaced = [path.read_text() for path in (root / "var").glob("replaced-*/report.html")]
        assert replaced == ["second"] * force, root


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_restore_backup_records_that_differ_need_force(project: Path, tmp_path: Path, change: str) -> None:
    archive, other = tmp_path / "records.tar", tmp_path / "other"
    write_backup(project, archive)
    other.mkdir()
    restore_backup(other, archive)
    (other / LABEL_SESSION_KEY).parent.mkdir(exist_ok=True)
    (other / LABEL_SESSION_KEY).write_text("key")
    assert restore_backup(other, archive)[1] is None
    # As a restoration that moves files does.
    assert not (other / LABEL_SESSION_KEY).exists()
    report = other / "var" / "report.html"
    if change == "removed":
        report.unlink()
    else:
        (report if change == "changed" else other / "var" / "compare-c-d.html").write_text("FIRST")
    with pytest.raises(UserError, match="--force replaces it"):
        restore_backup(other, archive)
    _, replaced = restore_backup(other, archive, force=True)
    assert replaced and report.read_text() == "first"


def kill_within_moves(root: Path, archive: Path) -> None:
    """Kill a restoration when some of the restored records are in place."""
    for number in range(200):
        assert run_killed(lambda: restore_backup(root, archive, force=True), number, root)
        if (root / INTENTION).exists() and (root / "var" / "mlflow.db").exists():
            return
        finish_restore(root)
    raise AssertionError("no kill was within the moves")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in which a restoration was killed; a test works in a copy of it."""
    place = tmp_path_factory.mktemp("interrupted")
    project, archive = place / "project", place / "records.tar"
    lay(project)
    write_backup(project, archive)
    kill_within_moves(project, archive)
    return project


@pytest.mark.parametrize("command", [("backup", "new.tar"), ("data", "log"), ("models",)])
def test_main_after_killed_restore_completes_it_first(
    interrupted: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    project = shutil.copytree(interrupted, tmp_path / "project", symlinks=True)
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *command], cwd=project, capture_output=True, text=True,
        env=checkout_environment(REPOSITORY), check=False,
    )  # fmt: skip
    assert done.stderr.count("completed a `chatmill restore` that was interrupted; the replaced") == 1, done
    check_mlflow_database(project)
    assert (project / "var" / "labels" / "über & so.npz").exists() and not (project / INTENTION).exists()
    if command[0] == "backup":
        assert done.returncode == 0 and "8 files" in done.stdout
