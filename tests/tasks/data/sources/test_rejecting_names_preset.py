"""Files named by a verdict below a glob: a run asks unless the preset or the rows say what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from model.events import ignore_event
from tasks.data.sources.source_reading import read_source
from tasks.data.sources.source_types import DataParameters, Source
from tasks.onboarding.source_preview import dry_run
from tasks.validate import ValidateParameters
from tests.tasks.ingest_project import run

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
WORSE = {**PAIR, "completion": "No."}


def project(root: Path, **files: dict[str, Any]) -> None:
    """Write a row to each file of `in/`; `__` in a name is a slash."""
    for name, row in files.items():
        path = root / "in" / f"{name.replace('__', '/')}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row) + "\n")


def sources(files: Any, **changes: Any) -> DataParameters:
    return DataParameters((Source("mine", files=files, **changes),))


@pytest.mark.parametrize(
    ("files", "bad", "place"),
    [
        ("in/*.jsonl", "bad", "in/bad.jsonl"),
        ("in", "rejected__old", "in/rejected"),
        ("in/**/*.jsonl", "2024__abgelehnt", "in/2024/abgelehnt.jsonl"),
        ("i*/*.jsonl", "spam", "in/spam.jsonl"),
        (("in/good.jsonl", "in/d*.jsonl"), "discarded", "in/discarded.jsonl"),
    ],
)
def test_ingest_rejecting_name_below_glob_stops_with_both_ways_out(
    tmp_path: Path, files: Any, bad: str, place: str
) -> None:
    project(tmp_path, **{"good": PAIR, bad: WORSE})
    with pytest.raises(UserError, match="are not to be learned") as refused:
        run(tmp_path, sources(files))
    assert f"source mine: {place}: " in str(refused.value) and f'exclude: ["{place}"]' in str(refused.value)
    with dry_run(sources(files), ValidateParameters(), tmp_path, ignore_event) as found:
        assert found.stop and place in str(found.stop)
    assert run(tmp_path, sources(files, exclude=place))["pairs"] == 1
    named = (*((files,) if isinstance(files, str) else files), place)
    assert run(tmp_path, sources(named))["pairs"] == 2


@pytest.mark.parametrize(
    ("files", "row", "changes"),
    [
        ("in/*.jsonl", {**WORSE, "label": False}, {}),
        ("in/*.jsonl", {**WORSE, "ours": "no"}, {"fields": {"ours": {"no": "reject"}}}),
        ("in/bad*.jsonl", {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "No."}, {}),
        (("in/good.jsonl", "in/bad.jsonl"), WORSE, {}),
    ],
)
def test_read_source_named_file_or_verdicts_pass(
    tmp_path: Path, files: Any, row: dict[str, Any], changes: dict[str, Any]
) -> None:
    project(tmp_path, good={**PAIR, "label": True} if "label" in row else PAIR, bad=row)
    known = sources(files, **changes)
    assert read_source(known.sources[0], known, tmp_path, ignore_event)


def test_read_source_verdict_that_fields_ignore_is_none(tmp_path: Path) -> None:
    project(tmp_path, good={**PAIR, "label": True}, bad={**WORSE, "label": False})
    known = sources("in/*.jsonl", format="rows", fields={"label": "ignore"})
    with pytest.raises(UserError, match=r"in/bad.jsonl"):
        read_source(known.sources[0], known, tmp_path, ignore_event)


def test_read_source_glob_inside_rejecting_folder_passes(tmp_path: Path) -> None:
    project(tmp_path, rejected__a=WORSE)
    known = sources("in/rejected/*.jsonl")
    assert len(read_source(known.sources[0], known, tmp_path, ignore_event)) == 1


@pytest.mark.parametrize(
    ("exclude", "said"),
    [("in/good.jsonl", "leaves out every file"), ("in/god.jsonl", "matches no file"), (" ", "an empty name")],
)
def test_read_source_exclude_that_cannot_be_meant_is_refused(tmp_path: Path, exclude: str, said: str) -> None:
    project(tmp_path, good=PAIR)
    with pytest.raises((UserError, ValueError), match=said):
        known = sources("in", exclude=exclude)
        read_source(known.sources[0], known, tmp_path, ignore_event)
