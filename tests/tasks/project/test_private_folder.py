"""Test that a private file is created once, and that killed processes leave no copy of it."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.project.private_folder import read_or_create
from tests.killed_process import kills


def test_read_or_create_killed_anywhere_leaves_one_file(tmp_path: Path) -> None:
    def create(folder: Path) -> str:
        return read_or_create(folder / "secrets" / "password", lambda: f"first {os.getpid()}")

    left = 0
    for folder in kills(create, lambda folder: None, tmp_path):
        secrets = folder / "secrets"
        (secrets / ".password.old").parent.mkdir(exist_ok=True)
        (secrets / ".password.old").write_text("a user's")
        left += len([*secrets.glob(".password.*")]) - 1
        found = read_or_create(secrets / "password", lambda: "second")
        assert found == "second" or found.startswith("first ")
        assert read_or_create(secrets / "password", lambda: "third") == found
        assert {path.name for path in secrets.iterdir()} == {"password", ".password.old"}
        assert (secrets / "password").stat().st_mode & 0o077 == 0
    assert left
