"""Signs that turn a word round: what they stand beside is asked about, and never read as the plain word."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.parsing.vote_reasons import split_reason
from tasks.data.records import Comparison, Rating
from tasks.data.values.choices import plain_choice
from tasks.data.values.field_meanings import as_flag, as_review, as_verdict
from tasks.data.values.turning_signs import has_turning_sign
from tasks.data.values.value_meanings import mapped_value
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}


@pytest.mark.parametrize(
    "said",
    [
        "👎 a", "❌ B", "!b", "-a", "– a", "¬a", "≠a", "~~a~~", "a ✗", "⛔b", "a 💩", "a (-)", "(👎) a", "↓a",
        "<a", "b-", "b?", "b is better 👎", "❌response_a", "!tie", "-tie", "tie 👎", "no tie", "not equal",
    ],
)  # fmt: skip
def test_plain_choice_with_turning_sign_names_no_side(said: str) -> None:
    assert plain_choice(said, {}) == said


@pytest.mark.parametrize(
    ("said", "side"),
    [
        ("**a**", "a"), ("(b)", "b"), ("“B”", "b"), ("A.", "a"), ("B!", "b"), ("✓ a", "a"), ("👍🏽 b", "b"),
        ("response-a", "a"), ("A - much better", "a"), ("[[B]]", "b"), ("A>>B", "a"),
        ("no preference", "tie"),
    ],
)  # fmt: skip
def test_plain_choice_with_harmless_marks_names_its_side(said: str, side: str) -> None:
    assert plain_choice(said, {}) == side


@pytest.mark.parametrize("key", ["feedback", "label", "thumbs", "liked", "accepted"])
@pytest.mark.parametrize("sign", ["!", "-", "- ", "– "])
def test_read_rows_negated_verdict_is_asked_about(key: str, sign: str) -> None:
    words = {"feedback": ("good", "bad"), "thumbs": ("up", "down")}.get(key, ("true", "false"))
    rows = [{**PAIR, "prompt": f"Bird {n}?", key: words[n % 2]} for n in range(6)]
    found, tally = read(*rows, {**PAIR, key: f"{sign}{words[0]}"})
    stopped = bool(found[-1].row.fault)
    try:
        tally.check("mine", {})
    except UserError as error:
        stopped = stopped or key in str(error)
    assert stopped


@pytest.mark.parametrize(
    "value",
    ["reject?", "accept 👎", "rejct", "to reject", "accept ❌", "accept/reject", "ignore?", "Accept?"],
)
@pytest.mark.parametrize("several", [1, 3])
def test_read_rows_answer_near_accept_or_reject_is_asked_about(value: str, several: int) -> None:
    said = ["accept", "reject", *(f"{value}{' ' * n}" for n in range(several))]
    rows = [{**PAIR, "prompt": f"Bird {n}?", "answer": one} for n, one in enumerate(said)]
    _, tally = read(*rows)
    with pytest.raises(UserError, match="answer"):
        tally.check("mine", {})


@pytest.mark.parametrize("values", [["4", "12", "7", "no"], ["12", "0", "7.5", "yes", "33"]])
def test_read_rows_final_answers_are_not_asked_about(values: list[str]) -> None:
    _, tally = read(*({**PAIR, "prompt": f"Bird {n}?", "answer": one} for n, one in enumerate(values)))
    tally.check("mine", {})


@pytest.mark.parametrize(
    "cell",
    [
        "up: down", "down - up", "good (not)", "good: 👎", "good - ❌", "👍 - no", "good (no)",
        "good - false", "+1 (-1)", "good (0/5)", "good: not really", "good: hallucinated", "good (deleted)",
        "bad: 👍", "bad (5/5)", "down: not really", "good - ?", "good (?)", "up: unsure", "bad: correct?",
        "good: 🤔",
    ],
)  # fmt: skip
def test_split_reason_that_takes_the_vote_back_is_not_split(cell: str) -> None:
    assert split_reason(cell) is None


@pytest.mark.parametrize(
    "cell", ["down: not short", "👎 – no bird", "good - clear and short", "up: very nice", "bad (rude)"]
)
def test_split_reason_that_supports_the_vote_is_split(cell: Any) -> None:
    assert split_reason(cell) is not None


@pytest.mark.parametrize(
    ("text", "turns"), [("good", False), ("a/b", False), ("good 👎", True), ("ok?", True)]
)
def test_has_turning_sign_sees_signs_beside_words(text: str, turns: bool) -> None:
    assert has_turning_sign(text) is turns


SIDES = {"1": "a", "2": "b", "left": "a", "right": "b", "=": "tie", "-1": "b"}
TURNED = [
    "!2", "1-", "1 -", "2–", "- 1", "-1.", "-1!", "left-", "- left", "!right", "！right", "right‑", "≠", "2?",
    "l̶e̶f̶t̶", "left ✗", "👎 left",
]  # fmt: skip


@pytest.mark.parametrize("said", TURNED)
def test_mapped_value_with_turning_sign_is_no_listed_value(said: str) -> None:
    assert mapped_value(said, SIDES) is None


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (-1, "b"), ("-1", "b"), (-1.0, "b"), (" -1 ", "b"), ("LEFT", "a"), ("left.", "a"), ("Right!", "b"),
        (2.0, "b"),
    ],
)  # fmt: skip
def test_mapped_value_of_number_or_plain_word_is_listed_value(said: Any, meaning: str) -> None:
    assert mapped_value(said, SIDES) == meaning


@pytest.mark.parametrize("key", ["!2", "1-", "left -", "good?", "≠"])
def test_mapped_value_of_key_with_turning_sign_matches_it_literally(key: str) -> None:
    mapping = {**SIDES, "good": 1, key: "ignore"}
    assert mapped_value(key, mapping) == mapped_value(f" {key.upper()}", mapping) == "ignore"
    assert mapped_value("2", mapping) == "b" and mapped_value("left", mapping) == "a"


@pytest.mark.parametrize("said", ["good -", "!👍", "yes –", "-yes", "n̶o̶", "！bad", "true-"])
def test_as_verdict_with_turning_sign_is_no_verdict(said: str) -> None:
    assert as_verdict(said) is as_review(said) is as_flag(said) is None


@pytest.mark.parametrize("said", TURNED)
def test_read_rows_vote_with_turning_sign_is_counted_as_lost(said: str) -> None:
    two = {"prompt": "Name a bird.", "a": "A robin.", "b": "A bee."}
    rows = [{**two, "prompt": f"Bird {n}?", "anna": 2, "ben": 1} for n in range(8)]
    votes = dict.fromkeys(("anna", "ben"), SIDES)
    found, tally = read(*rows, {**two, "anna": said, "ben": 1}, format="rows", fields=votes)
    choices = [one.row.choice for one in found if isinstance(one.row, Comparison)]
    assert sorted(choices) == ["a"] * 9 + ["b"] * 8
    assert any("anna" in line and "a.jsonl, line 9" in line for line in tally.lines())


@pytest.mark.parametrize("said", ["good -", "good–", "!good", "good ✗", "- good", "good?"])
def test_read_rows_mapped_verdict_with_turning_sign_is_quarantined(said: str) -> None:
    rows = ({**PAIR, "state": one} for one in ("good", "bad", said))
    (*_, last), tally = read(*rows, fields={"state": {"good": 1, "bad": -1}})
    assert "a value without a meaning in fields" in last.row.fault
    assert tally.faults == 1


@pytest.mark.parametrize("said", ["1-", "!2", "2?"])
def test_read_rows_mapped_choice_with_turning_sign_is_asked_about(said: str) -> None:
    two = {"prompt": "Name a bird.", "a": "A robin.", "b": "A bee."}
    _, tally = read({**two, "choice": said}, {**two, "choice": "1"}, fields={"choice": {"1": "a", "2": "b"}})
    with pytest.raises(UserError, match="choice"):
        tally.check("mine", {})


@pytest.mark.parametrize("key", ["feedback", "label", "rating", "thumbs"])
@pytest.mark.parametrize(
    ("said", "score"),
    [
        ('"good"', 1.0), ("'bad'", -1.0), ("“Good”", 1.0), ("✓ good", 1.0), ("✔️ yes", 1.0), ("good ✅", 1.0),
        ("❌ bad", -1.0), ("✗ no", -1.0), ("👎 bad", -1.0),
    ],
)  # fmt: skip
def test_read_rows_verdict_in_quotes_or_with_agreeing_mark_is_read(key: str, said: str, score: float) -> None:
    (found,), tally = read({**PAIR, key: said})
    assert isinstance(found.row, Rating) and found.row.scores == [score]
    tally.check("mine", {})


@pytest.mark.parametrize(
    "said", ["✓ bad", "☑ no", "good ❌", "👍 bad", '"!good"', "✓ -good", "- ✓ good", '"good" "bad"', '"good']
)
def test_read_rows_verdict_with_other_mark_is_asked_about(said: str) -> None:
    _, tally = read({**PAIR, "feedback": "good"}, {**PAIR, "feedback": said})
    with pytest.raises(UserError, match="feedback"):
        tally.check("mine", {})


@pytest.mark.parametrize(
    ("said", "review"), [("✓ accepted", "accept"), ('"reject"', "reject"), ("✗ no", "reject")]
)
def test_as_review_in_quotes_or_with_agreeing_mark_is_read(said: str, review: str) -> None:
    assert as_review(said) == review
