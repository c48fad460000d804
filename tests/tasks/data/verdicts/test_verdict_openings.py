"""Test verdicts that a text begins with before it goes on with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.verdicts.verdict_openings import opening_of
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
WHY = "the answer names no bird at all, and nobody who asked for one could use it"


def test_opening_of_text_with_reason_is_what_stands_before_it() -> None:
    assert opening_of("Rejected. It is wrong") == "Rejected" and opening_of("1 - bad") == "1"
    assert opening_of("**down**: it is wrong") == "down" and not opening_of("bad")
    assert not opening_of("no, wrong") and opening_of("no, wrong", loose=True) == "no"
    assert not opening_of("We went home last night. It was late") and not opening_of(5)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("rating", [f"1 - bad because {WHY}", 5, 4]), ("verdict", [f"bad because {WHY}", "good"]),
        ("feedback", [WHY]), ("deleted", [f"yes, {WHY}", False]), ("rating", ["1" * 500, 5]),
        ("grade", ["4/" + "1" * 500, 4]), ("review_result", [f"Rejected. {WHY}", "accept"]),
        ("review_result", ["unclear"]), ("status", [f"Rejected: {WHY}", "open"]),
        ("approved", [f"no - {WHY}", True]), ("meta.verdict.value", [f"1 ({WHY})"]),
        ("nsfw", [f"yes, {WHY}"]), ("löschen", [f"ja, weil {WHY}"]), ("exclude", ["yes because it is rude"]),
        ("notes", [f"DO NOT USE: {WHY}", "fine"]), ("anna", [f"down: {WHY}", f"up: {WHY}"]),
        ("reviewer note", [f"Schlecht – {WHY}", f"Gut. {WHY}"]), ("would you recommend us", [f"No, {WHY}"]),
        ("remarks", ["VOID - wrong tail", "ok"]), ("note", ["Storniert: doppelt"]),
        ("Bemerkung", ["Ungültig – falsche Akte"]), ("remarque", ["ANNULÉ (doublon)"]),
        ("anna", ["+", "-"]), ("m.a.b.c.d.e.f.g.rating", ["bad"]), ("m.a.b.c.d.e.f.g.h.i.j.anna", ["good"]),
    ],
)  # fmt: skip
def test_skip_counts_check_verdict_with_reason_is_asked_about(key: str, values: list[Any]) -> None:
    rows = [{**PAIR, "prompt": f"Bird {n}?", **nested(key, value)} for n, value in enumerate(values)]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=f"the key {key} is .* looks like a verdict"):
        tally.check("mine")


def nested(path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


@pytest.mark.parametrize(
    "more",
    [
        {"rating_comment": WHY}, {"best_answer": WHY}, {"thoughts": f"Okay, so {WHY}"}, {"title": "Bad: it"},
        {"order_note": "Cancelled: by the customer"}, {"title": "Void - a novel"}, {"notes": "We void it: x"},
        {"notes": f"We looked. {WHY}"}, {"wrong_answers": WHY}, {"direction": "up"}, {"strand": "-"},
    ],
)  # fmt: skip
def test_skip_counts_check_remark_is_not_asked_about(more: dict[str, Any]) -> None:
    _, tally = read({**PAIR, **more})
    tally.check("mine")


@pytest.mark.parametrize("value", [f"1 - bad because {WHY}", "1" * 500, "4/" + "1" * 500])
def test_read_rows_verdict_with_reason_is_never_a_right_answer(value: str) -> None:
    found, tally = read({**PAIR, "rating": value}, {**PAIR, "rating": 5}, fields={"rating": "verdict"})
    tally.check("mine", {"rating": "verdict"})
    assert tally.faults == 1 and "a.jsonl, line 1: rating " in found[0].row.fault  # type: ignore[union-attr]


def test_skip_counts_check_votes_with_reasons_are_columns_of_votes() -> None:
    _, tally = read(*({**PAIR, "anna": f"down: {WHY} {n}", "ben": f"up: {WHY} {n}"} for n in range(4)))
    with pytest.raises(UserError, match="the columns anna, ben look like one per person"):
        tally.check("mine")


def test_read_rows_key_nested_too_deeply_is_fault() -> None:
    deep: Any = "bad"
    for _ in range(150):
        deep = {"a": deep}
    (found,), _ = read({**PAIR, "meta": deep})
    assert "line 1: nested too deeply" in found.row.fault  # type: ignore[union-attr]
