"""Damaged or odd files are refused with the true reason, in words that a user can act on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.common.yaml_reader import parse_yaml
from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.file_io.json_stream import read_objects
from tasks.data.formats.detect import describe_empty, sample_file
from tasks.data.records import parse_lines
from tasks.dvc.versions import read_pointer
from tasks.project.database_check import known_experiments

DEEP = "[" * 100_000
LONG = "7" * 4_400


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "is empty"),
        ("a.jsonl", b" \n\t\n" * 9000, "holds white space alone"),
        ("a.csv.gz", gzip.compress(b"\n" * 100_000), "holds white space alone"),
        ("a.csv", b"prompt,completion\n", "has a header and no row"),
    ],
)
def test_describe_empty_names_why_file_has_no_rows(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    file = SourceFile(name, path=tmp_path / name)
    assert sample_file(file) is None and says in describe_empty(file)


def test_sample_file_packed_white_space_beyond_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(70):
            file.write(b" " * (1 << 20))
    with pytest.raises(UserError, match="unpacks to more than"):
        sample_file(SourceFile(path.name, path=path))


def test_sample_file_reads_text_after_white_space(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\n" * 50_000 + b"words at last\n")
    sample = sample_file(SourceFile("a.txt", path=tmp_path / "a.txt"))
    assert sample and "words at last" in sample.text


@pytest.mark.parametrize("text", [LONG, f'{{"a": [1, {LONG}]}}', f'{{"n": -{LONG}}}'])
def test_readers_number_of_many_digits_is_named_plainly(tmp_path: Path, text: str) -> None:
    readers: list[Callable[[], object]] = [
        lambda: list(parse_lines([text.encode()], "a.jsonl")),
        lambda: parse_yaml(f"seed: {LONG}", "p.yaml"),
    ]
    for read in readers:
        with pytest.raises(UserError, match="a number has more than 4,300 digits") as caught:
            read()
        assert "sys" not in str(caught.value)
    (tmp_path / "a.json").write_text(f"[{text}]")
    says = r"a\.json, line 1.*a number has more than 4,300 digits"
    with (tmp_path / "a.json").open("rb") as file, pytest.raises(UserError, match=says):
        list(read_objects(file, "a.json"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"), (b"# nothing\n", "it is empty"), (b"null\n", "it is empty"),
        (b"outs:\n", "lacks outs with an md5"), (b"- 1\n", "lacks outs"), (b"outs: [{path: data}]", "lacks"),
        (b"outs: {md5", "no YAML from line"), (b"\xff\xfe\x81", "it is no text"), (DEEP.encode(), "no YAML"),
        (b"outs: [{md5: a}]\nmeta: words\n", "lacks outs"),
    ],
)  # fmt: skip
def test_read_pointer_broken_data_dvc_is_refused_with_remedy(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "data.dvc").write_bytes(content)
    with pytest.raises(UserError, match=rf"data\.dvc is broken \(.*{says}.*git checkout data\.dvc") as caught:
        read_pointer(tmp_path)
    assert "NoneType" not in str(caught.value)


@pytest.mark.parametrize("content", ["", DEEP, LONG, "null", "[1]", "\x00", json.dumps({"a": 1})[:4]])
def test_known_experiments_damaged_file_counts_as_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "stores.json").write_text(content)
    assert known_experiments(tmp_path / "stores.json", "sqlite") == {}
