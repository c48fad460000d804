"""Test checkouts of recorded code onto a full disk."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flows.common.error_messages import explain_error
from tasks.common.git_checkout import checkout_code, code_state
from tests.small_disk import fill_disk, small_disk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "model").mkdir(parents=True)
    for number in range(40):
        (root / "model" / f"part_{number}.py").write_text(f"# {number}\n" * 5000)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    return root


@pytest.mark.parametrize("free", [0, 40_000, 500_000])
def test_checkout_code_full_disk_names_folder_and_leaves_nothing(
    root: Path, tmp_path: Path, free: int
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        fill_disk(disk, free)
        with pytest.raises(OSError, match="No space left") as found:
            checkout_code(root, code_state(root), disk / "tree")
        assert explain_error(found.value).startswith(f"{disk}: No space left on device; free disk space")
        assert [path.name for path in disk.iterdir()] == ["filler"]
        words = ["git", "-C", str(root), "worktree", "list"]
        listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert len(listed.splitlines()) == 1


@pytest.mark.parametrize("free", [10_000, 100_000, 400_000])
def test_checkout_code_disk_without_room_for_diff_names_folder(root: Path, tmp_path: Path, free: int) -> None:
    code = code_state(root)
    (root / "model" / "part_0.py").write_text("# another line of the file\n" * 40_000)
    code = replace(code, diff=code_state(root).diff)
    with small_disk(tmp_path / "disk", "4m") as disk:
        checkout_code(root, replace(code, diff=""), disk / "tree")
        # The next checkout replaces this one, so that it fits and the diff does not.
        fill_disk(disk, free)
        with pytest.raises(OSError, match="No space left") as found:
            checkout_code(root, code, disk / "tree")
        assert str(disk) in explain_error(found.value)
        assert [path.name for path in disk.iterdir()] == ["filler"]
