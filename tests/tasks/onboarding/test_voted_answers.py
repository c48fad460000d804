"""Test proposals for rows with two answers and a column of votes for each person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.data.file_io.files import SourceFile
from tasks.onboarding.folder_scan import scan_folder
from tasks.onboarding.voted_answers import voted_answers
from tests.tasks.data.parsing.row_reader import read_file


def _rows(a: str, b: str, votes: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "question": f"Bird {n}?",
            a: f"Robin {n}.",
            b: f"Wren {n}.",
            **{k: v[n % len(v)] for k, v in votes.items()},
        }
        for n in range(8)
    ]


@pytest.mark.parametrize(
    ("a", "b", "votes", "asked"),
    [
        ("answer_a", "answer_b", {"anna": [1, 2], "ben": [2, 2]}, '{"1": a, "2": b}'),
        ("response_1", "response_2", {"anna": [1, 2], "ben": [2, 1]}, "vote"),
        ("left", "right", {"r1": [0, 3, 4], "r2": [4, 1, 0]}, '{"0": ..., "1": ..., "3": ..., "4": ...}'),
        ("answer_a", "answer_b", {"anna": ["A", "B", "="], "ben": ["=", "=", "B"]}, "vote"),
        ("answer_a", "answer_b", {"Ana Lima": ["A>B", "A=B"], "Max Roth": ["A<B", "A=B"]}, "vote"),
        ("answer_a", "answer_b", {"max_r": ["a", "same", "b"], "eva_k": ["both bad", "b"]}, "vote"),
        ("answer_a", "answer_b", {"anna": [1, "=", 2], "ben": ["=", 2, 1]}, '{"1": a, "2": b}'),
        ("reply_a", "reply_b", {"rating_anna": [1, 2], "rating_ben": [2, 2]}, '{"1": a, "2": b}'),
    ],
)
def test_scan_folder_votes_of_people_on_two_answers_are_a_source_with_a_question(
    tmp_path: Path, a: str, b: str, votes: dict[str, Any], asked: str
) -> None:
    rows = _rows(a, b, votes)
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = scan_folder(tmp_path, tmp_path)
    (source,) = found.sources
    assert (source.format, source.columns) == ("rows", {"prompt": "question", "a": a, "b": b})
    assert source.asked == dict.fromkeys(votes, asked) and not found.unreadable
    # The sizes are those of the votes as proposed, unless the user must say what the values mean.
    assert source.proposed == ("..." not in asked) == bool(found.count("comparisons"))
    assert source.count("comparisons") == 16 * source.proposed and source.faults == 8 * (not source.proposed)
    assert f"the columns {', '.join(votes)} look like one per person" in source.stop


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Bird?", "answer_a": "Robin.", "answer_b": "Wren."},
        {"question": "Bird?", "answer_a": "Robin.", "answer_b": "Wren.", "year": 2024, "page_count": 3},
        {"answer_a": "Robin.", "answer_b": "Wren.", "anna": 1, "ben": 2},
        {"question": "Bird?", "answer": "Robin.", "anna": 1, "ben": 2},
    ],
)
def test_voted_answers_other_rows_are_none(row: dict[str, Any]) -> None:
    assert voted_answers([row] * 5) is None


@pytest.mark.parametrize(
    ("votes", "fields"),
    [
        ({"anna": ["A", "B", "="], "ben": ["=", "=", "B"]}, {"anna": "vote", "ben": "vote"}),
        ({"anna": ["A>B", "A=B"], "ben": ["A=B", "B>A"]}, {"anna": "vote", "ben": "vote"}),
        ({"anna": [1, "="], "ben": ["=", 2]}, {name: {"1": "a", "2": "b"} for name in ("anna", "ben")}),
    ],
)
def test_read_rows_equal_signs_are_ties_of_people(votes: dict[str, Any], fields: dict[str, Any]) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in _rows("answer_a", "answer_b", votes))
    columns = {"prompt": "question", "a": "answer_a", "b": "answer_b"}
    file = SourceFile("v.jsonl", rows.encode())
    found, tally = read_file(file, "rows", columns=columns, fields=fields)
    tally.check("mine", fields)
    said = [one.row.choice for one in found]  # type: ignore[union-attr]
    assert len(said) == 16 and said.count("tie") >= 4 and set(said) == {"a", "b", "tie"}
