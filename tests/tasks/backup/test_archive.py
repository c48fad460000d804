"""Test backup and restore: consistent, checked, complete, and nothing replaced silently."""

import fcntl
import functools
import gzip
import io
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from flows.cli.backup import backup
from flows.servers.environment import checkout_environment
from flows.servers.label_page.app import session_key
from flows.servers.label_page.sessions import SessionSigner
from model.errors import UserError
from tasks.backup import archive
from tasks.backup.archive import write_backup
from tasks.backup.restore import INTENTION, finish_restore, restore_backup
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch, list_batches
from tasks.labelling.page_identity import page_site
from tasks.labelling.people import (
    add_person,
    check_password,
    create_login_code,
    find_person,
    remove_person,
    set_password,
)
from tasks.labelling.schema import choose_label_database, open_label_store
from tasks.project.label_site import derive_site, first_site
from tasks.project.paths import SECRETS
from tests.benchmarks.smoke import REPOSITORY
from tests.killed_process import NO_OPERATION, run_killed


@functools.cache
def laid(word):
    """Return the packed records of a project, in which files and rows hold a word."""
    with tempfile.TemporaryDirectory() as made, io.BytesIO() as packed:
        root = Path(made)
        files = {
            "mlflow/artifacts/1/run/artifacts/model/model.safetensors": word * 5000,
            "labels/über & so.npz": word, "summary.json": "{}", "report.html": word, "stores.json": "{}",
            "compare-a-b.html": word, "mlflow/users.db": "secret", "mlflow/lock": "", "up.json": "",
            "prefect/prefect.db": "secret", "logs/a.log": "secret", "cache/artifacts/x": "again",
            "credentials.json": "secret",
        }  # fmt: skip
        for name, text in files.items():
            path = root / "var" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with closing(sqlite3.connect(root / "var" / "mlflow.db")) as store, store:
            store.execute("create table t (a text)")
            store.execute("insert into t values (?)", (word,))
        labels = open_label_store(root)
        add_person(labels, "Ada")
        set_password(labels, "Ada", "a secret password")
        create_login_code(labels, "Ada")
        add_batch(labels, BatchSettings(word), [LabelItem("Why?", "So.", "Because.")])
        labels.close()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(root, "")
        return packed.getvalue()


def lay(root, word="first"):
    # The hash of a password alone takes a quarter of a second, so each project is made only once.
    with tarfile.open(fileobj=io.BytesIO(laid(word))) as archive:
        archive.extractall(root, filter="fully_trusted")


def word_of(root):
    with closing(sqlite3.connect(root / "var" / "mlflow.db")) as store:
        return store.execute("select a from t").fetchone()[0]


@pytest.fixture
def project(tmp_path):
    lay(tmp_path / "project")
    return tmp_path / "project"


@pytest.mark.parametrize("name", ["records.tar", "records.tar.gz", "ünd so"])
def test_write_backup_then_restore_gives_records_without_secrets(project, tmp_path, name):
    made = write_backup(project, tmp_path / name)
    assert made.files == 8 and b"secret" not in (tmp_path / name).read_bytes()
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    (tmp_path / "new").mkdir()
    found, aside = restore_backup(tmp_path / "new", tmp_path / name)
    assert (found.files, aside) == (8, None) and word_of(tmp_path / "new") == "first"
    labels = open_label_store(tmp_path / "new")
    assert [one.name for one in list_batches(labels)] == ["first"]
    assert check_password(labels, "Ada", "a secret password") is None
    labels.close()
    there = tmp_path / "new" / "var"
    assert (there / "labels" / "über & so.npz").read_text() == "first"
    assert not (there / "prefect").exists() and not list(there.glob("restoring*"))
    assert not list((project / "var").glob("chatmill-backup-*")) and not list(tmp_path.glob("*.part"))


def test_backup_missing_folder_is_refused_not_written_as_a_file(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(UserError, match="not a folder; create it first"):
        backup(f"{tmp_path}/backups/")
    assert not (tmp_path / "backups").exists()


def test_restore_backup_ends_the_sessions_of_the_label_page(project, tmp_path):
    key = session_key(project / SECRETS)
    write_backup(project, tmp_path / "a.tar")
    labels = open_label_store(project)
    cookie, _ = SessionSigner(labels, key).open_session(find_person(labels, "Ada"))
    remove_person(labels, "Ada")
    labels.close()
    restore_backup(project, tmp_path / "a.tar", force=True)
    labels = open_label_store(project)
    assert find_person(labels, "Ada").active
    after = session_key(project / SECRETS)
    assert SessionSigner(labels, after).read_cookie(cookie) is None
    # The backup's store has no name of the page yet; browsers know the one of the removed key.
    assert page_site(labels, first_site(project / SECRETS, after)) == derive_site(key)
    labels.close()


def test_restore_backup_open_label_store_is_refused(project, tmp_path):
    write_backup(project, tmp_path / "a.tar")
    store = open_label_store(project)
    with pytest.raises(UserError, match="label page runs"):
        restore_backup(project, tmp_path / "a.tar", force=True)
    store.close()
    assert restore_backup(project, tmp_path / "a.tar", force=True)[1] is not None


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("mlflow/artifacts/1/run/artifacts/model/config.json", lambda path: path.symlink_to("/etc/hostname")),
        ("mlflow/artifacts/2", lambda path: path.symlink_to("1")),
        ("labels/gone.npz", lambda path: path.symlink_to("nowhere")),
        ("mlflow/artifacts/1/pipe", os.mkfifo),
    ],
)
def test_write_backup_link_or_pipe_is_named(project, tmp_path, monkeypatch, capsys, name, make):
    make(project / "var" / name)
    made = write_backup(project, tmp_path / "a.tar")
    assert made.left_out == (name,) and made.files == 8
    monkeypatch.chdir(project)
    backup(str(tmp_path / "b.tar"))
    assert f"not in it: var/{name}: " in capsys.readouterr().out.replace("\n", " ")


def test_write_backup_open_transaction_leaves_out_uncommitted_rows(project, tmp_path):
    with closing(sqlite3.connect(project / "var" / "mlflow.db")) as store:
        store.execute("insert into t values ('not committed')")
        write_backup(project, tmp_path / "a.tar")
        store.rollback()
    (tmp_path / "new").mkdir()
    restore_backup(tmp_path / "new", tmp_path / "a.tar")
    with closing(sqlite3.connect(tmp_path / "new" / "var" / "mlflow.db")) as store:
        assert store.execute("select count(*) from t").fetchone() == (1,)


def test_restore_backup_existing_records_need_force_and_are_kept_aside(project, tmp_path):
    write_backup(project, tmp_path / "a.tar")
    with pytest.raises(UserError, match="exists"):
        write_backup(project, tmp_path / "a.tar")
    write_backup(project, tmp_path / "a.tar", force=True)
    other = tmp_path / "other"
    lay(other, "second")
    with pytest.raises(UserError, match="--force"):
        restore_backup(other, tmp_path / "a.tar")
    assert word_of(other) == "second"
    _, aside = restore_backup(other, tmp_path / "a.tar", force=True)
    assert word_of(other) == "first" and (aside / "report.html").read_text() == "second"
    assert (other / "var" / "mlflow" / "users.db").exists() and (other / "var" / "cache").is_dir()


@pytest.mark.parametrize("content", [b"", b"no archive " * 999, b"PK\x03\x04" + b"\0" * 999])
def test_restore_backup_other_file_is_named_before_force_is_asked_for(project, tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tar is not a backup; .* nothing was changed"):
        restore_backup(project, tmp_path / "a.tar")
    assert word_of(project) == "first"
    write_backup(project, tmp_path / "b.tar")
    with pytest.raises(UserError, match="--force replaces it"):
        restore_backup(project, tmp_path / "b.tar")


@pytest.mark.parametrize(
    ("repository", "ignored", "noted"), [(True, "", True), (True, "*.tar", False), (False, "", False)]
)
def test_backup_file_that_git_would_add_is_noted(
    project, tmp_path, monkeypatch, capsys, repository, ignored, noted
):
    if repository:
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        (project / ".gitignore").write_text(f"var/\n{ignored}\n")
    monkeypatch.chdir(project)
    # The database of this project has no tables of MLflow.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    backup("records.tar")
    said = capsys.readouterr().out
    assert ("records.tar names people, and git does not ignore it" in said) == noted
    # Another place of the disk is none of this repository.
    backup(f"{tmp_path}/elsewhere.tar")
    assert "elsewhere.tar names people" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "member", "link", "outside"])
def test_restore_backup_damaged_archive_changes_nothing(project, tmp_path, damage):
    path = tmp_path / "a.tar"
    write_backup(project, path)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) * 2 // 3])
    elif damage == "flip":
        place = whole.index(b"firstfirst") + 3
        path.write_bytes(whole[:place] + b"X" + whole[place + 1 :])
    elif damage in ("empty", "text"):
        path.write_bytes(b"" if damage == "empty" else b"no archive " * 999)
    else:
        names = {"member": "up.json", "link": "summary.json", "outside": "labels/../../evil"}
        with tarfile.open(path, "w") as archive:
            about = tarfile.TarInfo(names[damage])
            about.type = tarfile.SYMTYPE if damage == "link" else tarfile.REGTYPE
            about.linkname = "/etc/passwd"
            archive.addfile(about, io.BytesIO())
    other = tmp_path / "other"
    lay(other, "second")
    before = sorted(str(found) for found in other.rglob("*"))
    with pytest.raises(UserError):
        restore_backup(other, path, force=True)
    assert sorted(str(found) for found in other.rglob("*")) == before and word_of(other) == "second"
    assert not (tmp_path / "evil").exists()


def test_restore_backup_running_process_is_refused(project, tmp_path):
    write_backup(project, tmp_path / "a.tar")
    (project / "var" / "mlflow" / "alive").mkdir()
    for name in ("mlflow/alive/0123", "up.json"):
        with (project / "var" / name).open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(UserError, match="stop it before"):
                restore_backup(project, tmp_path / "a.tar", force=True)


@pytest.mark.parametrize("moves", [0, 2, 4, 7, 9, 12])
def test_finish_restore_killed_at_any_rename_completes(project, tmp_path, monkeypatch, moves):
    write_backup(project, tmp_path / "a.tar")
    other = tmp_path / "other"
    lay(other, "second")
    done, rename = [], type(other).rename

    def dying(self, target):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(type(other), "rename", dying)
        with pytest.raises(KeyboardInterrupt):
            restore_backup(other, tmp_path / "a.tar", force=True)
    assert (other / INTENTION).exists()
    finish_restore(other)
    assert word_of(other) == "first" and not (other / INTENTION).exists()
    [aside] = (other / "var").glob("replaced-*")
    assert (aside / "labels" / "über & so.npz").read_text() == "second"
    assert sorted(os.listdir(other / "var" / "labels")) == ["über & so.npz"]
    assert json.loads((other / "var" / "summary.json").read_text()) == {}


def test_write_backup_new_project_is_refused(tmp_path):
    with pytest.raises(UserError, match="no records yet"):
        write_backup(tmp_path, tmp_path / "a.tar")


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))]
)
def test_write_backup_pipe_or_device_as_target_is_refused(project, tmp_path, make):
    target = tmp_path / "target"
    try:
        make(target)
    except PermissionError:
        pytest.skip("devices are made by root")
    before = target.stat()
    with pytest.raises(UserError, match="target is not a regular file and is not replaced"):
        write_backup(project, target, force=True)
    assert target.stat().st_ino == before.st_ino and target.stat().st_mode == before.st_mode


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize(("size", "name"), [("8k", "a.tar"), ("40k", "b.tar.gz"), ("80k", "c")])
def test_write_backup_full_disk_names_the_archive(project, tmp_path, size, name):
    (project / "var" / "report.html").write_bytes(os.urandom(200_000))
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    try:
        with pytest.raises(UserError, match=rf"{name} cannot be written \(No space left.*free space there"):
            write_backup(project, disk / name)
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="setpriv is not installed")
def test_backup_read_only_project_writes_archive_alone(project, tmp_path):
    target = tmp_path / "out" / "records.tar"
    target.parent.mkdir()
    for folder, _, files in os.walk(project / "var"):
        os.chmod(folder, 0o500)
        for name in files:
            os.chmod(os.path.join(folder, name), 0o400)
    # Root can write everywhere unless it drops these capabilities.
    taken = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*taken, sys.executable, "-m", "flows.cli.main", "backup", str(target)], cwd=project,
        env=checkout_environment(REPOSITORY), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in target.parent.iterdir()] == ["records.tar"]
    (tmp_path / "new").mkdir()
    restore_backup(tmp_path / "new", target)
    assert word_of(tmp_path / "new") == "first"


@pytest.mark.parametrize("content", [None, b"", b"no database at all"])
def test_backup_missing_or_damaged_registry_is_refused(project, tmp_path, monkeypatch, content):
    monkeypatch.chdir(project)
    for name in ("CHATMILL_DATABASE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    database = project / "var" / "mlflow.db"
    database.unlink()
    if content is not None:
        database.write_bytes(content)
    with pytest.raises(UserError, match=r"var/mlflow\.db, which contain.*(missing|empty|damaged).*restore"):
        backup(str(tmp_path / "a.tar"))
    assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize("content", [None, b"", b"no database at all", "no tables"])
@pytest.mark.parametrize("force", [False, True])
def test_write_backup_missing_or_damaged_judgements_keep_the_former_backup(project, tmp_path, content, force):
    target = tmp_path / ("a.tar" if force else "b.tar")
    write_backup(project, tmp_path / "a.tar")
    good = (tmp_path / "a.tar").read_bytes()
    database = project / "var" / "judgements.db"
    for path in project.glob("var/judgements.db*"):
        path.unlink()
    if content == "no tables":
        with closing(sqlite3.connect(database)) as store, store:
            store.execute("create table other (a text)")
    elif content is not None:
        database.write_bytes(content)
    with pytest.raises(
        UserError, match=r"^var/judgements\.db, which contain.*(missing|empty|damaged).*restore"
    ):
        write_backup(project, target, force)
    assert (tmp_path / "a.tar").read_bytes() == good and not (tmp_path / "b.tar").exists()
    if content is None:
        with pytest.raises(UserError, match="is missing"):
            choose_label_database(project, "postgresql+psycopg://db.example/labels")
        assert not (project / "var" / "label_store.json").exists()


def test_write_backup_without_a_label_page_needs_no_judgements(project, tmp_path):
    (project / "var" / "judgements.db").write_bytes(b"")
    (project / "var" / "stores.json").write_text("{}")
    made = write_backup(project, tmp_path / "a.tar")
    with tarfile.open(made.path) as archive:
        assert "judgements.db" not in archive.getnames()


# The ids are fixed: gzip's bytes hold the time, and each worker must collect the same names.
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"name: mine\n", id="preset"),
        pytest.param(b"PK\x03\x04" + b"\0" * 600, id="zip"),
        pytest.param(gzip.compress(b"rows " * 900), id="gzip"),
        pytest.param(b"\0" * 2048, id="zeros"),
        pytest.param("tar of rows", id="tar"),
    ],
)
def test_write_backup_other_file_is_kept_even_with_force(project, tmp_path, content):
    target = tmp_path / "smoke.yaml"
    if isinstance(content, str):
        with tarfile.open(target, "w") as archive:
            archive.addfile(tarfile.TarInfo("rows/a.jsonl"))
        content = target.read_bytes()
    target.write_bytes(content)
    with pytest.raises(UserError, match="is not a backup and is not replaced"):
        write_backup(project, target, force=True)
    assert target.read_bytes() == content and [path.name for path in tmp_path.glob("*.part")] == []


@pytest.mark.parametrize("name", ["records.tar", "records.tar.gz", "x.tgz"])
@pytest.mark.parametrize("keeps", [1.0, 0.5, 0.0])
def test_write_backup_force_replaces_whole_truncated_or_empty_backup(project, tmp_path, name, keeps):
    target = tmp_path / name
    write_backup(project, target)
    content = target.read_bytes()
    target.write_bytes(content[: int(len(content) * keeps)])
    with pytest.raises(UserError, match="exists; name another file"):
        write_backup(project, target)
    assert write_backup(project, target, force=True).files == 8


@pytest.mark.parametrize("place", ["var/x.tar", "var/mlflow/x.tar", "data", "data/new.tar", "link/x.tar"])
def test_write_backup_into_folder_that_chatmill_empties_is_refused(project, place):
    (project / "data").mkdir()
    (project / "link").symlink_to("data")
    with pytest.raises(
        UserError, match=r"is in (var|data)/, which chatmill writes to; name a file elsewhere"
    ):
        write_backup(project, project / place)
    assert list((project / "data").iterdir()) == []


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("moment", ["database", "end"])
@pytest.mark.parametrize("name", ["records.tar", "records.tar.gz", "backups"])
def test_write_backup_removes_what_a_killed_one_left(project, tmp_path, moment, name):
    (tmp_path / "backups").mkdir()
    target = tmp_path / name

    def write():
        setattr(*((archive, "_record_files") if moment == "database" else (os, "fsync")), die)
        write_backup(project, target)

    assert run_killed(write, NO_OPERATION, project)
    left = [*tmp_path.rglob("*.part"), *(project / "var").glob("chatmill-backup-*")]
    assert len(left) == (2 if moment == "database" else 1)
    mine = tmp_path / "records.tar.9.part"
    mine.write_text("not a backup")
    write_backup(project, target)
    assert [*tmp_path.rglob("*.part"), *(project / "var").glob("chatmill-backup-*")] == [mine]


def test_write_backup_keeps_the_parts_of_a_living_one(project, tmp_path):
    part, scratch = tmp_path / "records.tar.9.part", project / "var" / "chatmill-backup-x"
    write_backup(project, part)
    scratch.mkdir()
    with part.open("rb") as file:
        held = os.open(scratch, os.O_RDONLY)
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.flock(held, fcntl.LOCK_EX)
        write_backup(project, tmp_path / "records.tar")
        assert part.exists() and scratch.exists()
        os.close(held)
