"""Test the samples of files without rows, or with rows after white space."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import describe_empty, sample_file


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "is empty"),
        ("a.jsonl", b" \n\t\n" * 9000, "contains only white space"),
        ("a.csv.gz", gzip.compress(b"\n" * 100_000, mtime=0), "contains only white space"),
        ("a.csv", b"prompt,completion\n", "has a header and no row"),
        ("a.json", b"[]", "is empty (it has no row)"),
        ("a.json", b"[\n ]\n", "is empty (it has no row)"),
        ("a.json.gz", gzip.compress(b"[ ]", mtime=0), "is empty (it has no row)"),
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
