"""Test the empty cells and the unknown words of reviewers' columns and masks."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.questions.review_columns import ReviewColumns
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Comparison, Pair, Rating, Text
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
TEXT = {"text": "Robins sing in the morning."}
TWO = {"prompt": "Name a bird.", "a": "A robin.", "b": "A bee.", "choice": "a"}
ALPACA = {"instruction": "Name a bird.", "input": "", "output": "A robin."}


def rows(row: dict[str, Any], key: str, *said: Any) -> list[dict[str, Any]]:
    """Return a row for each value of a key, with texts that differ."""
    text = "text" if "text" in row else next(iter(row))
    return [{**row, text: f"{row[text]} {n}", key: one} for n, one in enumerate(said)]


@pytest.mark.parametrize("row", [PAIR, TEXT, ALPACA])
@pytest.mark.parametrize("empty", [None, "", "  ", "nan", []])
def test_read_rows_empty_answer_beside_reviews_is_asked_about(row: dict[str, Any], empty: Any) -> None:
    said = ["accept", "reject", empty, empty]
    _, tally = read(*rows(row, "answer", *said))
    with pytest.raises(UserError, match=r"line 3: the key answer is empty in 2 rows.*\{answer: review\}"):
        tally.check("mine", {})
    found, tally = read(*rows(row, "answer", *said), fields={"answer": "review"})
    tally.check("mine", {"answer": "review"})
    assert sum(isinstance(one.row, Pair | Text) for one in found) == 1
    assert any(line.startswith("left out: 2") and "answer" in line for line in tally.lines())
    fields = {"answer": {"accept": "accept", "reject": "reject", "ignore": "ignore", "": "accept"}}
    found, tally = read(*rows(row, "answer", *said), fields=fields)
    assert sum(isinstance(one.row, Pair | Text) for one in found) == 3


@pytest.mark.parametrize("said", [[None, ""], ["4", "", "7", None, "x = 2"]])
def test_read_rows_empty_answer_without_reviews_is_not_asked_about(said: list[Any]) -> None:
    found, tally = read(*rows(PAIR, "answer", *said))
    tally.check("mine", {})
    assert len(found) == len(said) and not tally.left_out


@pytest.mark.parametrize("row", [PAIR, TEXT])
@pytest.mark.parametrize("word", ["maybe", "hm", "see note", "5", "later", "akzeptiert"])
def test_read_rows_unknown_word_beside_reviews_is_asked_about(row: dict[str, Any], word: str) -> None:
    _, tally = read(*rows(row, "answer", "accept", word, "reject"))
    with pytest.raises(UserError, match=rf"the key answer is '{word}'.*answer: review"):
        tally.check("mine", {})
    found, tally = read(*rows(row, "answer", "accept", word, "reject"), fields={"answer": "review"})
    tally.check("mine", {"answer": "review"})
    assert [bool(one.row.fault) for one in found].count(True) == tally.faults == 1


@pytest.mark.parametrize("key", ["accepted", "approved", "review_result"])
@pytest.mark.parametrize("empty", [None, "", "N/A"])
def test_read_rows_text_with_empty_review_is_left_out_and_counted(key: str, empty: Any) -> None:
    found, tally = read(*rows(TEXT, key, "yes" if key == "approved" else "accept", empty, "reject", empty))
    assert len(found) == 1 and isinstance(found[0].row, Text)
    assert any(
        line.startswith(f"left out: 2 texts that nobody reviewed, as {key} is") for line in tally.lines()
    )
    tally.check("mine", {})


@pytest.mark.parametrize(
    ("mapping", "learned"), [({}, 1), ({"": "accept"}, 3), ({"": "ignore"}, 1), ({"": "reject"}, 1)]
)
def test_read_rows_text_with_empty_mapped_state_follows_mapping(
    mapping: dict[str, str], learned: int
) -> None:
    fields = {"state": {"done": "accept", "off": "reject", **mapping}}
    found, tally = read(*rows(TEXT, "state", "done", "", "off", None), fields=fields)
    assert len(found) == learned
    assert sum(tally.left_out.values()) == 4 - learned


def test_read_rows_text_with_empty_score_is_learned() -> None:
    found, tally = read(*rows(TEXT, "score", None, ""), fields={})
    assert len(found) == 2 and not tally.left_out


@pytest.mark.parametrize("row", [TWO, {**PAIR, "score": 4}])
def test_read_rows_label_with_empty_review_is_kept_and_listed(row: dict[str, Any]) -> None:
    found, tally = read(*rows(row, "accepted", True, None, False))
    assert len(found) == 2 and all(isinstance(one.row, Comparison | Rating) for one in found)
    assert any("accepted (empty: a label without a review)" in line for line in tally.lines())
    tally.check("mine", {})


@pytest.mark.parametrize("key", ["train", "loss_mask", "masked"])
@pytest.mark.parametrize("row", [PAIR, TEXT])
def test_read_rows_empty_mask_beside_others_is_told(row: dict[str, Any], key: str) -> None:
    found, tally = read(*rows(row, key, True, None, False, ""))
    assert len(found) == 3
    said = f"learned although the mask {key} is empty: 2 rows, first 'a.jsonl, line 2'"
    assert said in list(tally.lines())
    assert not any("mask" in line for line in read(*rows(row, key, None, None))[1].lines())


@pytest.mark.parametrize("meaning", ["weight", "mask"])
def test_read_rows_empty_told_mask_is_counted(meaning: str) -> None:
    found, tally = read(*rows(PAIR, "use", 1, "", None, 0), fields={"use": meaning})
    assert len(found) == 3
    assert "learned although the mask use is empty: 2 rows, first 'a.jsonl, line 2'" in list(tally.lines())


def test_review_columns_of_parts_are_added() -> None:
    whole = SkipCounts()
    for said in (["accept", ""], ["", "reject"]):
        whole.add(read(*rows(PAIR, "answer", *said))[1])
    assert whole.asks()["answer"].count == 2
    empty = ReviewColumns()
    empty.update(whole.reviews)
    assert empty.empty["answer"].where == "a.jsonl, line 2"
