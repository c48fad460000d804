"""Test the stage `ingest` with answers that one row accepts and another row rejects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.data.records import Pair, ParsedRow, pair_row, rating_row, text_row
from tasks.data.rejections import rejection_id
from tasks.data.sources.source_types import DataParameters, Source
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
    assert any("left out: 1 pair that another row rejects, rates bad or deletes" in text for text in said)
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
        f"left out: 1 {kind.removesuffix('s')} that another row rejects, rates bad or deletes" in text
        for text in said
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
    assert any(f"left out: 1 {kind} that another row rejects, rates bad or deletes" in text for text in said)


@pytest.mark.parametrize("verdict", [{"accepted": False}, {"label": "bad"}, {"deleted": True}, {"thumbs": 0}])
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("completion", "The mill.\n"),
        ("completion", "  The mill."),
        ("prompt", "What turns?\r\n"),
        ("completion", "The mill.\u00a0\u200b"),
        ("completion", "The mill."),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_ingest_rejected_copy_with_white_space_at_an_end_is_left_out(
    tmp_path: Path, verdict: dict[str, Any], key: str, text: str, swapped: bool
) -> None:
    copies = [ASKED, {**ASKED, key: text}]
    good, bad = reversed(copies) if swapped else copies
    write(tmp_path, good, OTHER, {"text": "one"}, name="a")
    write(tmp_path, {**bad, **verdict}, OTHER, name="b")
    said: list[str] = []
    figures = run(tmp_path, said=said)
    [pair] = read_rows(tmp_path / "out" / "rows" / "pairs", "pairs")
    assert pair.completion == "The wheel." and figures["pairs"] == 1
    assert any("left out: 1 pair that another row rejects, rates bad or deletes" in line for line in said)


@pytest.mark.parametrize(
    "other",
    [
        {**ASKED, "completion": "The mill!", "label": "bad"},
        {**ASKED, "score": 0.5, "annotator": "ana"},
        {**ASKED, "label": "good"},
        {**ASKED, "label": "bad", "aspect": "tone"},
    ],
)
def test_ingest_answer_that_nobody_rejected_stays(tmp_path: Path, other: dict[str, Any]) -> None:
    write(tmp_path, ASKED, OTHER, {"text": "one"}, name="a")
    write(tmp_path, other, OTHER, name="b")
    assert run(tmp_path)["pairs"] == 2


@pytest.mark.parametrize("end", ["\n", " ", "\t\n"])
def test_ingest_rejected_text_with_white_space_at_an_end_is_left_out(tmp_path: Path, end: str) -> None:
    write(tmp_path, {"text": MILL["text"] + end}, BROOK, name="a")
    write(tmp_path, {**MILL, "answer": "reject"}, BROOK, OTHER, name="b")
    assert run(tmp_path)["text"] == 1
    rows = [ParsedRow(text_row(MILL["text"] + end, "a"), "a, line 1")]
    rejected = [rejection_id(text_row(MILL["text"], "b"))]
    assert keep_each_once(rows, (), Withdrawn(), rejected) == []


BELOW = "Below is an instruction that describes a task. Write a response that completes the request.\n\n"
ASKS = f"{BELOW}### Instruction:\nWhat turns?\n\n### Response:"


def alpaca(answer: str) -> dict[str, Any]:
    """Return a row of Alpaca with an answer."""
    return {"instruction": "What turns?", "input": "", "output": answer}


def chat(answer: str) -> dict[str, Any]:
    """Return a conversation with an answer."""
    turns = [{"role": "user", "content": "What turns?"}, {"role": "assistant", "content": answer}]
    return {"messages": turns}


@pytest.mark.parametrize("mark", [{"deleted": True}, {"accepted": False}, {"label": "bad"}])
@pytest.mark.parametrize(
    ("bad", "good"),
    [
        (alpaca, lambda answer: {**ASKED, "completion": answer}),
        (lambda answer: {**ASKED, "completion": answer}, alpaca),
        (alpaca, chat),
        (chat, alpaca),
        (alpaca, lambda answer: {"prompt": ASKS, "completion": f" {answer}"}),
        (lambda answer: {"prompt": f"{ASKS}\n", "completion": answer}, alpaca),
        (alpaca, lambda answer: {"text": f"{ASKS}\n{answer}\n"}),
    ],
)
def test_ingest_copy_of_bad_row_in_alpaca_template_is_left_out(
    tmp_path: Path, mark: dict[str, Any], bad: Callable[[str], Any], good: Callable[[str], Any]
) -> None:
    write(tmp_path, good("The mill."), name="a")
    write(tmp_path, {**bad("The mill."), **mark}, {**bad("The moon."), "label": "good"}, name="b")
    write(tmp_path, OTHER, BROOK, name="c")
    sources = [Source(name, files=f"texts/{name}.jsonl") for name in "abc"]
    if "text" in good(""):
        sources[0] = replace(sources[0], fields={"text": "text"})
    figures = run(tmp_path, DataParameters(tuple(sources)))
    assert (figures["pairs"], figures["text"]) == (1, 1)


def test_rejection_id_of_alpaca_input_is_that_of_context() -> None:
    prompt = f"{BELOW}### Instruction:\nSum up.\n\n### Input:\nThe mill turns.\n\n### Response:\n"
    plain = pair_row("Sum up.\n\nThe mill turns.", "A mill.", "a", "g")
    assert rejection_id(pair_row(prompt, "A mill.", "a", "g")) == rejection_id(plain) == plain.id
    text = text_row("Write it below ### Response: as told.", "a")
    assert rejection_id(text) == text.id


LONG = {"prompt": "What turns\nat the mill?", "completion": "The wheel turns.\nThe stones turn too."}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("completion", "The wheel turns.\r\nThe stones turn too."),
        ("completion", "The wheel turns.  \rThe stones turn too."),
        ("completion", "The\u00a0wheel turns.\n\u200bThe stones\u202fturn too."),
        ("prompt", "What turns\r\nat the mill?"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_ingest_rejected_copy_with_other_line_ends_or_spaces_is_left_out(
    tmp_path: Path, key: str, text: str, swapped: bool
) -> None:
    copies = [LONG, {**LONG, key: text}]
    good, bad = reversed(copies) if swapped else copies
    write(tmp_path, good, OTHER, {"text": "one"}, name="a")
    write(tmp_path, {**bad, "label": False}, OTHER, name="b")
    run(tmp_path)
    [pair] = read_rows(tmp_path / "out" / "rows" / "pairs", "pairs")
    assert pair.completion == "The wheel."


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("if mill:\nturn()", "if mill:\n    turn()"),
        ("The mill\u200dturns.", "The mill turns."),
        ("The wheel.\nThe stones.", "The wheel. The stones."),
    ],
)
def test_ingest_correction_of_indentation_or_lines_stays(tmp_path: Path, bad: str, good: str) -> None:
    write(tmp_path, {**ASKED, "completion": good}, {"text": "one"}, name="a")
    write(tmp_path, {**ASKED, "completion": bad, "label": False}, name="b")
    run(tmp_path)
    [pair] = read_rows(tmp_path / "out" / "rows" / "pairs", "pairs")
    assert pair.completion == good


@pytest.mark.parametrize(
    "rejected",
    [
        {"rating": 5, "accepted": False},
        {"stars": "4 stars", "approved": "no", "annotator": "ana"},
        {"thumbs": "up", "review_result": "rejected"},
        {"rating": 1, "answer": "reject", "annotator": "ana"},
    ],
)
def test_ingest_rating_that_a_reviewer_rejected_is_no_score(tmp_path: Path, rejected: dict[str, Any]) -> None:
    # A score of -1 would be on no scale of the rater, and under the rater's name.
    rows = [{**ASKED, **rejected}, {**ASKED, "completion": "The wheel.", **rejected, **accepted(rejected)}]
    write(tmp_path, *rows, {"text": "one"}, name="a")
    write(tmp_path, ASKED, name="b")
    said: list[str] = []
    figures = run(tmp_path, said=said)
    [rating] = read_rows(tmp_path / "out" / "rows" / "ratings", "ratings")
    assert rating.completion == "The wheel." and rating.scores != [-1.0]
    assert figures["pairs"] == 0, "the answer was rejected"
    assert any("left out: 1 rating in rows that a reviewer rejected" in text for text in said), said


def accepted(row: dict[str, Any]) -> dict[str, Any]:
    """Return the reviews of a row, which now accept it."""
    return {key: "accept" for key in row if key in ("accepted", "approved", "review_result", "answer")}


@pytest.mark.parametrize("verdict", [{"feedback": "bad"}, {"thumbs": "down"}, {"thumbs_down": 1}])
def test_ingest_rejected_answer_that_was_rated_bad_stays_a_bad_example(
    tmp_path: Path, verdict: dict[str, Any]
) -> None:
    write(tmp_path, {**ASKED, **verdict, "approved": False}, {"text": "one"})
    assert run(tmp_path)["ratings"] == 1
    [rating] = read_rows(tmp_path / "out" / "rows" / "ratings", "ratings")
    assert rating.scores == [-1.0]
