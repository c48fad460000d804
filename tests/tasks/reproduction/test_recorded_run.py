"""Runs whose code is not known whole are not made again: the sentence names the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import UserError
from tasks.common.git_checkout import Code, program_state
from tasks.reproduction.recorded_run import read_original
from tasks.tracking.tracker import Tracker


@pytest.mark.parametrize(
    "problem",
    [
        "model/extra.py is ignored by git, so git.diff lacks it",
        "tasks/large.py is not committed and has more than 1 MiB, so git.diff lacks it",
        "git did not answer within 600 s",
    ],
)
def test_read_original_code_that_is_not_whole_is_refused(tmp_path: Path, problem: str) -> None:
    (tmp_path / "var").mkdir()
    store = f"sqlite:///{tmp_path / 'var' / 'mlflow.db'}"
    tracker = Tracker(store, "chatmill", tmp_path / "var" / "mlflow")
    tags = Code("a" * 40, "diff --git a/x b/x\n", problem).tags()
    with tracker.open_run("mine", {"preset.json": "{}", "git.diff": "diff"}, tags, "note"):
        run = tracker.run
    with pytest.raises(UserError, match="is not known whole, so it cannot be restored") as found:
        read_original(tracker.client, run)
    assert f"({problem})" in str(found.value)


def test_read_original_installed_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    store = f"sqlite:///{tmp_path / 'var' / 'mlflow.db'}"
    tracker = Tracker(store, "chatmill", tmp_path / "var" / "mlflow")
    tags = program_state(tmp_path).tags()
    with tracker.open_run("mine", {"preset.json": "{}"}, tags, "note"):
        run = tracker.run
    with pytest.raises(UserError, match=f"chatmill runs from {tmp_path}, which is not a clone"):
        read_original(tracker.client, run)
