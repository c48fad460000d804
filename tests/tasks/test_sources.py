"""Sources: own files, addresses, data sets, pinned archives; what is missing, wrong or half there is said."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import stat
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks import archives, digests, fetch
from tasks.archives import Archive
from tasks.formats import Found
from tasks.records import comparison_row, rating_row, text_row
from tasks.sources import (
    DataParameters,
    Source,
    check_annotators,
    own_files,
    read_source,
    reading_of,
    sources_digest,
)


def read(source: Source, root: Path, said: list[str] | None = None, **packed: Archive) -> list[bytes]:
    files = read_source(
        source, DataParameters((source,), packed), root,
        lambda event: said.append(event["text"]) if said is not None else None,
    )  # fmt: skip
    return [file.stream().read() for file in files]


def names(source: Source, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in own_files(source, root)]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# What a source may be


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "one of files, urls, dataset or archive .* here is none"),
        ({"archive": "x"}, "members says which"),
        ({"archive": "x", "members": ("m",), "files": "f"}, "here is files and archive"),
        ({"files": "f", "members": ("m",)}, "members goes with archive"),
        ({"files": "f", "split": "train"}, "split goes with dataset"),
        ({"archive": "x", "members": ("../m",)}, "leads out of its archive"),
        ({"archive": "x", "members": ("a.tar!/etc/m",)}, "leads out of its archive"),
        (
            {"files": "https://host/a.txt?key=1"},
            r"files has the address https://host/a\.txt; it goes under urls",
        ),
        ({"files": ("a", " ")}, "files has an empty name"),
        ({"urls": "host/a.txt"}, "is no address; right is as in https://"),
        ({"urls": "https://me:secret@host/a.txt"}, "address at host holds a password"),
        ({"urls": "https://host/a.txt#sha256=12"}, "the sum of https://host/a.txt is '12'; 64 hex digits"),
        ({"files": "f", "format": "plian"}, "format 'plian' is not known; there are plain"),
        ({"files": "f", "documents": "line"}, "documents is 'line'; file or paragraph"),
        ({"files": "f", "aspect": ""}, "aspect is empty"),
        ({"files": "f", "columns": {"text": ""}}, "'text' stands for no column"),
        ({"files": "f", "annotators": ("",)}, "annotators has an empty name"),
        ({"files": "f", "quarantine": 1.5}, r"quarantine is 1\.5; it is a share"),
    ],
)
def test_a_source_that_is_wrong_says_what_is_right(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Source("mine", **values)
    assert str(caught.value).startswith("source mine: ") and "secret" not in str(caught.value)


OWN = Source("mine", files="texts/*.jsonl")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sources": ()}, "sources is empty"),
        ({"sources": (OWN, OWN)}, "mine is there twice"),
        ({"sources": (Source("a", archive="x", members=("m",)),)}, "not among archives"),
    ],
)
def test_data_parameters_name_what_is_wrong(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataParameters(**values)


# Own files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "deep/c.md.gz", "deep/d.jsonl.zst", "picture.png", ".hidden.txt"):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_a_glob_a_folder_and_a_list(root: Path) -> None:
    assert names(Source("s", files="texts/*.txt"), root) == ["texts/a.txt", "texts/b.txt"]
    folder = ["texts/a.txt", "texts/b.txt", "texts/deep/c.md.gz", "texts/deep/d.jsonl.zst"]
    assert names(Source("s", files="texts"), root) == folder
    listed = Source("s", files=("texts/b.txt", "texts/*.txt"))
    assert names(listed, root) == ["texts/b.txt", "texts/a.txt"]


def test_files_are_not_read_before_they_are_parsed(root: Path) -> None:
    source = Source("s", files="texts/a.txt")
    (file,) = read_source(source, DataParameters((source,)), root, print)
    assert (file.origin, file.content, file.path) == ("texts/a.txt", b"", root / "texts/a.txt")


def test_a_glob_may_lead_out_of_the_folder(root: Path) -> None:
    project = root / "project"
    project.mkdir()
    source = Source("s", files="../texts/a.txt")
    (file,) = read_source(source, DataParameters((source,)), project, print)
    assert file.origin == "../texts/a.txt"
    assert read(Source("s", files=str(root / "texts" / "a.txt")), project) == [b"a.txt"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("nowhere/*.txt", r"source s: nowhere/\*\.txt matches no file in "),
        ("texts/aa.txt", r"source s: the file texts/aa\.txt is missing; did you mean a\.txt\?"),
        ("none/zzz.txt", r"source s: the file none/zzz\.txt is missing in "),
        ("empty", r"source s: the folder empty holds no file that ends in \.txt, "),
        (("texts/a.txt", "texts/*.csv"), r"source s: texts/\*\.csv matches no file"),
    ],
)
def test_what_matches_nothing_is_named(root: Path, files: Any, said: str) -> None:
    (root / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        read(Source("s", files=files), root)


def test_the_parser_is_told_what_the_source_says(root: Path) -> None:
    (root / "view.xml").write_text("<View/>")
    source = Source("s", files="texts", columns={"text": "body"}, aspect="tone", labelling="view.xml")
    reading = reading_of(source, root)
    assert (reading.source, reading.labelling, reading.column("text"), reading.aspect) == (
        "s", "<View/>", "body", "tone",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"source s: the labelling configuration gone\.xml is missing"):
        reading_of(Source("s", files="texts", labelling="gone.xml"), root)


def test_labels_of_unknown_annotators_are_refused() -> None:
    known = Source("s", files="f", annotators=("ana", "bo"))
    by = functools.partial(comparison_row, "q", "x", "y", "a", "tone", source="s", group="g")
    rated = functools.partial(rating_row, "q", "x", [1.0, 2.0], aspect="tone", source="s", group="g")
    check_annotators(known, Found(by(annotator="ana"), "f, line 1"))
    check_annotators(known, Found(rated(annotators=["bo", "ana"]), "f, line 1"))
    check_annotators(known, Found(text_row("words", "s"), "f, line 1"))
    check_annotators(Source("s", files="f"), Found(by(annotator="eve"), "f, line 1"))
    for row in (by(annotator="eve"), rated(annotators=["bo", "eve"])):
        with pytest.raises(UserError, match=r"^f, line 2: a label by 'eve', who is not among .* \(ana, bo\)"):
            check_annotators(known, Found(row, "f, line 2"))


# The digest of sources


def test_the_digest_follows_content_and_what_changes_rows(root: Path) -> None:
    def of(**values: Any) -> str:
        return sources_digest(DataParameters((Source("s", files="texts/*.txt", **values),)), root)

    before = of()
    assert of(quarantine=0.5) == before != of(aspect="tone")
    (root / "texts/a.txt").write_text("other")
    changed = of()
    assert changed != before
    (root / "texts/new.txt").write_text("new")
    assert of() != changed


def test_a_file_is_summed_once_while_it_stays_as_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summed: list[Path] = []
    whole = digests.file_sum
    monkeypatch.setattr(digests, "file_sum", lambda path: summed.append(path) or whole(path))
    parameters = DataParameters((Source("s", files="texts/*.txt"),))
    first = sources_digest(parameters, root)
    assert len(summed) == 2 and sources_digest(parameters, root) == first and len(summed) == 2
    os.utime(root / "texts/a.txt", ns=(1, 1))
    assert sources_digest(parameters, root) == first and len(summed) == 3
    (root / digests.KEPT).write_text("[broken")
    assert sources_digest(parameters, root) == first and len(summed) == 5


# Addresses


@dataclass
class Served:
    """Files of a server on the loopback; what was asked of it, and how it misbehaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)  # bytes after which each next answer ends
    marks: bool = True
    ranges: bool = True
    length: bool = True
    status: int = 0
    url: str = ""


def handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            content = served.files.get(self.path.partition("?")[0])
            served.asked.append(wanted)
            if content is None or served.status:
                self.send_error(served.status or 404)
                return
            mark = f'"{sha(content)[:8]}"' if served.marks else ""
            start = 0
            if served.ranges and wanted and self.headers.get("If-Range", mark) == mark:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if mark:
                self.send_header("ETag", mark)
            if served.length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            self.wfile.write(rest[: served.breaks.pop(0)] if served.breaks else rest)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    found = Served({"/texts/a.jsonl": b'{"text": "a"}\n' * 1000})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/texts/a.jsonl"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def parts(root: Path) -> list[Path]:
    return sorted((root / "var").rglob("*.part"))


def test_what_was_fetched_once_is_not_fetched_again(served: Served, tmp_path: Path) -> None:
    content = served.files["/texts/a.jsonl"]
    pinned = Source("s", urls=f"{served.url}#sha256={sha(content)}")
    said: list[str] = []
    assert read(pinned, tmp_path, said) == [content] and said == [f"fetching {served.url}, 14000 bytes"]
    served.asked.clear()
    assert read(pinned, tmp_path, said) == [content]
    assert served.asked == [] and len(said) == 1 and parts(tmp_path) == []


def test_without_a_sum_the_server_is_asked_and_a_changed_file_fetched(served: Served, tmp_path: Path) -> None:
    source = Source("s", urls=served.url)
    parameters = DataParameters((source,))
    said: list[str] = []
    before = sources_digest(parameters, tmp_path)
    assert read(source, tmp_path, said) == read(source, tmp_path, said)
    assert len(said) == 1 and sources_digest(parameters, tmp_path) == before
    served.files["/texts/a.jsonl"] = b'{"text": "new"}\n'
    assert sources_digest(parameters, tmp_path) != before
    assert read(source, tmp_path, said) == [b'{"text": "new"}\n'] and len(said) == 2


def test_a_server_that_is_gone_leaves_the_last_copy_in_use(served: Served, tmp_path: Path) -> None:
    source = Source("s", urls=served.url)
    content, before = read(source, tmp_path), sources_digest(DataParameters((source,)), tmp_path)
    served.status = 503
    said: list[str] = []
    assert read(source, tmp_path, said) == content
    assert "what was fetched before is read" in said[0]
    assert sources_digest(DataParameters((source,)), tmp_path) == before


def test_a_break_goes_on_where_it_stopped(served: Served, tmp_path: Path) -> None:
    # The first answer of a try is only looked at where something is there already.
    served.breaks = [5000, 14000]
    assert read(Source("s", urls=served.url), tmp_path) == [served.files["/texts/a.jsonl"]]
    assert served.asked == ["", "", "bytes=5000-"]


def test_a_killed_download_goes_on_in_the_next_run(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("s", urls=served.url)
    monkeypatch.setattr(fetch, "TRIES", 1)
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


def test_what_changed_meanwhile_is_not_put_together(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("s", urls=served.url)
    monkeypatch.setattr(fetch, "TRIES", 1)
    served.breaks = [5000, 14000, 0]
    with pytest.raises(UserError, match="5000 of 14000"):
        read(source, tmp_path)
    served.breaks = []
    served.files["/texts/a.jsonl"] = b'{"text": "b"}\n' * 1000
    assert read(source, tmp_path) == [b'{"text": "b"}\n' * 1000]


@pytest.mark.parametrize("trait", ["ranges", "marks"])
def test_a_server_that_cannot_go_on_is_read_from_the_start(
    served: Served, tmp_path: Path, trait: str
) -> None:
    setattr(served, trait, False)
    served.breaks = [5000]
    assert read(Source("s", urls=served.url), tmp_path) == [served.files["/texts/a.jsonl"]]


def test_a_rest_that_does_not_fit_is_fetched_whole(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a mark the sum alone tells that the file was another when it broke off."""
    served.marks = False
    right = served.files["/texts/a.jsonl"]
    source = Source("s", urls=f"{served.url}#sha256={sha(right)}")
    served.files["/texts/a.jsonl"] = b"x" * len(right)
    served.breaks = [5000, 14000, 0]
    with monkeypatch.context() as once:
        once.setattr(fetch, "TRIES", 1)
        with pytest.raises(UserError, match="5000 of 14000"):
            read(source, tmp_path)
    served.files["/texts/a.jsonl"], served.breaks = right, []
    assert read(source, tmp_path) == [right]


def test_a_wrong_sum_shows_both_and_leaves_nothing(served: Served, tmp_path: Path) -> None:
    content = served.files["/texts/a.jsonl"]
    with pytest.raises(UserError) as caught:
        read(Source("s", urls=f"{served.url}?key=secret#sha256={'f' * 64}"), tmp_path)
    assert sha(content) in str(caught.value) and "f" * 64 in str(caught.value)
    assert "secret" not in str(caught.value)
    assert [path for path in (tmp_path / "var").rglob("a.jsonl*")] == []


def test_a_half_without_a_length_is_not_taken_for_the_whole(served: Served, tmp_path: Path) -> None:
    content = served.files["/texts/a.jsonl"]
    served.length = False
    with pytest.raises(UserError, match="does not say how long it is"):
        read(Source("s", urls=served.url), tmp_path)
    assert read(Source("s", urls=f"{served.url}#sha256={sha(content)}"), tmp_path) == [content]


def test_what_is_not_there_is_said_at_once(served: Served, tmp_path: Path) -> None:
    gone = served.url.replace("a.jsonl", "gone.jsonl")
    with pytest.raises(UserError, match=r"gone\.jsonl: the server answers 404"):
        read(Source("s", urls=gone), tmp_path)
    assert len(served.asked) == 1


def test_a_server_in_trouble_is_asked_again(served: Served, tmp_path: Path) -> None:
    served.status = 503
    with pytest.raises(UserError, match=r"cannot be fetched \(the server answers 503"):
        read(Source("s", urls=served.url), tmp_path)
    assert len(served.asked) == fetch.TRIES


def test_an_address_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "far.txt").write_text("far")
    source = Source("s", urls=f"file://{tmp_path}/far.txt")
    assert read(source, tmp_path) == [b"far"]
    with pytest.raises(UserError, match=r"gone\.txt: there is no such file"):
        read(Source("s", urls=f"file://{tmp_path}/gone.txt"), tmp_path)
    with pytest.raises(UserError, match=r"is a folder; name its files"):
        read(Source("s", urls=f"file://{tmp_path}"), tmp_path)
    with pytest.raises(UserError, match=r"nosuch://x/a\.txt: Protocol not known: nosuch"):
        read(Source("s", urls="nosuch://x/a.txt"), tmp_path)


def test_a_full_disk_is_said(served: Served, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    with pytest.raises(UserError, match="the disk is full; make room"):
        fetch._copy(fetch.Opened(io.BytesIO(b"words" * 9), fetch.State("", 45), 0), Path("/dev/full"))


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


def test_s3(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    content = os.urandom(3 << 20)
    s3.put_object(Bucket="corpus", Key="a/b.txt", Body=content)
    source = Source("s", urls="s3://corpus/a/b.txt")
    before = sources_digest(DataParameters((source,)), tmp_path)
    said: list[str] = []
    assert read(source, tmp_path, said) == read(source, tmp_path, said) == [content] and len(said) == 1
    given = source.addresses[0]
    whole = fetch.fetched(given, tmp_path)
    assert whole is not None
    # As a killed run leaves it: the first part under another name.
    part = whole.with_name(f"b.txt.{fetch.ask(given).key}.part")
    part.write_bytes(content[: 1 << 20])
    whole.unlink()
    assert read(source, tmp_path, said) == [content] and said[1].endswith("from byte 1048576 on")
    s3.put_object(Bucket="corpus", Key="a/b.txt", Body=b"new")
    assert sources_digest(DataParameters((source,)), tmp_path) != before
    assert read(source, tmp_path) == [b"new"]
    with pytest.raises(UserError, match=r"s3://corpus/none\.txt: there is no such file"):
        read(Source("s", urls="s3://corpus/none.txt"), tmp_path)


# Data sets


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    train = datasets.Dataset.from_dict({"text": ["one", "two"], "tags": [["a"], []]})
    train.save_to_disk(str(tmp_path / "single"))
    both = datasets.DatasetDict({"train": train, "test": datasets.Dataset.from_dict({"text": ["three"]})})
    both.save_to_disk(str(tmp_path / "both"))
    return tmp_path


def rows(source: Source, root: Path) -> list[dict[str, Any]]:
    (file,) = read_source(source, DataParameters((source,)), root, print)
    return [item.values for item in file.items()]


def test_a_saved_data_set(saved: Path) -> None:
    assert rows(Source("s", dataset="single"), saved) == [
        {"text": "one", "tags": ["a"]}, {"text": "two", "tags": []},
    ]  # fmt: skip
    assert rows(Source("s", dataset="both", split="test"), saved) == [{"text": "three"}]
    assert not list((saved / "var").rglob("*.part"))


def test_a_data_set_that_is_not_clear_is_named(saved: Path) -> None:
    with pytest.raises(UserError, match="both has several splits; name one of train, test"):
        rows(Source("s", dataset="both"), saved)
    with pytest.raises(UserError, match="both has no split 'valid'; name one of train, test"):
        rows(Source("s", dataset="both", split="valid"), saved)
    (saved / "plain").mkdir()
    with pytest.raises(UserError, match="plain is no folder of save_to_disk"):
        rows(Source("s", dataset="plain"), saved)
    with pytest.raises(UserError, match="our/set is no folder here, and one of the hub needs its revision"):
        rows(Source("s", dataset="our/set"), saved)


def test_the_digest_of_a_data_set_follows_its_files(saved: Path) -> None:
    def of(**values: str) -> str:
        return sources_digest(DataParameters((Source("s", **values),)), saved)

    before = of(dataset="single")
    (saved / "single" / "note").write_text("more")
    assert of(dataset="single") != before
    assert of(dataset="our/set", revision="1") != of(dataset="our/set", revision="2")


def test_without_the_library_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'chatmill\[hub\]'"):
        rows(Source("s", dataset="our/set", revision="1"), tmp_path)


# Archives


def archive_in(folder: Path) -> Archive:
    """A wheel-like zip with a text and a tar inside, as pip would have left it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as packed:
        info = tarfile.TarInfo("inner/b.txt")
        info.size = 4
        packed.addfile(info, io.BytesIO(b"deep"))
        for name, kind in (("inner/soft", tarfile.SYMTYPE), ("inner/hard", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "inner/b.txt"
            packed.addfile(link)
        packed.addfile(folder_info := tarfile.TarInfo("inner/folder"))
        folder_info.type = tarfile.DIRTYPE
        big = tarfile.TarInfo("inner/big")
        big.size = 2000
        packed.addfile(big, io.BytesIO(bytes(2000)))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "texts-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed_zip:
        packed_zip.writestr("texts/a.txt", "shallow")
        packed_zip.writestr("texts/inner.tar.gz", inner.getvalue())
        packed_zip.writestr("texts/broken.tar.gz", inner.getvalue()[:-60])
        packed_zip.writestr("texts/big", bytes(2000))
        link_info = zipfile.ZipInfo("texts/link")
        link_info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed_zip.writestr(link_info, "../../etc/passwd")
    return Archive("texts==1.0", path.name, sha(path.read_bytes()))


def members(root: Path, *wanted: str) -> list[bytes]:
    archive = archive_in(root / "var" / "downloads")
    return read(Source("s", archive="x", members=wanted), root, x=archive)


def test_members_are_read_also_from_an_archive_in_an_archive(tmp_path: Path) -> None:
    assert members(tmp_path, "texts/a.txt", "texts/inner.tar.gz!inner/b.txt") == [b"shallow", b"deep"]


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("texts/none.txt", "has no member texts/none.txt"),
        ("texts/inner.tar.gz!none", "inner.tar.gz has no member none"),
        ("texts/link", "texts/link is a link; name the file"),
        ("texts/inner.tar.gz!inner/soft", "inner/soft is a link to inner/b.txt"),
        ("texts/inner.tar.gz!inner/hard", "inner/hard is a link to inner/b.txt"),
        ("texts/broken.tar.gz!inner/none", "texts/broken.tar.gz is not a whole archive"),
        ("texts/a.txt!b", "texts/a.txt is not a whole archive"),
        ("texts/big", "texts/big unpacks to 2000 bytes, above 1000"),
        ("texts/inner.tar.gz!inner/big", "inner/big unpacks to 2000 bytes, above 1000"),
    ],
)
def test_members_that_are_no_plain_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str, said: str
) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1000)
    with pytest.raises(UserError, match=re.escape(said)):
        members(tmp_path, member)


def test_a_member_that_is_larger_than_it_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 100)
    with pytest.raises(UserError, match="unpacks to 101 bytes"):
        archives._bounded(io.BytesIO(bytes(1000)), "a.zip", "bomb")


def test_a_tar_that_unpacks_without_end_is_not_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FARTHEST_MEMBER", 1000)
    with pytest.raises(UserError, match="unpacks to more than 1000 bytes; it was not read on"):
        members(tmp_path, "texts/inner.tar.gz!inner/none")


def test_an_archive_with_a_wrong_checksum_shows_both_sums(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "var" / "downloads")
    wrong = Archive(archive.package, archive.file, "f" * 64)
    with pytest.raises(UserError, match="nothing was read") as caught:
        read(Source("s", archive="x", members=("texts/a.txt",)), tmp_path, x=wrong)
    assert archive.sha256 in str(caught.value) and "f" * 64 in str(caught.value)


def test_a_package_that_cannot_be_fetched_says_what_to_do(tmp_path: Path) -> None:
    absent = Archive("chatmill-has-no-such-package==0.0.1", "no-such-0.0.1.whl", "0" * 64)
    with pytest.raises(UserError, match=r"could not be downloaded .* yourself"):
        archives.fetch(absent, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_json_of_a_description_does_not_depend_on_its_order(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    one, two = ({"text": "x", "prompt": "y"}, {"prompt": "y", "text": "x"})
    assert json.dumps(one) != json.dumps(two)
    digest = [
        sources_digest(DataParameters((Source("s", files="a.txt", columns=c),)), tmp_path) for c in (one, two)
    ]
    assert digest[0] == digest[1]
