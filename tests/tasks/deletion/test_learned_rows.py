"""Test that a run registers no model that learned from rows withdrawn meanwhile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.cli.models import rollback
from flows.pipeline_run import PipelineRun
from model.errors import UserError
from tasks.data.withdrawals import Withdrawal, write_withdrawals
from tasks.deletion.learned_rows import promotion_check, refuse_withdrawn_base, refuse_withdrawn_rows
from tasks.tracking.tracker import Tracker
from tests.flows.cli.test_lineage_bases import descended, descended_once, project
from tests.flows.cli_runner import call, of
from tests.tasks.deletion.test_output_erasure import make

__all__ = ["descended", "descended_once", "project"]

TIME = "2026-01-31T12:00:00+00:00"


@pytest.mark.parametrize("person", ["ana", "ben", "cleo"])
def test_refuse_withdrawn_rows_person_withdrawn_after_the_split_is_refused(
    tmp_path: Path, person: str
) -> None:
    split = Path(make(tmp_path, ("ana", "ben", "cleo"))["split"].path)
    refuse_withdrawn_rows(tmp_path, split)
    write_withdrawals(tmp_path, [Withdrawal("max", "asked for it", TIME, annotator="dan")])
    refuse_withdrawn_rows(tmp_path, split)
    write_withdrawals(tmp_path, [Withdrawal("max", "asked for it", TIME, annotator=person)])
    with pytest.raises(UserError, match=r"withdraws [0-9]+ rows that this run has used.*not registered"):
        refuse_withdrawn_rows(tmp_path, split)
    # The next run computes without them, and may register its model.
    again = Path(make(tmp_path, ("ana", "ben", "cleo"))["split"].path)
    assert again != split
    refuse_withdrawn_rows(tmp_path, again)


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_refuse_withdrawn_rows_text_withdrawn_by_id_is_refused(tmp_path: Path, part: str) -> None:
    split = Path(make(tmp_path, ("ana", "ben"))["split"].path)
    row = json.loads(next((split / part / "text").glob("*.jsonl")).read_text().splitlines()[0])
    write_withdrawals(tmp_path, [Withdrawal("max", "licence ended", TIME, id=row["id"])])
    with pytest.raises(UserError, match="withdraws 1 row that"):
        refuse_withdrawn_rows(tmp_path, split)


def test_register_model_of_withdrawn_labels_is_refused_before_the_registry(tmp_path: Path) -> None:
    done = make(tmp_path, ("ana", "ben"))
    # No tracker: the refusal comes before any request to MLflow.
    run = object.__new__(PipelineRun)
    run.settings = SimpleNamespace(root=tmp_path)  # type: ignore[assignment]
    run.references = done
    write_withdrawals(tmp_path, [Withdrawal("max", "asked for it", TIME, annotator="ana")])
    with pytest.raises(UserError, match="its model is not registered"):
        run.register_model(done["labels"], done["report"])


@pytest.mark.parametrize(("number", "learned"), [("2", True), ("3", True), ("4", False)])
def test_promotion_check_version_of_withdrawn_labels_is_refused(
    descended: Path, monkeypatch: pytest.MonkeyPatch, number: str, learned: bool
) -> None:
    monkeypatch.chdir(descended)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = f"sqlite:///{descended / 'var' / 'mlflow.db'}"
    tracker = Tracker(store, "chatmill", descended / "var" / "mlflow")
    version = tracker.client.get_model_version("chatmill", number)
    check = promotion_check(tracker, descended)
    check(version)
    write_withdrawals(descended, [Withdrawal("max", "asked for it", TIME, annotator="ann")])
    if learned:
        with pytest.raises(UserError, match=f"chatmill/{number} has used, so it cannot become champion"):
            check(version)
    else:
        check(version)


@pytest.mark.parametrize(
    ("base", "learned"),
    [("model:chatmill@2", True), ("model:chatmill@3", True), ("model:chatmill@champion", True),
     ("model:chatmill@4", False), ("model:chatmill@9", False), ("models/llama", False), ("", False)],
)  # fmt: skip
def test_refuse_withdrawn_base_version_of_withdrawn_labels_is_refused(
    descended: Path, monkeypatch: pytest.MonkeyPatch, base: str, learned: bool
) -> None:
    monkeypatch.chdir(descended)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = Tracker(
        f"sqlite:///{descended / 'var' / 'mlflow.db'}", "chatmill", descended / "var" / "mlflow"
    )
    refuse_withdrawn_base(tracker, descended, base)
    withdraw_person(descended)
    if learned:
        with pytest.raises(UserError, match=r"base_model: .* has used, and a model that"):
            refuse_withdrawn_base(tracker, descended, base)
    else:
        refuse_withdrawn_base(tracker, descended, base)


def withdraw_person(root: Path) -> None:
    write_withdrawals(root, [Withdrawal("max", "asked for it", TIME, annotator="ann")])


def test_rollback_version_of_withdrawn_rows_needs_force(
    descended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(descended)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*words: str) -> list[str]:
        # Another reason each time: the same rollback for the same reason changes nothing.
        return call(of(rollback), *words, "--reason", f"rude {words}", columns=200).output.splitlines()

    assert run("2") == ["version 2 of chatmill is now the champion instead of version 1"]
    withdraw_person(descended)
    # Version 4 began from another model and other rows.
    assert run("4") == ["version 4 of chatmill is now the champion instead of version 2"]
    # The champion before, and another version; both learned through their base models.
    for words, number in (((), 2), (("3",), 3)):
        with pytest.raises(UserError, match=f"chatmill/{number} has used; name another version.*--force"):
            run(*words)
    assert run("3", "--force") == [
        "--force: configs/withdrawn.jsonl withdraws rows that chatmill/3 has used",
        "version 3 of chatmill is now the champion instead of version 4",
    ]


def test_rollback_version_whose_rows_are_gone_needs_force(
    descended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(descended)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    withdraw_person(descended)
    shutil.rmtree(descended / "var" / "cache" / "artifacts" / "split")
    shutil.rmtree(descended / ".dvc", ignore_errors=True)
    with pytest.raises(UserError, match=r"nobody can tell whether chatmill/3 has used rows.*neither on disk"):
        call(of(rollback), "3", "--reason", "answers are rude", columns=200)
