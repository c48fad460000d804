"""Test the stage `ingest` with answers that people rated bad, of which another row is an unrated copy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.data.records import Pair
from tasks.data.sources.source_types import DataParameters
from tasks.onboarding.folder_scan import scan_folder
from tests.tasks.ingest_project import OWN, run, write
from tests.tasks.record_files import read_rows

ASKED = {"prompt": "What turns?", "completion": "The mill."}
COPY = {"prompt": "What turns?", "completion": "The mill.\n"}
OTHER = {"prompt": "What turns?", "completion": "The wheel."}
BEST = {"prompt": "What stands?", "completion": "The tower."}


def _pairs(folder: Path) -> set[str]:
    return {row.completion.strip() for row in read_rows(folder / "out" / "rows" / "pairs", "pairs")}


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ({"rating": 1}, {"rating": 5}),
        ({"rating": 2}, {"rating": 4}),
        ({"rating": "1/5"}, {"rating": "1/5"}),
        ({"stars": "★"}, {"stars": "★★★★"}),
        ({"score": 0.1}, {"score": 0.9}),
        ({"score": 10}, {"score": 85}),
        ({"score": -3}, {"score": 3}),
        ({"scores": [1, 2], "annotators": ["ana", "ben"]}, {"scores": [4, 5], "annotators": ["ana", "ben"]}),
        ({"label": "bad"}, {"label": "good"}),
    ],
)
@pytest.mark.parametrize("copy", [ASKED, COPY])
def test_ingest_copy_of_answer_with_bad_ratings_only_is_left_out(
    tmp_path: Path, bad: dict[str, Any], good: dict[str, Any], copy: dict[str, Any]
) -> None:
    write(tmp_path, copy, OTHER, {"text": "one"}, name="a")
    write(tmp_path, {**ASKED, **bad}, {**BEST, **good}, name="b")
    said: list[str] = []
    figures = run(tmp_path, said=said)
    assert _pairs(tmp_path) == {"The wheel."} and figures["ratings"] == 2
    assert any("left out: 1 pair that another row rejects, rates bad or deletes" in line for line in said)


@pytest.mark.parametrize(
    ("ratings", "best"),
    [
        ([{"rating": 1, "annotator": "ana"}, {"rating": 5, "annotator": "ben"}], {"rating": 5}),
        ([{"rating": 3}], {"rating": 5}),
        ([{"rating": 2, "annotator": "ana"}, {"rating": 3, "annotator": "ben"}], {"rating": 5}),
        ([{"scores": [1, 5], "annotators": ["ana", "ben"]}], {"score": 5}),
        ([{"rating": 1}], {"rating": 1}),
        ([{"rating": 1, "aspect": "tone"}], {"rating": 5, "aspect": "tone"}),
        ([{"rating": 1, "aspect": "truthfulness"}, {"rating": 4, "aspect": "helpfulness"}], {"rating": 5}),
        ([{"score": 7}], {"score": 8}),
        ([{"score": "4/5"}], {"score": "4/5"}),
    ],
)
def test_ingest_copy_of_answer_that_somebody_rated_higher_stays(
    tmp_path: Path, ratings: list[dict[str, Any]], best: dict[str, Any]
) -> None:
    write(tmp_path, ASKED, OTHER, {"text": "one"}, name="a")
    write(tmp_path, *({**ASKED, **rating} for rating in ratings), {**BEST, **best}, name="b")
    assert run(tmp_path)["pairs"] == 2


@pytest.mark.parametrize(
    ("values", "left_out"),
    [((True, False), 1), ((1, 0), 1), ((1, 2), 0), ((1, 1), 0), ((3, 1), 0)],
)
def test_ingest_flag_against_answer_rejects_its_copy_and_rank_does_not(
    tmp_path: Path, values: tuple[Any, Any], left_out: int
) -> None:
    write(tmp_path, ASKED, OTHER, {"text": "one"}, name="a")
    write(tmp_path, {**ASKED, "rank": values[0]}, {**BEST, "rank": values[1]}, name="b")
    source = replace(OWN, fields={"rank": "penalty"})
    assert run(tmp_path, DataParameters((source,)))["pairs"] == 2 - left_out


@pytest.mark.parametrize("mask", [{"train": False}, {"weight": 0}, {"mask": True}])
def test_ingest_mask_is_about_its_own_row_only(tmp_path: Path, mask: dict[str, Any]) -> None:
    write(tmp_path, ASKED, {"text": "one"}, name="a")
    write(tmp_path, {**ASKED, **mask}, OTHER, name="b")
    assert run(tmp_path)["pairs"] == 2


@pytest.mark.parametrize("bad", [{"rating": 1}, {"label": "bad"}, {"stars": 2}])
def test_scan_folder_leaves_out_what_ingestion_does(tmp_path: Path, bad: dict[str, Any]) -> None:
    key = next(iter(bad))
    good = {key: "good" if key == "label" else 5}
    for name, rows in (("a", [COPY, OTHER]), ("b/b", [{**ASKED, **bad}, {**BEST, **good}])):
        path = tmp_path / "texts" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scan = scan_folder(tmp_path / "texts", tmp_path)
    assert [row.completion for row in scan.of("pairs") if isinstance(row, Pair)] == ["The wheel."]
    assert scan.count("ratings") == 2
