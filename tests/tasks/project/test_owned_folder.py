"""Test folders that chatmill creates, replaces and removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import UserError
from tasks.project.owned_folder import claim_folder, remove_folder, replace_folder
from tests.killed_process import kills


def put(root: Path, name: str, text: str = "mine\n") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.mark.parametrize("content", [{"text.html": "1", ".chatmill": ""}, {"text.html": "1"}, {}])
def test_replace_folder_own_folder_is_replaced(tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        put(tmp_path / "pages", name, text)
    put(tmp_path / "new", "pairs.html", "2")
    replace_folder(tmp_path / "new", tmp_path / "pages", {"text.html", "pairs.html"}.__contains__)
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"pairs.html", ".chatmill"}
    replace_folder(None, tmp_path / "pages", {"pairs.html"}.__contains__)
    assert not (tmp_path / "pages").exists()


@pytest.mark.parametrize("name", ["index.md", "deep/text.html", "text.html.bak"])
def test_replace_folder_foreign_file_is_refused(tmp_path: Path, name: str) -> None:
    for there in (name, "text.html", ".chatmill"):
        put(tmp_path / "pages", there)
    put(tmp_path / "new", "text.html", "2")
    with pytest.raises(UserError, match=name):
        replace_folder(tmp_path / "new", tmp_path / "pages", "text.html".__eq__)
    assert (tmp_path / "pages" / name).exists() and (tmp_path / "pages/text.html").read_text() == "mine\n"


def test_remove_folder_only_own_folders_are_removed(tmp_path: Path) -> None:
    put(tmp_path / "mine", "thesis.txt")
    with pytest.raises(UserError, match=r"mine holds thesis\.txt"):
        remove_folder(tmp_path / "mine", ("installed",))
    with pytest.raises(UserError, match=r"mine holds thesis\.txt"):
        claim_folder(tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").exists()
    put(tmp_path / "older", "installed")
    claim_folder(tmp_path / "new")
    for name in ("older", "new", "none"):
        remove_folder(tmp_path / name, ("installed",))
        assert not (tmp_path / name).exists()
    put(tmp_path, "file")
    with pytest.raises(UserError, match="is not a folder"):
        claim_folder(tmp_path / "file")


def test_remove_folder_killed_at_any_operation_can_be_repeated(tmp_path: Path) -> None:
    def make(root: Path) -> None:
        claim_folder(root / "made")
        for name in ("z", "lib/a", "Z/b"):
            put(root / "made", name)

    count = 0
    for root in kills(lambda root: remove_folder(root / "made"), make, tmp_path):
        count += 1
        remove_folder(root / "made")
        assert not (root / "made").exists()
        claim_folder(root / "made")
    assert count >= 7
