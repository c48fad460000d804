"""Guides from files: text of a bounded length."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import UserError
from tasks.labelling.guide_file import read_guide_file


@pytest.mark.parametrize("path", ["/dev/full", "/dev/zero", "/dev/urandom"])
def test_read_guide_file_device_without_end_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="more than 400,000 bytes"):
        read_guide_file(Path(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8"), (b"x" * 400_001, "more than")],
)
def test_read_guide_file_not_a_guide_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "guide.md"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_guide_file(path)


def test_read_guide_file_longest_text_of_wide_characters_is_read(tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_bytes(("\U0001f600" * 99_999 + "\r\n").encode())
    assert read_guide_file(tmp_path / "guide.md") == "\U0001f600" * 99_999 + "\n"
