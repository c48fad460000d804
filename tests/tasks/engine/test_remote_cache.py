"""Test outputs that hosts share through a folder or an S3 bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flows.servers.environment import free_port
from model.errors import UserError
from model.events import EventCallback
from tasks.dvc import remote as remotes
from tasks.engine.remote_cache import Store
from tasks.engine.stage import StageContext, fetch_output, stage

BUCKET = "chatmill-outputs"


@dataclass(frozen=True)
class Words:
    words: tuple[str, ...] = ("a", "b")


@stage(excluded_from_digest=("inner",))
def write(parameters: Words, out: Path, on_event: EventCallback, device: str) -> dict[str, Any]:
    """Write files of words, two of them equal."""
    (out / "inner").mkdir()
    for place, word in enumerate(parameters.words):
        (out / "inner" / f"{place}.txt").write_text(word)
    (out / "all.txt").write_text(" ".join(parameters.words))
    (out / "again.txt").write_text(" ".join(parameters.words))
    return {"words": len(parameters.words)}


@stage(inputs=("write",))
def count(parameters: Words, write: Path, out: Path, on_event: EventCallback) -> dict[str, Any]:
    """Count the words."""
    (out / "count").write_text(str(len((write / "all.txt").read_text().split())))
    return {}


def host(tmp_path: Path, name: str, remote: str, endpoint: str = "", needed: bool = False) -> StageContext:
    """Return the context of a host with a folder of its own; hosts share only the remote."""
    root = tmp_path / name
    root.mkdir(exist_ok=True)
    return StageContext(root, store=Store(root, remote, endpoint, needed))


class Said(list[Any]):
    def __call__(self, event: Any) -> None:
        self.append(event)

    @property
    def texts(self) -> str:
        return " ".join(event.text for event in self)


def made(context: StageContext, said: Said, words: tuple[str, ...] = ("a", "b")) -> Any:
    found = write.run(Words(words), {}, context, said, run="run-1")
    assert context.store is not None
    context.store.send_output(found, said)
    return found


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Start moto's S3 on loopback with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name, value in {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "word",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket=BUCKET)
    yield f"http://127.0.0.1:{port}"
    server.stop()


def both_ways(tmp_path: Path, remote: str, endpoint: str = "") -> None:
    one, other = (host(tmp_path, name, remote, endpoint) for name in ("one", "other"))
    said = Said()
    first = made(one, said)
    # The lookup by key makes nothing.
    assert write.find_output(Words(("c",)), {}, other, said) is None
    assert fetch_output("write", "0" * 20, other, said) is None
    second = write.run(Words(), {}, other, said)
    assert second == replace(
        first, reused=True, path=str(other.root / "var/cache/artifacts/write" / first.key)
    )
    assert (Path(second.path) / "inner" / "1.txt").read_text() == "b" and "fetched from" in said.texts
    # A later stage has the same output on both hosts and is shared too.
    third = count.run(Words(), {"write": second}, other, said)
    assert other.store is not None
    other.store.send_output(third, said)
    assert count.run(Words(), {"write": first}, one, said).reused
    other.store.record_device("gpu", "cuda H100", said)
    other.store.record_device("gpu", "cuda H100", said)
    assert one.store is not None and one.store.devices("gpu", said) == ["cuda H100"]
    assert one.store.devices("none", said) == []


def test_stage_run_output_in_shared_folder_is_reused(tmp_path: Path) -> None:
    both_ways(tmp_path, str(tmp_path / "shared"))
    objects = [path for path in (tmp_path / "shared/files/md5").rglob("*") if path.is_file()]
    assert len(objects) == 4  # a, b, the two equal files once, and the count


def test_stage_run_output_in_bucket_is_reused(tmp_path: Path, endpoint: str) -> None:
    both_ways(tmp_path, f"s3://{BUCKET}/kept", endpoint)


def test_fetch_output_without_listing_is_missing_and_sent_again(tmp_path: Path) -> None:
    one, other = (host(tmp_path, name, str(tmp_path / "shared")) for name in ("one", "other"))
    said = Said()
    first = made(one, said)
    listing = tmp_path / "shared" / "chatmill" / "write" / f"{first.key}.json"
    listing.unlink()
    assert fetch_output("write", first.key, other, said) is None
    again = made(one, said)
    assert again.reused and listing.exists()
    assert fetch_output("write", first.key, other, said) is not None


@pytest.mark.parametrize("harm", ["cut", "gone", "flipped"])
def test_fetch_output_damaged_object_is_made_again_and_replaced(tmp_path: Path, harm: str) -> None:
    one, other, third = (host(tmp_path, name, str(tmp_path / "shared")) for name in ("one", "other", "third"))
    said = Said()
    first = made(one, said)
    listing = tmp_path / "shared" / "chatmill" / "write" / f"{first.key}.json"
    name = json.loads(listing.read_text())["objects"]["all.txt"]
    held = tmp_path / "shared" / "files" / "md5" / name[:2] / name[2:]
    held.chmod(0o644)
    if harm == "gone":
        held.unlink()
    else:
        held.write_bytes(b"x" if harm == "cut" else bytes([held.read_bytes()[0] ^ 1]) + held.read_bytes()[1:])
    assert fetch_output("write", first.key, other, said) is None
    assert harm == "gone" or "is damaged; the output there is not used" in said.texts
    assert not list((other.root / "var" / "cache" / "artifacts" / "write").glob("*.fetch"))
    assert not made(other, said).reused
    assert fetch_output("write", first.key, third, said) is not None


@pytest.mark.parametrize("harm", ["outside", "sums", "other", "figures", "unsealed", "list", "deep", "text"])
def test_fetch_output_invalid_listing_is_removed_and_replaced(tmp_path: Path, harm: str) -> None:
    one = host(tmp_path, "one", str(tmp_path / "shared"))
    other = host(tmp_path, "other", str(tmp_path / "shared"), needed=True)
    said = Said()
    first = made(one, said)
    listing = tmp_path / "shared" / "chatmill" / "write" / f"{first.key}.json"
    found = json.loads(listing.read_text())
    if harm == "outside":
        for part in (found["objects"], found["sums"], found["manifest"]["files"]):
            part["../../../escaped"] = part.pop("all.txt")
    elif harm == "sums":
        found["sums"]["all.txt"] = "0" * 64
    elif harm == "other":
        found["manifest"]["key"] = "0" * 20
    elif harm == "figures":
        found["manifest"]["metrics"] = {"words": 99}
    elif harm == "unsealed":
        del found["manifest"]["manifest_digest"]
    texts = {"text": "[", "list": "[]", "deep": "[" * 100_000}
    listing.write_text(texts.get(harm) or json.dumps(found))
    assert fetch_output("write", first.key, other, said) is None
    assert "it is removed, and the output is not used" in said.texts
    assert not list(tmp_path.rglob("escaped*")) and not listing.exists()
    made(one, said)
    assert fetch_output("write", first.key, other, said) is not None


def test_store_devices_damaged_list_is_written_again(tmp_path: Path) -> None:
    one = host(tmp_path, "one", str(tmp_path / "shared"))
    said = Said()
    assert one.store is not None
    one.store.record_device("gpu", "cuda H100", said)
    (tmp_path / "shared" / "chatmill" / "pools" / "gpu.json").write_text('{"devices": [')
    assert one.store.devices("gpu", said) == []
    one.store.record_device("gpu", "cuda H200", said)
    assert one.store.devices("gpu", said) == ["cuda H200"]


def test_send_output_unavailable_store_stops_only_if_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remotes, "WAITS", (0.01,))
    (tmp_path / "file").touch()
    away = str(tmp_path / "file" / "shared")
    said = Said()
    context = host(tmp_path, "one", away)
    assert not made(context, said).reused and made(context, said).reused
    assert said.texts.count("outputs are not shared in this run") == 1
    with pytest.raises(UserError, match="cannot be read or written"):
        made(host(tmp_path, "two", away, needed=True), said)


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("write", "../../../outside"), ("write", "/etc"), ("write", ""), ("write", "0" * 20 + "\n"),
        ("write", "0" * 19 + "/"), ("write", "x" * 10_000), ("../write", "0" * 20), ("", "0" * 20),
        ("a/b", "0" * 20), (".", "0" * 20),
    ],
)  # fmt: skip
def test_fetch_output_invalid_key_becomes_no_path(tmp_path: Path, stage: str, key: str) -> None:
    with pytest.raises(UserError, match="does not name a stage output"):
        fetch_output(stage, key, StageContext(tmp_path), lambda event: None)
    assert not list(tmp_path.iterdir())
