"""A newer answer beside an answer, and the number of a replaced row, are asked about."""

from __future__ import annotations

import json

import pytest

from model.errors import UserError
from tasks.data.verdicts.correction_names import looks_like_correction, names_replaced
from tests.tasks.data.parsing.row_reader import read

NEWER = "Hold the card to the reader."


@pytest.mark.parametrize(
    "name",
    [
        "Antwort neu",
        "neue Antwort",
        "answer_v2",
        "Answer 2",
        "Updated Answer",
        "response_reviewed",
        "respuesta nueva",
    ],
)
def test_looks_like_correction_newer_answer_is_true(name):
    assert looks_like_correction(name, NEWER)


@pytest.mark.parametrize("name", ["修正回答", "回答(訂正後)", "新答案", "수정 답변"])
def test_looks_like_correction_script_without_spaces_is_true(name):
    assert looks_like_correction(name, "ご注文は本日発送しました。")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("answer_v2_comment", NEWER), ("answer_source", NEWER), ("text", NEWER), ("category_2", NEWER),
        ("new_customer", NEWER), ("answer_2", "yes"), ("updated_by", NEWER),
        ("新商品", "ご注文は本日発送しました。"),
    ],
)  # fmt: skip
def test_looks_like_correction_other_text_is_false(name, value):
    assert not looks_like_correction(name, value)


@pytest.mark.parametrize("name", ["Antwort neu", "antwort_neu", "answer_v2", "respuesta_2", "修正回答"])
def test_check_newer_answer_stops_and_correction_learns_it(name):
    value = "ご注文は本日発送しました。" if name == "修正回答" else NEWER
    rows = [
        {"prompt": "How?", "completion": "Push it in."},
        {"prompt": "Why?", "completion": "So.", name: value},
    ]
    with pytest.raises(UserError, match="a correction of the answer"):
        read(*rows)[1].check("mine")
    found, tally = read(*rows, fields={name: "correction"})
    tally.check("mine", {name: "correction"})
    assert [one.row.completion for one in found] == ["Push it in.", value]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("replaces", 7),
        ("Ersetzt Nr", "7"),
        ("edit_of", "a-17"),
        ("Korrektur zu", 3),
        ("meta.supersedes", "x1"),
    ],
)
def test_check_replaced_row_stops_with_what_to_do(name, value):
    above, _, last = name.rpartition(".")
    more = {above: {last: value}} if above else {name: value}
    _, tally = read({"prompt": "How?", "completion": "So."}, {"prompt": "How?", "completion": "Thus."} | more)
    with pytest.raises(UserError, match=r"both rows would be learned.*ignore"):
        tally.check("mine")
    assert json.dumps(tally.propose_all(tally.asks())).count("...") == 1


@pytest.mark.parametrize(
    ("name", "value"), [("replaces", ""), ("replaces", False), ("edit_of", None), ("amends", "a long text")]
)
def test_names_replaced_no_row_number_is_false(name, value):
    assert not names_replaced(name, value)


@pytest.mark.parametrize(("name", "mark"), [("削除", "○"), ("除外", "レ"), ("廃止", "〇")])
def test_propose_circle_under_removal_leaves_its_rows_out(name, mark):
    rows = [{"prompt": "How?", "completion": "So."}, {"prompt": "Why?", "completion": "Thus.", name: mark}]
    _, tally = read(*rows)
    proposed = tally.propose_all(tally.asks())[name]
    assert "ignore" in proposed.partition('""')[0] and "accept" in proposed.partition('""')[2]
