"""Test texts under names such as `deleted` and `rating_comment`: which of them mark their rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Rating
from tests.tasks.data.parsing.row_reader import read, read_file

LONG = "the miller told her that no boat had come down the river since the first snow of that winter"


def _pairs(key: str, values: list[Any]) -> list[dict[str, Any]]:
    """Return pairs with a value each; None leaves the key out."""
    return [
        {"prompt": f"Bird {n}?", "completion": f"Robin {n}.", **({} if value is None else {key: value})}
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize("key", ["deleted", "removed", "is_removed", "hidden", "discarded"])
def test_skip_counts_check_long_text_in_every_row_is_listed_only(key: str) -> None:
    found, tally = read(*_pairs(key, [f"{n} {LONG}" for n in range(4)]))
    tally.check("mine")
    assert len(found) == 4 and not tally.left_out
    assert next(tally.lines()).startswith(f"unused keys: {key} (4, as '0 the miller")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("deleted", [LONG, None, LONG, None]),
        ("removed", [LONG, "", LONG]),
        ("deleted", [LONG, False, LONG]),
        ("discarded", [LONG, "null", LONG]),
        ("deleted", [f"yes: {LONG}", f"yes: {LONG}"]),
        ("hidden", [LONG, "yes"]),
    ],
)
def test_skip_counts_check_long_text_that_other_rows_lack_is_asked_about(key: str, values: list[Any]) -> None:
    _, tally = read(*_pairs(key, values))
    with pytest.raises(UserError, match=rf"the key {key} is .* looks like a verdict"):
        tally.check("mine")


def test_skip_counts_add_rows_of_two_parts_tell_a_mark_together() -> None:
    _, one = read(*_pairs("deleted", [LONG, LONG]))
    _, other = read(*_pairs("deleted", [None, None]))
    whole = SkipCounts()
    whole.add(one)
    whole.check("mine")
    whole.add(other)
    with pytest.raises(UserError, match=r"the key deleted is .* looks like a verdict"):
        whole.check("mine")


def test_skip_counts_check_file_that_never_has_the_text_tells_no_mark() -> None:
    _, tally = read(*_pairs("deleted", [LONG, LONG]))
    lines = "".join(json.dumps(row) + "\n" for row in _pairs("deleted", [None, None]))
    _, other = read_file(SourceFile("b.jsonl", lines.encode()))
    tally.add(other)
    tally.check("mine")


@pytest.mark.parametrize("words", [["too long", "so vague"], ["late", "early", "on time"], ["nice"]])
def test_skip_counts_check_remarks_that_repeat_beside_votes_are_listed_only(words: list[str]) -> None:
    rows = [{**row, "rating": n % 5} for n, row in enumerate(_pairs("rating_comment", words * 6))]
    _, tally = read(*rows)
    tally.check("mine")
    assert next(tally.lines()).startswith("unused keys: rating_comment (")


@pytest.mark.parametrize(("key", "value"), [("train", LONG), ("loss_mask", LONG), ("learn", LONG)])
def test_skip_counts_check_prose_under_the_name_of_a_mask_is_listed_only(key: str, value: str) -> None:
    _, tally = read(*_pairs(key, [value, value]))
    tally.check("mine")
    assert f"unused keys: {key} (2, as " in next(tally.lines())


@pytest.mark.parametrize(("key", "value"), [("loss_mask", "0 1 " * 40), ("train", "[0, 0, 1]" * 20)])
def test_skip_counts_check_long_numbers_under_a_mask_are_asked_about(key: str, value: str) -> None:
    _, tally = read(*_pairs(key, [value, value]))
    with pytest.raises(UserError, match=rf"the key {key} is .* looks like a training mask"):
        tally.check("mine")


@pytest.mark.parametrize(
    "key", ["rating_comment", "verdict_reason", "feedback_text", "score_explanation", "Bewertung Kommentar"]
)
def test_read_rows_remarks_beside_a_vote_are_listed_and_the_vote_counts(key: str) -> None:
    rows = [{**row, "rating": 1 + n} for n, row in enumerate(_pairs(key, ["too long", "so rude", LONG, ""]))]
    found, tally = read(*rows)
    tally.check("mine")
    assert [one.row.scores for one in found if isinstance(one.row, Rating)] == [[1.0], [2.0], [3.0], [4.0]]
    (line,) = tally.lines()
    assert line.startswith(f"unused keys: {key} (3, as 'too long')")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("rating_comment", ["too long", "good", "so rude"]),
        ("verdict_text", ["wrong topic", "bad"]),
        ("feedback_note", ["4/5", "3/5"]),
        ("label_text", ["clean"]),
        ("declined_reason", ["too long"]),
        ("rating_comment", ["meets bar", "below bar"] * 3),
        ("deletion_reason", ["asked"]),
    ],
)
def test_skip_counts_check_remark_that_may_be_the_verdict_is_asked_about(key: str, values: list[str]) -> None:
    _, tally = read(*_pairs(key, values))
    with pytest.raises(UserError, match=rf"the key {key} is .* looks like a verdict"):
        tally.check("mine")
