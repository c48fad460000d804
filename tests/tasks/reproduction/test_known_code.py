"""Test that `reproduce` runs only code that this host knows or a person trusts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.common.git_checkout import Code, code_state
from tasks.project.paths import KNOWN_CODE
from tasks.reproduction.known_code import check_plain, check_trusted, remember_code
from tasks.reproduction.recorded_run import read_original
from tasks.tracking.tracker import Tracker
from tests.tasks.dvc_project import git

PRESET = '{"name": "mine", "data": {"sources": [], "remote": ""}}'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "one.py").write_text("a = 1\n")
    (tmp_path / ".gitignore").write_text("var/\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def preset(**data: Any) -> Mapping[str, Any]:
    return {"name": "mine", "data": {"sources": [], "remote": "", **data}}


def test_check_trusted_unknown_diff_is_refused(root: Path) -> None:
    (root / "tasks" / "one.py").write_text("a = 2\n")
    code = code_state(root)
    with pytest.raises(UserError, match=r"no record of that diff.*chatmill reproduce abc --trust"):
        check_trusted(root, "abc", code, preset())
    remember_code(root, code, PRESET)
    check_trusted(root, "abc", code, preset())
    # A changed diff, or the same diff on another commit, is other code.
    for other in (replace(code, diff=code.diff + "+import os\n"), replace(code, commit="12" * 20)):
        with pytest.raises(UserError, match="no record"):
            check_trusted(root, "abc", other, preset())


@pytest.mark.parametrize("diff", ["", " \n", None])
def test_read_original_changed_code_without_diff_is_refused(tmp_path: Path, diff: str | None) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "chatmill", tmp_path / "mlflow")
    notes = {"preset.json": "{}", **({} if diff is None else {"git.diff": diff})}
    with tracker.open_run("demo", notes, {"git.commit": "a" * 40, "git.dirty": "true"}, "note"):
        pass
    with pytest.raises(UserError, match=r"its git\.diff is missing in MLflow or empty"):
        read_original(tracker.client, tracker.run)


def test_remember_code_files_are_private_and_written_once(root: Path) -> None:
    for _ in range(2):
        remember_code(root, code_state(root), PRESET)
    kept = list((root / KNOWN_CODE).iterdir())
    assert len(kept) == 2 and {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert (root / KNOWN_CODE).stat().st_mode & 0o777 == 0o700
    assert "cache" not in KNOWN_CODE.parts


def test_check_trusted_commit_needs_branch_or_tag(root: Path) -> None:
    check_trusted(root, "abc", code_state(root), preset())
    loose = Code(git(root, "commit-tree", "-m", "theirs", "HEAD^{tree}"), "")
    git(root, "update-ref", "refs/remotes/origin/theirs", loose.commit)
    with pytest.raises(UserError, match=r"in no branch or tag.*git show.*--trust"):
        check_trusted(root, "abc", loose, preset())
    remember_code(root, loose, PRESET)
    check_trusted(root, "abc", loose, preset())


@pytest.mark.parametrize(
    "data",
    [{"remote": "s3://theirs/data"}, {"endpoint": "https://theirs.example"}, {"remote": "/mnt/theirs"}],
)
def test_check_trusted_store_must_be_named_by_preset(root: Path, data: dict[str, str]) -> None:
    code = code_state(root)
    with pytest.raises(UserError, match=r"no preset in configs/ names.*credentials"):
        check_trusted(root, "abc", code, preset(**data))
    (root / "configs").mkdir()
    (root / "configs" / "broken.yaml").write_text("[")
    (root / "configs" / "mine.yaml").write_text(yaml.safe_dump({"data": data}))
    check_trusted(root, "abc", code, preset(**data))


def test_check_trusted_store_of_remembered_preset_is_allowed(root: Path) -> None:
    text = '{"data": {"remote": "s3://ours", "sources": []}, "name": "mine"}'
    remember_code(root, code_state(root), text)
    check_trusted(root, "abc", code_state(root), preset(remote="s3://ours"))


@pytest.mark.parametrize(
    ("commit", "data", "values"),
    [
        ("--upload-pack=touch x", "", preset()),
        ("HEAD", "", preset()),
        ("12" * 20, "../../etc/passwd", preset()),
        ("12" * 20, "0123.dir", preset()),
        ("12" * 20, "12" * 16, {"name": "x"}),
        ("12" * 20, "12" * 16, {"data": []}),
        ("12" * 20, "12" * 16, {"data": {"sources": "x"}}),
    ],
)
def test_check_plain_invalid_commit_hash_or_preset_is_refused(
    commit: str, data: str, values: Mapping[str, Any]
) -> None:
    with pytest.raises(UserError, match="run abc has"):
        check_plain("abc", Code(commit, ""), data, values)
    check_plain("abc", Code("12" * 20, ""), "12" * 16 + ".dir", preset())
