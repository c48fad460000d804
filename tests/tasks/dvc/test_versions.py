"""Test data versions: the pointer, remote folders, DVC's lock, and the former layout."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.dvc import remote as remotes
from tasks.dvc import version_list, versions
from tasks.dvc.pointer_file import explain_mismatch, is_former_layout, parse_pointer, read_pointer
from tests.tasks.dvc_project import bare_clone, contents, lay, meta, texts, three_texts
from tests.waiting import PATIENCE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return three_texts(tmp_path / "project")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "WAITS", (0.05, 0.1))


def test_add_version_pointer_has_layout_and_sources(root: Path) -> None:
    found = versions.add_version(root, "", meta("abc", text=3))
    pointer = read_pointer(root)
    assert pointer == {"md5": found, "meta": {"layout": 2, "sources": "abc", "rows": {"text": 3}}}
    assert not is_former_layout(pointer)


def test_folder_hash_quarantine_is_left_out(root: Path) -> None:
    before = versions.folder_hash(root)
    (root / "data" / "quarantine").mkdir()
    (root / "data" / "quarantine" / "text.jsonl").write_text("{}\n")
    assert versions.folder_hash(root) == before
    versions.add_version(root, "", meta("a", text=3))
    ignored = (root / ".dvcignore").read_text().splitlines()
    assert ignored.count("/data/quarantine") == 1


def test_add_version_dvcignore_of_user_is_kept(root: Path) -> None:
    (root / ".dvcignore").write_text("*.tmp")
    versions.add_version(root, "", meta("a", text=3))
    versions.add_version(root, "", meta("b", text=3))
    lines = (root / ".dvcignore").read_text().splitlines()
    assert lines[0] == "*.tmp" and lines.count("/data/quarantine") == 1


def test_pull_data_folder_remote_returns_version(root: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    versions.add_version(root, remote, meta("a", text=3))
    clone = bare_clone(root, tmp_path)
    assert versions.pull_data(clone, remote)
    assert contents(clone) == contents(root)


def test_add_version_relative_remote_is_beside_project(root: Path, tmp_path: Path) -> None:
    versions.add_version(root, "../kept", meta("a", text=3))
    assert list((tmp_path / "kept").rglob("*.dir"))


def test_pull_data_remote_without_version_changes_nothing(root: Path, tmp_path: Path) -> None:
    versions.add_version(root, "", meta("a", text=3))
    clone = bare_clone(root, tmp_path)
    assert not versions.pull_data(clone, str(tmp_path / "empty"))
    assert not (clone / "data").exists()


def test_pull_data_truncated_version_is_refused(root: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    versions.add_version(root, str(remote), meta("a", text=3))
    files = [path for path in remote.rglob("*") if path.is_file() and path.suffix != ".dir"]
    biggest = max(files, key=lambda path: path.stat().st_size)
    biggest.chmod(0o644)
    biggest.write_bytes(biggest.read_bytes()[:-3])
    assert not versions.pull_data(bare_clone(root, tmp_path), str(remote))


def test_push_data_version_before_remote_is_sent(root: Path, tmp_path: Path) -> None:
    versions.add_version(root, "", meta("a", text=3))
    shutil.rmtree(root / ".dvc" / "cache")  # as in a clone that made the rows itself
    versions.push_data(root, str(tmp_path / "remote"))
    assert versions.pull_data(bare_clone(root, tmp_path), str(tmp_path / "remote"))


def test_push_data_incomplete_version_is_refused(root: Path, tmp_path: Path) -> None:
    versions.add_version(root, "", meta("a", text=3))
    shutil.rmtree(root / ".dvc" / "cache")
    lay(root, *texts("other"))
    with pytest.raises(UserError, match="is not here whole, so it was not sent"):
        versions.push_data(root, str(tmp_path / "remote"))


def hold_lock(root: str, seconds: float, held: Any) -> None:
    """Hold DVC's lock; runs in its own process, because the lock belongs to a process."""
    from dvc.repo import Repo

    with Repo(root) as repo, repo.lock:
        held.set()
        time.sleep(seconds)


def test_add_version_held_lock_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "WAITS", (1.0, 1.0, 1.0, 1.0))
    versions.add_version(root, "", meta("a", text=3))
    lay(root, *texts("one", "two"))
    start = multiprocessing.get_context("spawn")
    held = start.Event()
    other = start.Process(target=hold_lock, args=(str(root), 6.0, held))
    other.start()
    assert held.wait(PATIENCE)
    versions.add_version(root, "", meta("b", text=2))
    other.join()
    assert read_pointer(root)["meta"]["rows"] == {"text": 2}


def open_at(root: str, moment: float, errors: Any) -> None:
    """Open the repository at a moment; runs in its own process."""
    import dvc.repo  # noqa: F401

    time.sleep(max(0.0, moment - time.time()))
    try:
        with versions.open_repository(Path(root)):
            errors.put("")
    except BaseException as error:
        errors.put(repr(error))


def test_open_repository_several_at_once_in_new_project_succeed(tmp_path: Path) -> None:
    start = multiprocessing.get_context("spawn")
    errors = start.Queue()
    moment = time.time() + 4.0
    others = [start.Process(target=open_at, args=(str(tmp_path), moment, errors)) for _ in range(3)]
    for other in others:
        other.start()
    assert [errors.get(timeout=PATIENCE) for _ in others] == ["", "", ""]
    for other in others:
        other.join()
    assert (tmp_path / ".dvc/config").is_file() and "/data/quarantine" in (
        tmp_path / ".dvcignore"
    ).read_text()


def test_retry_action_held_lock_gives_up(quick: None) -> None:
    from dvc.lock import LockError

    tries = []

    def action() -> None:
        tries.append(1)
        raise LockError("held")

    with pytest.raises(UserError, match="another program holds DVC's lock"):
        remotes.retry_action(action)
    assert len(tries) == 3


def test_retry_action_full_disk_is_not_retried() -> None:
    tries = []

    def action() -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="no space is left on the disk of /mnt/kept"):
        remotes.retry_action(action, "/mnt/kept")
    assert len(tries) == 1


def test_retry_action_program_error_is_raised() -> None:
    def action() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        remotes.retry_action(action, "s3://bucket")


FORMER = """outs:
- md5: 640fe5cd15b70663582f64456aa29783.dir
  size: 39686577
  nfiles: 4
  hash: md5
  path: data
meta:
  sources: c92c29
  rows:
    text: 37704
"""


def test_explain_mismatch_former_layout_says_what_to_do(root: Path, tmp_path: Path) -> None:
    (root / "data.dvc").write_text(FORMER)
    pointer = read_pointer(root)
    assert pointer is not None and is_former_layout(pointer)
    says = explain_mismatch(pointer, versions.folder_hash(root))
    assert "former layout" in says and "data.accept_changes=true" in says and "parsers" not in says
    # A pull would put files where folders are.
    assert not versions.pull_data(root, str(tmp_path / "remote"))
    assert (root / "data" / "text" / "00000.jsonl").exists()
    versions.add_version(root, "", meta("c92c29", text=3))
    assert "the parsers changed, or data.dvc was edited" in explain_mismatch(read_pointer(root), "x")


def test_parse_pointer_of_this_project_is_read() -> None:
    path = Path(__file__).parents[3] / "data.dvc"
    assert parse_pointer(path.read_text(), path)["md5"].endswith(".dir")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"), (b"# nothing\n", "it is empty"), (b"null\n", "it is empty"),
        (b"outs:\n", "has no outs with an md5"), (b"- 1\n", "no outs"), (b"outs: [{path: data}]", "no outs"),
        (b"outs: {}", "no outs"), (b"[]", "no outs"), (b"outs:\n- {}\n", "no outs"),
        (b"outs: [", "not valid YAML from line"), (b"outs: {md5", "not valid YAML from line"),
        (b"\xff\xfe\x81", "it is not text"), (b"[" * 100_000, "not valid YAML"),
        (b"outs: [{md5: a}]\nmeta: words\n", "no outs"),
    ],
)  # fmt: skip
def test_read_pointer_broken_file_is_refused_with_remedy(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "data.dvc").write_bytes(content)
    with pytest.raises(UserError, match=rf"data\.dvc is broken \(.*{says}.*git checkout data\.dvc") as caught:
        read_pointer(tmp_path)
    assert "NoneType" not in str(caught.value)


@pytest.mark.parametrize("mark", ["<<<<<<< HEAD\n", "<<<<<<< Updated upstream\n", "<<<<<<<\n"])
def test_read_pointer_merge_conflict_is_named_with_line(root: Path, mark: str) -> None:
    text = f"outs:\n{mark}- md5: 1.dir\n=======\n- md5: 2.dir\n>>>>>>> other\n"
    (root / "data.dvc").write_text(text)
    with pytest.raises(UserError, match=r"data\.dvc has a merge conflict in line 2; .*git checkout --ours"):
        read_pointer(root)


@pytest.mark.parametrize("layout", ["x", "[2]", "{a: 1}"])
def test_read_pointer_odd_layout_is_refused(root: Path, layout: str) -> None:
    (root / "data.dvc").write_text(f"outs: [{{md5: 1.dir}}]\nmeta: {{layout: {layout}}}\n")
    with pytest.raises(UserError, match=r"data\.dvc is broken"):
        read_pointer(root)


@pytest.mark.parametrize(
    "damage",
    ["rows: {text: abc}", "rows: {text: [3]}", "rows: {text: .inf}", "rows: {}, withdrawn: 7",
     "rows: {}, withdrawn: {members: words}"],
)  # fmt: skip
def test_read_pointer_damaged_meta_is_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "data.dvc").write_text(f"outs: [{{md5: 1.dir}}]\nmeta: {{sources: a, {damage}}}\n")
    with pytest.raises(UserError, match=r"data\.dvc is broken .*git checkout data\.dvc"):
        read_pointer(tmp_path)


def test_remembered_versions_damaged_lines_are_left_out(root: Path) -> None:
    version = versions.add_version(root, "", meta("a", text=3))
    with (root / version_list.KNOWN).open("ab") as file:
        file.write(b'\xff\xfe\x00\n[]\n{"md5": 5}\n')
    assert [entry["md5"] for entry in version_list.remembered_versions(root)] == [version]


@pytest.mark.parametrize(
    "damage",
    [
        "rm -r .git",
        "rm -r .git/objects .git/refs",
        "rm -r .git && mkdir .git",
        "rm -r .git && echo other > .git",
        "rm -r .git && echo gitdir: /nowhere > .git",
        ": > .git/HEAD",
        "echo '[core' > .git/config",
        "printf 'a\\377b' > .git/config",
        "rm -r .git && git init -q --object-format=sha256",
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_add_version_git_that_dvc_cannot_read(root: Path, damage: str, known: bool) -> None:
    subprocess.run(["git", "init", "-q", root], check=True)
    if known:
        versions.add_version(root, "", meta("a", text=3))
    subprocess.run(damage, shell=True, check=True, cwd=root)
    lay(root, *texts("one", "two"))
    found = versions.add_version(root, "", meta("b", text=2))
    pointer = read_pointer(root)
    assert pointer and pointer["md5"] == found
    with versions.open_repository(root) as repo:
        assert repo.cache.local.exists(found)


def test_open_repository_notes_of_dvc_are_in_the_project(root: Path) -> None:
    versions.add_version(root, "", meta("a", text=3))
    with versions.open_repository(root) as repo:
        notes = Path(repo.site_cache_dir)
    assert notes.is_relative_to(root / "var" / "cache") and notes.is_dir()
    assert (root / "var").stat().st_mode & 0o777 == 0o700
