"""Test the sentences of system errors."""

from __future__ import annotations

import errno

import pytest

from model.errors import error_reason, file_error


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
