"""Test that withdrawn rows return only if a person readmits them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data.sources.source_types import DataParameters
from tasks.data.versions.readmitted_rows import LAST
from tasks.data.withdrawals import WITHDRAWN
from tasks.onboarding.source_preview import dry_run
from tasks.validate import ValidateParameters
from tests.tasks.data.withdrawal_project import OWN, ids, make, make_project, withdraw


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project with two texts, labels by ann and ben, and one rating by both."""
    make_project(tmp_path)
    return tmp_path


def emptied(root: Path) -> None:
    (root / WITHDRAWN).write_text("")


def torn(root: Path) -> None:
    lines = (root / WITHDRAWN).read_text().splitlines(keepends=True)
    (root / WITHDRAWN).write_text("".join(lines[:-1]))


def other_branch(root: Path) -> None:
    """Restore both files of before the first withdrawal."""
    (root / WITHDRAWN).unlink()
    (root / "data.dvc").write_text((root / "before.dvc").read_text())


def cloned(root: Path) -> None:
    """Keep only data.dvc, as a clone does where nothing else was committed."""
    (root / WITHDRAWN).unlink()
    shutil.rmtree(root / ".dvc")
    shutil.rmtree(root / "var")


def another_person(root: Path) -> None:
    """Replace one withdrawal by one of another person."""
    text = (root / WITHDRAWN).read_text()
    (root / WITHDRAWN).write_text(text.replace('"annotator":"ben"', '"annotator":"zoe"'))


def of_an_older_chatmill(root: Path) -> None:
    """Remove what older versions of chatmill did not record."""
    cloned(root)
    pointer = yaml.safe_load((root / "data.dvc").read_text())
    del pointer["meta"]["withdrawn"]["members"]
    (root / "data.dvc").write_text(yaml.safe_dump(pointer))


@pytest.mark.parametrize(
    "lose",
    [emptied, torn, other_branch, cloned, another_person, of_an_older_chatmill],
    ids=lambda one: one.__name__,
)
def test_ingest_fewer_withdrawals_are_refused_unless_readmitted(root: Path, lose: Any) -> None:
    shutil.copy(root / "data.dvc", root / "before.dvc")
    withdraw(root, ["ann", "ben"], [])
    make(root)
    now = (root / "data.dvc").read_text()
    lose(root)
    pointer = (root / "data.dvc").read_text()
    for _ in range(2):
        with pytest.raises(UserError, match=r"withdrawn\.jsonl lacks .*data\.readmit=true"):
            make(root)
        assert ids(root, "comparisons") == [] and (root / "data.dvc").read_text() == pointer
    with dry_run(DataParameters((OWN,)), ValidateParameters(), root, lambda event: None) as found:
        assert "withdrawn.jsonl lacks" in str(found.stop)
    assert make(root, DataParameters((OWN,), readmit=True)).metrics["comparisons"] > 0
    assert make(root).metrics["comparisons"] > 0
    assert (root / "data.dvc").read_text() != now


def test_ingest_reused_version_notes_its_withdrawals(root: Path) -> None:
    withdraw(root, ["ann"], [])
    make(root)
    (root / LAST).unlink()
    assert make(root).reused and (root / LAST).exists()
    (root / LAST).write_text("[torn")
    assert make(root).reused
    more = withdraw(root, ["ben"], [])
    assert more.new and make(root).metrics["comparisons"] == 0
