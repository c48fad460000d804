"""Test the stage `ingest` with answers that one row accepts and another row rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.data.records import Pair, ParsedRow, pair_row, rating_row
from tasks.data.withdrawals import Withdrawn
from tasks.ingestion.repeated_labels import keep_each_once
from tests.tasks.ingest_project import run, write
from tests.tasks.record_files import read_rows

ASKED = {"prompt": "What turns?", "completion": "The mill."}
OTHER = {"prompt": "What turns?", "completion": "The wheel.", "accepted": True}


@pytest.mark.parametrize(
    "rows",
    [
        [{**ASKED, "accepted": True}, {**ASKED, "accepted": False}],
        [{**ASKED, "approved": False, "annotator": "ben"}, {**ASKED, "approved": True, "annotator": "ana"}],
        [{**ASKED, "review_result": "reject", "_timestamp": 1}, ASKED],
        [{**ASKED, "system": ""}, {**ASKED, "accepted": "rejected"}],
    ],
)
def test_ingest_answer_rejected_in_other_row_is_left_out(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    write(tmp_path, *rows[:1], OTHER, {"text": "one"}, name="a")
    write(tmp_path, *rows[1:], name="b")
    said: list[str] = []
    figures = run(tmp_path, said=said)
    assert figures["pairs"] == 1 and figures["ratings"] == 1
    [pair] = read_rows(tmp_path / "out" / "rows" / "pairs", "pairs")
    assert pair.completion == "The wheel."
    assert any("left out: 1 pair that another row rejects or deletes" in text for text in said)
    assert not any("duplicates" in text for text in said)


MILL, BROOK = {"text": "The mill turns all day."}, {"text": "The brook is low in August."}
RATED = {**ASKED, "score": 4, "annotator": "ana"}
CHOICE = {"prompt": "What turns?", "a": "The mill.", "b": "The moon.", "choice": "a", "annotator": "ana"}


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([MILL, {**MILL, "answer": "reject"}], "text"),
        ([{**MILL, "approved": "no"}, {**MILL, "approved": "yes"}], "text"),
        ([{**MILL, "review_result": "rejected"}, MILL, MILL], "text"),
        ([CHOICE, {**CHOICE, "accepted": False}], "comparisons"),
    ],
)
def test_ingest_rejected_row_is_left_out_of_other_sources(
    tmp_path: Path, rows: list[dict[str, Any]], kind: str
) -> None:
    write(tmp_path, *rows[:1], BROOK, name="a")
    write(tmp_path, *rows[1:], OTHER, name="b")
    said: list[str] = []
    figures = run(tmp_path, said=said)
    assert figures["text"] == 1 and figures["pairs"] == 1 and figures["comparisons"] == 0
    [text] = read_rows(tmp_path / "out" / "rows" / "text", "text")
    assert text.text == BROOK["text"]
    assert any("left out: 1 row that a reviewer rejected" in text for text in said)
    assert any(
        f"left out: 1 {kind.removesuffix('s')} that another row rejects or deletes" in text for text in said
    )


def test_ingest_equal_votes_of_unknown_people_are_rejected_singly(tmp_path: Path) -> None:
    vote = {name: value for name, value in CHOICE.items() if name != "annotator"}
    write(tmp_path, vote, {**vote, "accepted": False}, {**vote, "accepted": True}, MILL, name="a")
    assert run(tmp_path)["comparisons"] == 2


def test_keep_each_once_rejected_answer_is_left_out() -> None:
    pair, other = (pair_row("What turns?", text, "mine", "g") for text in ("The mill.", "The wheel."))
    rating = rating_row("What turns?", "The mill.", [-1.0], ["ana"], "quality", "mine", "g")
    every = [ParsedRow(pair, "a, line 1"), ParsedRow(other, "a, line 2")]
    kept = keep_each_once([*every, ParsedRow(rating, "a, line 3", rejects=pair.id)], (), Withdrawn())
    assert [row.completion for row in kept if isinstance(row, Pair)] == ["The wheel."]
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([MILL, {**MILL, "deleted": True}], "text"),
        ([{**MILL, "deleted": "yes"}, {**MILL, "deleted": "no"}], "text"),
        ([CHOICE, {**CHOICE, "is_deleted": 1}], "comparison"),
        ([ASKED, {**ASKED, "removed": "2024-01-02"}], "pair"),
        ([RATED, {**RATED, "deleted": True}], "rating"),
    ],
)  # fmt: skip
def test_ingest_deleted_row_is_left_out_of_other_sources(
    tmp_path: Path, rows: list[dict[str, Any]], kind: str
) -> None:
    write(tmp_path, *rows[:1], BROOK, name="a")
    write(tmp_path, *rows[1:], OTHER, name="b")
    said: list[str] = []
    figures = run(tmp_path, said=said)
    assert (figures["text"], figures["pairs"], figures["comparisons"], figures["ratings"]) == (1, 1, 0, 0)
    assert any(f"left out: 1 {kind} that another row rejects or deletes" in text for text in said)
