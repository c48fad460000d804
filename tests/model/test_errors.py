"""Test the sentences of system errors."""

from __future__ import annotations

import errno

import pytest

from model.errors import error_reason, file_error, one_line_path


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EACCES, "the library's own words", "a"), "Permission denied"),
        (OSError(errno.ENOSPC, ""), "No space left on device"),
        (OSError("the connection was lost"), "the connection was lost"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_error_reason_is_text_of_system(error: OSError, reason: str) -> None:
    assert error_reason(error) == reason
    assert str(file_error("a/b", "cannot be read", error)) == f"a/b cannot be read ({reason})"
    assert str(file_error("a/b", "cannot be read", error, "fix it")).endswith(f"({reason}); fix it")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a\nerror: b", r"a\nerror: b"), ("a\r\tb\x1b[2J", r"a\r\tb\x1b[2J"),
        ("a\x85\u2028b", r"a\x85\u2028b"),
        ("Größe ü/日本語　全角\u202f.txt", "Größe ü/日本語　全角\u202f.txt"), (r"a\nb", r"a\nb"),
    ],
)  # fmt: skip
def test_one_line_path_control_characters_are_escaped(path: str, shown: str) -> None:
    assert one_line_path(path) == shown
    assert str(file_error(path, "is", OSError("x"))) == f"{shown} is (x)"
