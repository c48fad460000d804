"""Test that validation follows the accepted version of the data, and what it is computed again for."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.sources.source_types import DataParameters
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.validate import ValidateParameters, validate
from tasks.validation.row_loss import accepted_rows, lost_rows
from tests.tasks.dvc_project import git
from tests.tasks.ingest_project import OWN, write


def run(root: Path, **settings: float) -> StageOutput:
    """Ingest and validate as a pipeline run does."""
    context = StageContext(root)
    made = ingest.run(DataParameters((OWN,)), {}, context, lambda event: None)
    return validate.run(ValidateParameters(**settings), {"ingest": made}, context, lambda event: None)


def write_texts(root: Path, count: int) -> None:
    write(root, *({"text": f"The mill number {n} stands at a river."} for n in range(count)))


def commit(root: Path) -> None:
    git(root, "add", "data.dvc")
    git(root, "commit", "-qm", "accepted")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project whose first version of 40 texts is committed."""
    write_texts(tmp_path, 40)
    git(tmp_path, "init", "-q")
    run(tmp_path)
    commit(tmp_path)
    return tmp_path


@pytest.mark.parametrize("count", [20, 39, 41, 200])
def test_validate_commit_of_data_is_no_reason_to_compute_again(root: Path, count: int) -> None:
    write_texts(root, count)
    assert not run(root).reused
    assert accepted_rows(root) == {"text": 40, "pairs": 0, "comparisons": 0, "ratings": 0}
    commit(root)
    assert accepted_rows(root) == {} and run(root).reused


def test_validate_first_commit_of_data_is_no_reason_to_compute_again(tmp_path: Path) -> None:
    write_texts(tmp_path, 5)
    git(tmp_path, "init", "-q")
    assert not run(tmp_path).reused
    commit(tmp_path)
    assert run(tmp_path).reused


def test_validate_accepted_version_with_more_rows_is_compared_anew(root: Path) -> None:
    write_texts(root, 30)
    run(root)
    now = (root / "data.dvc").read_bytes()
    # Somebody accepts a much larger version, and data.dvc of before is put back.
    write_texts(root, 100)
    run(root)
    commit(root)
    (root / "data.dvc").write_bytes(now)
    write_texts(root, 30)
    assert lost_rows(root, 0.5) == {"text": 100}
    with pytest.raises(UserError, match=r"count of rows \(30; at least 50 is wanted\)"):
        run(root)
    assert run(root, max_row_drop=0.8).metrics["text"] == 30


@pytest.mark.parametrize(("drop", "found"), [(0.0, {"text": 40}), (0.2, {"text": 40}), (0.25, {}), (1.0, {})])
def test_lost_rows_share_is_that_of_the_rule(root: Path, drop: float, found: dict[str, int]) -> None:
    write_texts(root, 30)
    ingest.run(DataParameters((OWN,)), {}, StageContext(root), lambda event: None)
    assert lost_rows(root, drop) == found
    if found:
        with pytest.raises(UserError, match="count of rows"):
            run(root, max_row_drop=drop)
    else:
        assert run(root, max_row_drop=drop).metrics["text"] == 30
