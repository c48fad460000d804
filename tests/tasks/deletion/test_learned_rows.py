"""Test that a run registers no model that learned from rows withdrawn meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.pipeline_run import PipelineRun
from model.errors import UserError
from tasks.data.withdrawals import Withdrawal, write_withdrawals
from tasks.deletion.learned_rows import promotion_check, refuse_withdrawn_rows
from tasks.tracking.tracker import Tracker
from tests.flows.cli.test_lineage_bases import descended, project
from tests.tasks.deletion.test_output_erasure import make

__all__ = ["descended", "project"]

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
