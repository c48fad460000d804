"""Versions of the data: sent and fetched, by folder and by S3; what breaks them, and where they are found."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.surroundings import free_port
from model.errors import UserError
from tasks import history, remotes, versions
from tasks.difference import WORKING, Count, compare
from tasks.records import Record, pair_row, text_row, write_rows

BUCKET = "chatmill-versions"
SECRET = "not-to-be-written-anywhere"


def lay(root: Path, *rows: Record, shards: int = 2) -> None:
    """`data/` of these rows, each kind in so many shards of a range of ids each."""
    shutil.rmtree(root / "data", ignore_errors=True)
    names = {"Text": "text", "Pair": "pairs"}
    for kind in ("text", "pairs", "comparisons", "ratings"):
        own = sorted((row for row in rows if names[type(row).__name__] == kind), key=lambda row: row.id)
        for number in range(shards):
            part = own[number * len(own) // shards : (number + 1) * len(own) // shards]
            write_rows(root / "data" / kind / f"{number:05}.jsonl", part)


def meta(sources: str, **rows: int) -> dict[str, Any]:
    return {"sources": sources, "rows": rows}


def texts(*words: str) -> list[Record]:
    return [text_row(word, "tales") for word in words]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    found.mkdir()
    lay(found, *texts("one", "two", "three"))
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "WAITS", (0.05, 0.1))


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(root), *identity, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bare_clone(root: Path, tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(root / "data.dvc", clone / "data.dvc")
    return clone


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root / "data")): path.read_bytes()
        for path in sorted((root / "data").rglob("*.jsonl"))
    }


def test_the_pointer_says_what_made_it_and_in_which_layout(root: Path) -> None:
    found = versions.add(root, "", meta("abc", text=3))
    pointer = versions.read_pointer(root)
    assert pointer == {"md5": found, "meta": {"layout": 2, "sources": "abc", "rows": {"text": 3}}}
    assert not versions.former(pointer)


def test_rows_set_aside_are_no_part_of_a_version_in_any_project(root: Path) -> None:
    before = versions.folder_hash(root)
    (root / "data" / "quarantine").mkdir()
    (root / "data" / "quarantine" / "text.jsonl").write_text("{}\n")
    assert versions.folder_hash(root) == before
    ignored = (root / ".dvcignore").read_text().splitlines()
    assert ignored.count("/data/quarantine") == 1


def test_an_ignore_file_of_ones_own_is_kept(root: Path) -> None:
    (root / ".dvcignore").write_text("*.tmp")
    versions.folder_hash(root)
    versions.folder_hash(root)
    lines = (root / ".dvcignore").read_text().splitlines()
    assert lines[0] == "*.tmp" and lines.count("/data/quarantine") == 1


def test_a_folder_keeps_versions_and_gives_them_back(root: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    versions.add(root, remote, meta("a", text=3))
    clone = bare_clone(root, tmp_path)
    assert versions.pull(clone, remote)
    assert contents(clone) == contents(root)


def test_a_folder_by_a_relative_path_is_beside_the_project(root: Path, tmp_path: Path) -> None:
    versions.add(root, "../kept", meta("a", text=3))
    assert list((tmp_path / "kept").rglob("*.dir"))


def test_a_remote_that_lacks_the_version_changes_nothing(root: Path, tmp_path: Path) -> None:
    versions.add(root, "", meta("a", text=3))
    clone = bare_clone(root, tmp_path)
    assert not versions.pull(clone, str(tmp_path / "empty"))
    assert not (clone / "data").exists()


def test_a_version_that_is_half_there_is_none(root: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    versions.add(root, str(remote), meta("a", text=3))
    files = [path for path in remote.rglob("*") if path.is_file() and path.suffix != ".dir"]
    biggest = max(files, key=lambda path: path.stat().st_size)
    biggest.chmod(0o644)
    biggest.write_bytes(biggest.read_bytes()[:-3])
    assert not versions.pull(bare_clone(root, tmp_path), str(remote))


def test_what_was_made_before_there_was_a_remote_is_sent_later(root: Path, tmp_path: Path) -> None:
    versions.add(root, "", meta("a", text=3))
    shutil.rmtree(root / ".dvc" / "cache")  # as in a clone that made the same rows again
    versions.push(root, str(tmp_path / "remote"))
    assert versions.pull(bare_clone(root, tmp_path), str(tmp_path / "remote"))


def test_a_version_that_is_not_here_cannot_be_sent(root: Path, tmp_path: Path) -> None:
    versions.add(root, "", meta("a", text=3))
    shutil.rmtree(root / ".dvc" / "cache")
    lay(root, *texts("other"))
    with pytest.raises(UserError, match="is not here to be sent"):
        versions.push(root, str(tmp_path / "remote"))


def hold_lock(root: str, seconds: float, held: Any) -> None:
    """In a process of its own: DVC's lock is a process's."""
    from dvc.repo import Repo

    with Repo(root) as repo, repo.lock:
        held.set()
        time.sleep(seconds)


def test_a_lock_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "WAITS", (1.0, 1.0, 1.0, 1.0))
    versions.add(root, "", meta("a", text=3))
    lay(root, *texts("one", "two"))
    start = multiprocessing.get_context("spawn")
    held = start.Event()
    other = start.Process(target=hold_lock, args=(str(root), 6.0, held))
    other.start()
    assert held.wait(60)
    versions.add(root, "", meta("b", text=2))
    other.join()
    assert versions.read_pointer(root)["meta"]["rows"] == {"text": 2}


def test_a_lock_is_not_waited_for_for_ever(quick: None) -> None:
    from dvc.lock import LockError

    tries = []

    def action() -> None:
        tries.append(1)
        raise LockError("held")

    with pytest.raises(UserError, match="another program holds DVC's lock"):
        remotes.again(action)
    assert len(tries) == 3


def test_a_disk_that_is_full_is_said_at_once() -> None:
    tries = []

    def action() -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="no space is left on the disk of /mnt/kept"):
        remotes.again(action, "/mnt/kept")
    assert len(tries) == 1


def test_a_mistake_of_ours_is_not_dressed_up() -> None:
    def action() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        remotes.again(action, "s3://bucket")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)


def serve(port: int) -> Any:
    """moto's S3 on loopback, with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{port}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
    return server


@pytest.fixture
def endpoint(aws: None) -> Iterator[str]:
    port = free_port()
    server = serve(port)
    yield f"http://127.0.0.1:{port}"
    server.stop()


REMOTE = f"s3://{BUCKET}/kept"


def test_a_bucket_keeps_versions_and_gives_them_back(root: Path, tmp_path: Path, endpoint: str) -> None:
    first = versions.add(root, REMOTE, meta("a", text=3), endpoint)
    lay(root, *texts("one", "two", "three", "four"))
    assert versions.add(root, REMOTE, meta("b", text=4), endpoint) != first
    clone = bare_clone(root, tmp_path)
    assert versions.pull(clone, REMOTE, endpoint)
    assert contents(clone) == contents(root)
    assert versions.pull(clone, REMOTE, endpoint)


def test_nothing_secret_is_written(root: Path, tmp_path: Path, endpoint: str) -> None:
    versions.add(root, REMOTE, meta("a", text=3), endpoint)
    written = [path for path in root.rglob("*") if path.is_file()]
    assert any(endpoint.encode() in path.read_bytes() for path in written)
    for path in written:
        assert SECRET.encode() not in path.read_bytes() and b"somebody" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("remote", "endpoint", "names"),
    [
        ("s3://me:word@bucket/x", "", "data.remote"),
        ("s3://bucket/x", "https://me:word@store.example", "data.endpoint"),
        ("https://store.example/x?token=abc", "", "data.remote"),
    ],
)
def test_an_address_with_a_password_is_refused(root: Path, remote: str, endpoint: str, names: str) -> None:
    with pytest.raises(UserError, match=rf"^{names} holds a password or a query; credentials are taken"):
        versions.add(root, remote, meta("a", text=3), endpoint)
    assert not (root / ".dvc" / "config.local").exists()


def test_a_server_that_comes_late_is_waited_for(
    root: Path, tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remotes, "WAITS", (0.5, 1.0, 2.0, 4.0, 8.0))
    port, started = free_port(), []

    def late() -> None:
        time.sleep(1.0)
        started.append(serve(port))

    thread = threading.Thread(target=late)
    thread.start()
    try:
        versions.add(root, REMOTE, meta("a", text=3), f"http://127.0.0.1:{port}")
        assert versions.pull(bare_clone(root, tmp_path), REMOTE, f"http://127.0.0.1:{port}")
    finally:
        thread.join()
        started[0].stop()


def test_a_server_that_is_gone_is_one_sentence_and_the_version_stands(
    root: Path, aws: None, quick: None
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=rf"^{REMOTE} does not answer \(.*\); nothing was lost, try again$"):
        versions.add(root, REMOTE, meta("a", text=3), address)
    pointer = versions.read_pointer(root)
    assert pointer is not None and pointer["md5"] == versions.folder_hash(root)


def tried(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(remotes.time, "sleep", waited.append)
    return waited


def test_a_missing_bucket_is_said_at_once(root: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = tried(monkeypatch)
    with pytest.raises(UserError, match=r"^s3://no-such-bucket/x: there is no such bucket; make it"):
        versions.add(root, "s3://no-such-bucket/x", meta("a", text=3), endpoint)
    assert waited == []


def test_missing_credentials_are_said_at_once(
    root: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    waited = tried(monkeypatch)
    with pytest.raises(UserError, match="there are no credentials; set AWS_ACCESS_KEY_ID"):
        versions.add(root, REMOTE, meta("a", text=3), endpoint)
    assert waited == []


def test_refused_credentials_are_said_at_once(
    root: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From here on moto looks at who asks, and it knows nobody.
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    waited = tried(monkeypatch)
    with pytest.raises(UserError, match=rf"^{REMOTE} refuses these credentials \(InvalidAccessKeyId\)"):
        versions.add(root, REMOTE, meta("a", text=3), endpoint)
    assert waited == []


def test_what_a_remote_needs_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    with pytest.raises(UserError, match=r"needs DVC's plugin for s3; `pip install chatmill\[s3\]`"):
        versions.add(root, REMOTE, meta("a", text=3))


def test_an_address_that_dvc_does_not_know_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.remote ftps://x/y is no address that DVC knows"):
        versions.add(root, "ftps://x/y", meta("a", text=3))


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


def test_a_pointer_of_the_former_layout_says_what_to_do(root: Path, tmp_path: Path) -> None:
    (root / "data.dvc").write_text(FORMER)
    pointer = versions.read_pointer(root)
    assert pointer is not None and versions.former(pointer)
    says = versions.mismatch(pointer, versions.folder_hash(root))
    assert "former layout" in says and "data.accept=true" in says and "parsers" not in says
    # Pulled, it would put files where folders are.
    assert not versions.pull(root, str(tmp_path / "remote"))
    assert (root / "data" / "text" / "00000.jsonl").exists()
    versions.add(root, "", meta("c92c29", text=3))
    assert "parsers changed" in versions.mismatch(versions.read_pointer(root), "x")


def test_the_log_has_every_version_that_was_committed_and_the_one_that_is_not(root: Path) -> None:
    git(root, "init", "-q")
    first = versions.add(root, "", meta("a", text=3))
    git(root, "add", "data.dvc")
    git(root, "commit", "-qm", "The first labels")
    lay(root, *texts("one", "two"))
    never = versions.add(root, "", meta("b", text=2))
    lay(root, *texts("one"))
    second = versions.add(root, "", meta("b", text=1))
    git(root, "commit", "-qam", "Fewer")
    lay(root, *texts("one", "nine"))
    third = versions.add(root, "", meta("c", text=2))
    found = history.log(root)
    assert found[0].hash == third and found[0].commit == ""
    assert {version.hash for version in found} == {first, never, second, third}
    committed = [version for version in found if version.commit]
    assert [version.hash for version in committed] == [second, first]
    assert [version.subject for version in committed] == ["Fewer", "The first labels"]
    assert committed[0].rows == {"text": 1} and committed[0].sources == "b"
    assert all(version.date for version in found)
    assert history.last_accepted(root) == second


def test_without_git_the_versions_of_this_folder_are_known(root: Path) -> None:
    first = versions.add(root, "", meta("a", text=3))
    lay(root, *texts("one", "two"))
    second = versions.add(root, "", meta("b", text=2))
    assert [version.hash for version in history.log(root)] == [second, first]
    assert history.last_accepted(root) == first
    assert history.find(root, first[:8]) == first


def test_a_version_that_comes_back_is_remembered_once(root: Path) -> None:
    first = versions.add(root, "", meta("a", text=3))
    lay(root, *texts("one", "two"))
    versions.add(root, "", meta("b", text=2))
    lay(root, *texts("one", "two", "three"))
    assert versions.add(root, "", meta("a", text=3)) == first
    assert len(versions.remembered(root)) == 2


def test_there_is_nothing_to_compare_with_before_the_second_version(root: Path) -> None:
    versions.add(root, "", meta("a", text=3))
    with pytest.raises(UserError, match="there is no earlier version"):
        history.last_accepted(root)


def test_a_version_is_found_by_revision_and_by_hash(root: Path) -> None:
    git(root, "init", "-q")
    first = versions.add(root, "", meta("a", text=3))
    git(root, "add", "data.dvc")
    git(root, "commit", "-qm", "a")
    git(root, "tag", "labels-1")
    (root / "other").write_text("x")
    git(root, "add", "other")
    git(root, "commit", "-qm", "b")
    for name in ("labels-1", "HEAD", "HEAD~1", git(root, "rev-parse", "HEAD"), first, first[:6], first[:32]):
        assert history.find(root, name) == first
    git(root, "rm", "-q", "data.dvc")
    git(root, "commit", "-qm", "c")
    with pytest.raises(UserError, match=r"data\.dvc is not there at HEAD"):
        history.find(root, "HEAD")


@pytest.mark.parametrize("name", ["nothing", "abc", "--all", "zzzzzz", ""])
def test_what_is_no_version_is_said(root: Path, name: str) -> None:
    versions.add(root, "", meta("a", text=3))
    with pytest.raises(UserError, match="is no version: neither a git revision nor 4 or more digits"):
        history.find(root, name)


def test_a_beginning_that_two_versions_share_names_both(root: Path) -> None:
    entries = [{"md5": f"abcd{n}{'0' * 27}.dir", "meta": {}, "made": ""} for n in (1, 2)]
    path = root / versions.KNOWN
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"md5": "tor')
    with pytest.raises(UserError, match=r"abcd begins abcd2\d+ and abcd1\d+; write more"):
        history.find(root, "abcd")
    assert history.find(root, "abcd1") == entries[0]["md5"]


def test_rows_are_added_changed_and_gone_by_kind_and_source(root: Path) -> None:
    lay(
        root, *texts("one", "two", "three"),
        pair_row("What is a nat?", "A small fly.", "chat", "nat"),
        pair_row("And a bit?", "A part.", "chat", "bit"),
        pair_row("Kept?", "Yes.", "chat", "kept", ["Yes."]),
    )  # fmt: skip
    before = versions.add(root, "", meta("a", text=3, pairs=3))
    lay(
        root, *texts("one", "three", "four", "five"),
        pair_row("What is a nat?", "A unit.", "chat", "nat"),
        pair_row("Kept?", "Yes.", "chat", "kept", ["Yes.", "Yes"]),
        pair_row("New?", "Yes.", "other", "new"),
        shards=3,
    )  # fmt: skip
    after = versions.add(root, "", meta("b", text=4, pairs=3))
    wanted = [
        Count("text", "tales", 2, 0, 1),
        Count("pairs", "chat", 0, 2, 1),
        Count("pairs", "other", 1, 0, 0),
    ]
    found = compare(root, before, after, rows=1)
    assert found.counts == wanted
    assert compare(root, before, WORKING).counts == wanted
    assert compare(root, before, WORKING).examples == []
    back = compare(root, after, before).counts
    assert [(c.source, c.added, c.changed, c.gone) for c in back] == [
        ("tales", 1, 0, 2), ("chat", 1, 2, 0), ("other", 0, 0, 1),
    ]  # fmt: skip
    assert compare(root, after, after).counts == []
    shown = {(e.kind, bool(e.before), bool(e.now)): e for e in found.examples}
    assert len(shown) == len(found.examples) == 5
    assert shown["text", True, False].before == "two [tales]"
    assert shown["pairs", True, False].before == "And a bit? → A part. [chat]"
    assert len(compare(root, before, after, rows=9).examples) == 7


def test_a_mended_answer_is_shown_before_and_after(root: Path) -> None:
    lay(root, pair_row("What is a nat?", "A fly.", "chat", "nat"))
    before = versions.add(root, "", meta("a", pairs=1))
    lay(root, pair_row("What is a nat?", "A unit.", "chat", "nat"))
    (example,) = compare(root, before, WORKING, rows=3).examples
    assert (example.before, example.now) == (
        "What is a nat? → A fly. [chat]",
        "What is a nat? → A unit. [chat]",
    )


def test_what_is_missing_comes_from_the_remote_and_data_stays(root: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    before = versions.add(root, remote, meta("a", text=3))
    lay(root, *texts("one", "two"))
    after = versions.add(root, remote, meta("b", text=2))
    shutil.rmtree(root / ".dvc" / "cache")
    lay(root, *texts("something else"))
    now = contents(root)
    assert compare(root, before, after).counts == [Count("text", "tales", 0, 0, 1)]
    assert contents(root) == now


def test_a_version_that_is_nowhere_is_one_sentence(root: Path, tmp_path: Path) -> None:
    before = versions.add(root, "", meta("a", text=3))
    shutil.rmtree(root / ".dvc" / "cache")
    with pytest.raises(UserError, match=r"not in DVC's cache on this machine, and no remote is known"):
        compare(root, before, WORKING)
    with versions.repository(root) as repo:
        remotes.set_remote(repo, root, str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"is not to be had: neither DVC's cache .* nor the remote"):
        compare(root, before, WORKING)


def test_a_version_of_the_former_layout_can_be_compared(root: Path) -> None:
    shutil.rmtree(root / "data")
    write_rows(root / "data" / "text.jsonl", texts("one", "two"))
    before = versions.add(root, "", meta("a", text=2))
    lay(root, *texts("one", "two", "three"))
    assert compare(root, before, WORKING).counts == [Count("text", "tales", 1, 0, 0)]


def test_rows_out_of_order_are_named(root: Path) -> None:
    versions.add(root, "", meta("a", text=3))
    before = versions.read_pointer(root)["md5"]
    path = root / "data" / "text" / "00001.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match=r"data/text/00001\.jsonl of working, line 2: id .* stands after"):
        compare(root, before, WORKING)


def test_a_row_that_is_broken_is_named(root: Path) -> None:
    before = versions.add(root, "", meta("a", text=3))
    path = root / "data" / "text" / "00001.jsonl"
    path.write_text(path.read_text()[:-10] + "\n")
    with pytest.raises(UserError, match=r"data/text: the row [0-9a-f]{16} is broken"):
        compare(root, before, WORKING)


def test_the_pointer_of_the_project_itself_is_read() -> None:
    path = Path(__file__).parents[2] / "data.dvc"
    assert versions.parse_pointer(path.read_text(), path)["md5"].endswith(".dir")


def test_a_broken_pointer_is_named(root: Path) -> None:
    for text in ("outs: [", "outs: {}", "[]", yaml.safe_dump({"outs": [{}]})):
        (root / "data.dvc").write_text(text)
        with pytest.raises(UserError, match=r"data\.dvc is broken .*git checkout data\.dvc"):
            versions.read_pointer(root)
