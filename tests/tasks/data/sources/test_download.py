"""Test downloads over HTTP and from S3: each is fetched once, checked and resumed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.sources import download
from tasks.data.sources.source_identity import sources_digest
from tasks.data.sources.source_types import DataParameters, Source
from tests.tasks.data.file_server import Served, served
from tests.tasks.data.source_reader import read, sha

__all__ = ["served"]


def parts(root: Path) -> list[Path]:
    return sorted((root / "var").rglob("*.part"))


def test_read_source_pinned_download_is_fetched_once(served: Served, tmp_path: Path) -> None:
    content = served.files["/texts/a.jsonl"]
    pinned = Source("s", urls=f"{served.url}#sha256={sha(content)}")
    said: list[str] = []
    assert read(pinned, tmp_path, said) == [content] and said == [f"fetching {served.url}, 14000 bytes"]
    served.asked.clear()
    assert read(pinned, tmp_path, said) == [content]
    assert served.asked == [] and len(said) == 1 and parts(tmp_path) == []


def test_sources_digest_unpinned_url_follows_changed_file(served: Served, tmp_path: Path) -> None:
    source = Source("s", urls=served.url)
    parameters = DataParameters((source,))
    said: list[str] = []
    before = sources_digest(parameters, tmp_path)
    assert read(source, tmp_path, said) == read(source, tmp_path, said)
    assert len(said) == 1 and sources_digest(parameters, tmp_path) == before
    served.files["/texts/a.jsonl"] = b'{"text": "new"}\n'
    assert sources_digest(parameters, tmp_path) != before
    assert read(source, tmp_path, said) == [b'{"text": "new"}\n'] and len(said) == 2


def test_read_source_unavailable_server_uses_last_copy(served: Served, tmp_path: Path) -> None:
    source = Source("s", urls=served.url)
    content, before = read(source, tmp_path), sources_digest(DataParameters((source,)), tmp_path)
    served.status = 503
    said: list[str] = []
    assert read(source, tmp_path, said) == content
    assert "the last downloaded copy is used" in said[0]
    assert sources_digest(DataParameters((source,)), tmp_path) == before


def test_read_source_broken_download_resumes(served: Served, tmp_path: Path) -> None:
    # A retry first asks for the headers alone if a part exists.
    served.breaks = [5000, 14000]
    assert read(Source("s", urls=served.url), tmp_path) == [served.files["/texts/a.jsonl"]]
    assert served.asked == ["", "", "bytes=5000-"]


def test_read_source_killed_download_resumes_in_next_run(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("s", urls=served.url)
    monkeypatch.setattr(download, "TRIES", 1)
    served.breaks = [5000, 14000, 0]
    with pytest.raises(
        UserError, match=r"it ended after 5000 of 14000 bytes\); the 5000 bytes that came are kept"
    ):
        read(source, tmp_path)
    (part,) = parts(tmp_path)
    assert part.stat().st_size == 5000
    assert [path for path in part.parent.iterdir() if path.name == "a.jsonl"] == []
    served.asked.clear()
    served.breaks = []
    said: list[str] = []
    assert read(source, tmp_path, said) == [served.files["/texts/a.jsonl"]]
    assert served.asked == ["", "bytes=5000-"] and said[0].endswith("14000 bytes, from byte 5000 on")
    assert parts(tmp_path) == []


def test_read_source_file_changed_during_download_is_fetched_whole(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("s", urls=served.url)
    monkeypatch.setattr(download, "TRIES", 1)
    served.breaks = [5000, 14000, 0]
    with pytest.raises(UserError, match="5000 of 14000"):
        read(source, tmp_path)
    served.breaks = []
    served.files["/texts/a.jsonl"] = b'{"text": "b"}\n' * 1000
    assert read(source, tmp_path) == [b'{"text": "b"}\n' * 1000]


@pytest.mark.parametrize("trait", ["ranges", "marks"])
def test_read_source_server_without_resume_restarts(served: Served, tmp_path: Path, trait: str) -> None:
    setattr(served, trait, False)
    served.breaks = [5000]
    assert read(Source("s", urls=served.url), tmp_path) == [served.files["/texts/a.jsonl"]]


def test_read_source_mismatched_rest_is_fetched_whole(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an ETag only the checksum shows that the file changed after the interruption."""
    served.marks = False
    right = served.files["/texts/a.jsonl"]
    source = Source("s", urls=f"{served.url}#sha256={sha(right)}")
    served.files["/texts/a.jsonl"] = b"x" * len(right)
    served.breaks = [5000, 14000, 0]
    with monkeypatch.context() as once:
        once.setattr(download, "TRIES", 1)
        with pytest.raises(UserError, match="5000 of 14000"):
            read(source, tmp_path)
    served.files["/texts/a.jsonl"], served.breaks = right, []
    assert read(source, tmp_path) == [right]


def test_read_source_wrong_checksum_shows_both_and_leaves_nothing(served: Served, tmp_path: Path) -> None:
    content = served.files["/texts/a.jsonl"]
    with pytest.raises(UserError) as caught:
        read(Source("s", urls=f"{served.url}?key=secret#sha256={'f' * 64}"), tmp_path)
    assert sha(content) in str(caught.value) and "f" * 64 in str(caught.value)
    assert "secret" not in str(caught.value)
    assert [path for path in (tmp_path / "var").rglob("a.jsonl*")] == []


def test_read_source_download_without_length_needs_checksum(served: Served, tmp_path: Path) -> None:
    content = served.files["/texts/a.jsonl"]
    served.length = False
    with pytest.raises(UserError, match="does not report the size"):
        read(Source("s", urls=served.url), tmp_path)
    assert read(Source("s", urls=f"{served.url}#sha256={sha(content)}"), tmp_path) == [content]


def test_read_source_not_found_is_not_retried(served: Served, tmp_path: Path) -> None:
    gone = served.url.replace("a.jsonl", "gone.jsonl")
    with pytest.raises(UserError, match=r"gone\.jsonl: the server answers 404"):
        read(Source("s", urls=gone), tmp_path)
    assert len(served.asked) == 1


def test_read_source_server_error_is_retried(served: Served, tmp_path: Path) -> None:
    served.status = 503
    with pytest.raises(UserError, match=r"cannot be fetched \(the server answers 503"):
        read(Source("s", urls=served.url), tmp_path)
    assert len(served.asked) == download.TRIES


def test_read_source_file_url_is_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "far.txt").write_text("far")
    source = Source("s", urls=f"file://{tmp_path}/far.txt")
    assert read(source, tmp_path) == [b"far"]
    with pytest.raises(UserError, match=r"gone\.txt: there is no such file"):
        read(Source("s", urls=f"file://{tmp_path}/gone.txt"), tmp_path)
    with pytest.raises(UserError, match=r"is a folder; name its files"):
        read(Source("s", urls=f"file://{tmp_path}"), tmp_path)
    with pytest.raises(UserError, match=r"nosuch://x/a\.txt: Protocol not known: nosuch"):
        read(Source("s", urls="nosuch://x/a.txt"), tmp_path)


def test_copy_stream_full_disk_is_refused(served: Served, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    with pytest.raises(UserError, match="the disk is full; free space"):
        download.copy_stream(
            download.Opened(io.BytesIO(b"words" * 9), download.State("", 45), 0), Path("/dev/full")
        )


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    values = {
        "ENDPOINT_URL": address,
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    import boto3
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="corpus")
    yield client
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_read_source_s3_object_is_fetched_resumed_and_refreshed(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    content = os.urandom(3 << 20)
    s3.put_object(Bucket="corpus", Key="a/b.txt", Body=content)
    source = Source("s", urls="s3://corpus/a/b.txt")
    before = sources_digest(DataParameters((source,)), tmp_path)
    said: list[str] = []
    assert read(source, tmp_path, said) == read(source, tmp_path, said) == [content] and len(said) == 1
    given = source.addresses[0]
    whole = download.find_download(given, tmp_path)
    assert whole is not None
    # A killed run leaves the first part under this name.
    part = whole.with_name(f"b.txt.{download.ask_server(given).key}.part")
    part.write_bytes(content[: 1 << 20])
    whole.unlink()
    assert read(source, tmp_path, said) == [content] and said[1].endswith("from byte 1048576 on")
    s3.put_object(Bucket="corpus", Key="a/b.txt", Body=b"new")
    assert sources_digest(DataParameters((source,)), tmp_path) != before
    assert read(source, tmp_path) == [b"new"]
    with pytest.raises(UserError, match=r"s3://corpus/none\.txt: there is no such file"):
        read(Source("s", urls="s3://corpus/none.txt"), tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/t.jsonl#access_token=S3CRET", "http://example.org:8/t.jsonl?a=1#S3CRET",
        f"https://example.org/t.jsonl#S3CRET#sha256={'a' * 64}", "filecache::https://example.org/t.jsonl#S3CRET",
        f"https://example.org/t.jsonl#sha256={'a' * 64}#S3CRET",
    ],
)  # fmt: skip
def test_source_address_with_a_fragment_is_refused_without_it(url: str) -> None:
    with pytest.raises(ValueError, match="has a part after #") as error:
        Source("s", urls=url)
    assert "S3CRET" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/a#b.jsonl", f"https://example.org/t.jsonl#sha256={'A' * 64}", "https://a.org/%23b.txt"],
)
def test_source_address_with_a_sum_or_a_sign_in_a_key_is_kept(url: str) -> None:
    assert Source("s", urls=url).urls == url
