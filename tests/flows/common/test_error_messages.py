"""`explain_error`: one sentence with the path, the reason and the remedy."""

import errno
import os
import resource
import shutil
import sqlite3
import tempfile
from contextlib import closing

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from flows.common.error_messages import explain_error
from tests.small_disk import small_disk


def caught(action):
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_explain_error_names_path_reason_and_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code, words in (
        (errno.ENOSPC, "free disk space"),
        (errno.EIO, "disk reports errors"),
        (errno.EROFS, "mount"),
    ):
        error = OSError(code, "x", str(tmp_path / "var" / "file"))
        said = explain_error(error)
        assert said.startswith(f"var/file: {os.strerror(code)}; ") and words in said
    (tmp_path / "file").write_text("")
    assert "a folder is needed" in explain_error(caught(lambda: (tmp_path / "file" / "x").open()))
    (tmp_path / "full" / "x").mkdir(parents=True)
    assert "not chatmill's" in explain_error(caught((tmp_path / "full").rmdir))
    assert "another file has that name" in explain_error(caught((tmp_path / "file").mkdir))
    os.mkfifo(tmp_path / "pipe")
    nobody_reads = caught(lambda: os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK))
    assert explain_error(nobody_reads).startswith("pipe: No such device or address; it is a named pipe")
    assert "too long" in explain_error(caught(lambda: (tmp_path / ("é" * 200)).open())).lower()
    assert explain_error(ValueError("x")) == "" and explain_error(FileNotFoundError(2, "x", "y")) == ""


def test_explain_error_finds_cause_behind_other_errors(tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_text("x" * 9)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limit[1]))
    try:
        error = caught(lambda: shutil.copytree(tmp_path / "from", tmp_path / "to"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert isinstance(error, shutil.Error) and "size of files" in explain_error(error)
    wrapped = RuntimeError("no more")
    wrapped.__cause__ = OSError(errno.EDQUOT, "x", b"/disk/\xff")
    assert explain_error(wrapped).startswith("/disk/")
    assert "memory" in explain_error(ExceptionGroup("two", [ValueError(), MemoryError()]))


def test_explain_error_recognises_database_errors(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"no database, and longer than that" * 99)
    with sqlite3.connect(path) as store:
        assert "damaged" in explain_error(caught(lambda: store.execute("select * from sqlite_master")))
    locked = MlflowException("(sqlite3.OperationalError) database is locked [SQL: insert]")
    assert "another process holds" in explain_error(locked)
    assert "full" in explain_error(sqlite3.OperationalError("database or disk is full"))


@pytest.mark.parametrize("table", ["entity_associations", "trace_info", "assessments", "logged_models"])
def test_explain_error_interrupted_creation_of_database(tmp_path, table):
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as store:
        store.execute(f"create table {table} (a)")
    said = explain_error(caught(lambda: MlflowClient(tracking_uri=f"sqlite:///{path}").search_runs(["0"])))
    assert "its creation was interrupted" in said and "move the file away" in said


def test_explain_error_copy_to_full_disk_names_its_target(tmp_path):
    # As shutil.copyfile raises it.
    error = OSError(errno.ENOSPC, "No space left on device", "template.db", None, str(tmp_path / "var.db"))
    assert explain_error(error).startswith(f"{tmp_path / 'var.db'}: No space left on device")


@pytest.mark.parametrize(
    "damage",
    [
        ("delete from alembic_version",),
        ("update alembic_version set version_num = '0a8213491aaa'",),
        ("drop table alembic_version",),
        ("drop table registered_models",),
        ("drop table experiments",),
        ("alter table runs rename column artifact_uri to place",),
    ],
    ids=lambda damage: damage[0][:40],
)
def test_explain_error_database_of_other_version_names_restore(tmp_path, damage, empty_database):
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty_database)
    with closing(sqlite3.connect(path)) as store, store:
        for statement in damage:
            store.execute(statement)

    def look():
        client = MlflowClient(tracking_uri=f"sqlite:///{path}")
        client.search_registered_models()
        client.search_runs(["0"])

    assert "`chatmill restore` restores a backup" in explain_error(caught(look))


def test_explain_error_no_folder_for_temporary_files_names_tmpdir(monkeypatch):
    # Folders in which nobody can write, root included.
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc", "/nonexistent/tmp"])
    monkeypatch.setattr(tempfile, "tempdir", None)
    said = explain_error(caught(tempfile.mkdtemp))
    assert "'/proc', '/nonexistent/tmp'" in said and "; set TMPDIR to a folder that you can write to" in said


@pytest.mark.parametrize("place", ["var", "var/cache", "cache/a/file"])
def test_explain_error_link_to_nothing_is_named(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    link = tmp_path / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/media/gone")
    said = explain_error(caught(lambda: (link / "x" / "file").open("w")))
    assert said.startswith(f"{place} is a link to /media/gone, which is missing; ")
    # A missing file where no link leads may be a fault of the program.
    assert not explain_error(caught(lambda: (tmp_path / "nothing").open()))


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError("libopenblas.so.0: failed to map segment from shared object: Cannot allocate memory"),
        ImportError("/usr/lib/x.so: cannot map zero-fill pages"),
        ImportError("libgomp.so.1: cannot allocate memory in static TLS block"),
    ],
)
def test_explain_error_library_without_memory_is_out_of_memory(error):
    assert explain_error(error).startswith("out of memory; close other programs")


@pytest.mark.parametrize("error", [ImportError("No module named 'x'"), OSError("libx.so: wrong ELF class")])
def test_explain_error_other_library_errors_are_not_explained(error):
    assert explain_error(error) == ""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ExceptionGroup("of a queue", [ValueError(), OSError(errno.ENOSPC, "No space left on device")]),
    ],
)
def test_explain_error_full_disk_without_path_names_folder_on_it(tmp_path, monkeypatch, error):
    with small_disk(tmp_path / "disk", "1m") as disk:
        (disk / "var").mkdir()
        monkeypatch.chdir(disk)
        assert explain_error(error).startswith(f"the disk with {disk / 'var'}: ")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        assert explain_error(error).startswith(f"the disk with {disk}: ")
    assert "; free " in explain_error(error)
