"""Test that a text file is written completely or not at all."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.atomic_file import replace_text


@contextmanager
def _room_for(size: int) -> Iterator[None]:
    """Limit the size of every file that this process writes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("text", ["", "one line\n", "über 日本 \U0001f600\r\n" * 1000])
def test_replace_text_existing_file_is_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.html"
    path.write_text("before")
    replace_text(path, text)
    assert path.read_bytes() == text.encode() and list(tmp_path.iterdir()) == [path]


def test_replace_text_failed_write_keeps_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("before")
    with _room_for(1000), pytest.raises(OSError, match="too large"):
        replace_text(path, "x" * 5000)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_replace_text_folder_at_path_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    (path / "mine").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        replace_text(path, "text")
    assert list(tmp_path.iterdir()) == [path] and (path / "mine").is_dir()
