"""Test data versions in an S3 bucket, and errors of servers and credentials."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.servers.environment import free_port
from model.errors import UserError
from tasks.dvc import remote as remotes
from tasks.dvc import versions
from tasks.dvc.pointer_file import read_pointer
from tests.tasks.dvc_project import bare_clone, contents, lay, meta, texts, three_texts
from tests.tasks.ingest_project import first

BUCKET = "chatmill-versions"
SECRET = "not-to-be-written-anywhere"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return three_texts(tmp_path / "project")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "WAITS", (0.05, 0.1))


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
    """Start moto's S3 on loopback with an empty bucket."""
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


def test_pull_data_s3_bucket_returns_version(root: Path, tmp_path: Path, endpoint: str) -> None:
    first = versions.add_version(root, REMOTE, meta("a", text=3), endpoint)
    lay(root, *texts("one", "two", "three", "four"))
    assert versions.add_version(root, REMOTE, meta("b", text=4), endpoint) != first
    clone = bare_clone(root, tmp_path)
    assert versions.pull_data(clone, REMOTE, endpoint)
    assert contents(clone) == contents(root)
    assert versions.pull_data(clone, REMOTE, endpoint)


def test_add_version_s3_credentials_are_not_written(root: Path, tmp_path: Path, endpoint: str) -> None:
    versions.add_version(root, REMOTE, meta("a", text=3), endpoint)
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
def test_add_version_password_in_address_is_refused(
    root: Path, remote: str, endpoint: str, names: str
) -> None:
    with pytest.raises(UserError, match=rf"^{names} contains a password or a query; set credentials"):
        versions.add_version(root, remote, meta("a", text=3), endpoint)
    assert not (root / ".dvc" / "config.local").exists()


def test_add_version_late_server_is_waited_for(
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
        versions.add_version(root, REMOTE, meta("a", text=3), f"http://127.0.0.1:{port}")
        assert versions.pull_data(bare_clone(root, tmp_path), REMOTE, f"http://127.0.0.1:{port}")
    finally:
        thread.join()
        started[0].stop()


def test_add_version_unreachable_server_is_refused_pointer_stays(root: Path, aws: None, quick: None) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=rf"^{REMOTE} is unreachable \(.*\); nothing was lost; try again$"):
        versions.add_version(root, REMOTE, meta("a", text=3), address)
    pointer = read_pointer(root)
    assert pointer is not None and pointer["md5"] == versions.folder_hash(root)


def tried(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(remotes.time, "sleep", waited.append)
    return waited


def test_add_version_missing_bucket_is_not_retried(
    root: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = tried(monkeypatch)
    with pytest.raises(UserError, match=r"^s3://no-such-bucket/x: the bucket does not exist; create it"):
        versions.add_version(root, "s3://no-such-bucket/x", meta("a", text=3), endpoint)
    assert waited == []


def test_add_version_missing_credentials_are_not_retried(
    root: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    waited = tried(monkeypatch)
    with pytest.raises(UserError, match="there are no credentials; set AWS_ACCESS_KEY_ID"):
        versions.add_version(root, REMOTE, meta("a", text=3), endpoint)
    assert waited == []


def test_add_version_refused_credentials_are_not_retried(
    root: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From here on moto checks credentials, and it knows none.
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    waited = tried(monkeypatch)
    with pytest.raises(UserError, match=rf"^{REMOTE} rejects these credentials \(InvalidAccessKeyId\)"):
        versions.add_version(root, REMOTE, meta("a", text=3), endpoint)
    assert waited == []


def test_add_version_missing_dvc_plugin_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    with pytest.raises(UserError, match=r"needs DVC's plugin for s3; `pip install chatmill\[s3\]`"):
        versions.add_version(root, REMOTE, meta("a", text=3))


def test_add_version_unknown_scheme_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.remote ftps://x/y is not an address that DVC supports"):
        versions.add_version(root, "ftps://x/y", meta("a", text=3))


def test_push_data_damaged_bucket_is_repaired(root: Path, tmp_path: Path, endpoint: str) -> None:
    import boto3

    version = versions.add_version(root, REMOTE, meta("a", text=3), endpoint)
    client = boto3.client("s3", endpoint_url=endpoint)
    found = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    key = max((each for each in found if not each["Key"].endswith(".dir")), key=lambda each: each["Size"])[
        "Key"
    ]
    content = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.put_object(Bucket=BUCKET, Key=key, Body=content[:-1] + b"?")
    clone = bare_clone(root, tmp_path)
    assert not versions.pull_data(clone, REMOTE, endpoint)
    lay(clone, *texts("one", "two", "three"))
    assert versions.folder_hash(clone) == version
    versions.push_data(clone, REMOTE, endpoint, doubted=True)
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content
    third = tmp_path / "third"
    third.mkdir()
    (third / "data.dvc").write_text((root / "data.dvc").read_text())
    assert versions.pull_data(third, REMOTE, endpoint) and contents(third) == contents(root)


def test_store_object_wrong_checksum_stores_nothing(tmp_path: Path) -> None:
    root = three_texts(tmp_path / "project")
    with versions.open_repository(root) as repo, first(root).open("rb") as stream:
        store = repo.cache.local
        assert not remotes.store_object(store, "0" * 32, stream)
        assert not list(Path(store.path).rglob("*")) or not any(
            path.is_file() for path in Path(store.path).rglob("*")
        )
