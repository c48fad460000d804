"""Test the question about columns beside answers whose names no rule knows."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.questions.skip_counts import compare_sources
from tests.tasks.data.parsing.row_reader import read


def rows(key: str, values: list[Any], count: int = 24) -> list[dict[str, Any]]:
    """Return pairs with the values under a key in turn; None leaves the key out."""
    return [
        {"prompt": f"Name bird {n}.", "completion": f"Robin {n}."}
        | ({} if values[n % len(values)] is None else {key: values[n % len(values)]})
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("Void", ["V", "", ""]), ("Void", ["V", *[None] * 11]), ("Finding", ["Major", "Minor", ""]),
        ("Reproducible", [True, False]), ("Privileged", ["N", "Y", "N"]), ("Merged", ["false", "true"]),
        ("Embargoed until", ["2031-01-01", "", "", "2032-05-01"]), ("Test record", ["N", "Y", "N"]),
        ("Exception raised", ["KeyError", "", ""]), ("Bloqueada", [0, 1]), ("meta.glarb", [1, 2, 3, 4, 5]),
        ("zorp", ["plip", "plop", "plup"]), ("grelb", ["x", ""]), ("plus or minus", ["+", "0", "+", "="]),
        # Symbols and abbreviations as names.
        ("†", ["V", "", ""]), ("!", [0, 1]), ("n.i.O.", ["V", ""]), ("(V)", ["x", ""]),
        # Words under the name of an amount, and a mark under that of a kind.
        ("rev", ["B", "B", "S/S"]), ("bin", ["go", "scrp"]), ("meta.x", ["a", "v"]), ("type", ["WD", "", ""]),
        # Codes, and dates in other spellings.
        ("Finding", ["Level 1", "Level 2"]), ("nag", ["$1", "$4"]), ("Abgang", ["", "", "3 Mar 2026"]),
        ("grelb", ["[x]", "[ ]"]),
        ("Abgang", ["", "", "03.03.26"]), ("Abgang", ["", "20260303"]), ("Rejected", ["V", ""]),
    ],
)  # fmt: skip
def test_skip_counts_check_unknown_column_beside_answers_stops_once(key: str, values: list[Any]) -> None:
    _, tally = read(*rows(key, values))
    with pytest.raises(UserError) as raised:
        tally.check("mine")
    assert "does not know" in str(raised.value) or "looks like" in str(raised.value)
    assert key in str(raised.value)
    pairs, tally = read(*rows(key, values), fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})
    assert len(pairs) == 24


def test_skip_counts_check_unknown_columns_are_one_question_with_one_answer() -> None:
    held = [one | {"Void": "V" if n % 5 == 0 else ""} for n, one in enumerate(rows("Finding", ["Major", ""]))]
    _, tally = read(*held)
    with pytest.raises(UserError) as raised:
        tally.check("mine")
    said = str(raised.value)
    assert said.count("\n") == 0 and "Void ('v')" in said and "Finding ('major')" in said
    assert tally.propose_fields(tally.asks()) == {"Void": "ignore", "Finding": "ignore"}
    assert any("keys whose meaning must be set" in line and "Void" in line for line in tally.lines())


def test_skip_counts_check_mapping_of_unknown_column_leaves_its_rows_out() -> None:
    fields = {"Void": {"V": "reject", "": "accept"}}
    found, tally = read(*rows("Void", ["V", "", ""]), fields=fields)
    tally.check("mine", fields)
    kinds = [type(one.row).__name__ for one in found]
    assert kinds.count("Pair") == 16 and kinds.count("Rating") == 8


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("question_type", ["open", "closed"]), ("Sprache", ["de", "fr"]), ("topic", ["math", "birds"]),
        ("has_code", [True, False]), ("multi_turn", ["yes", "no"]), ("created_at", ["2024-01-01", ""]),
        ("batch_name", ["b1", "b2"]), ("zorp", ["same"]), ("page", [1, 2, 3]), ("zorp", [0.25, 0.5]),
        ("zorp", [120, 340, 560]), ("remark", ["first draft of Tim", ""]), ("How many birds?", ["1", "2"]),
        ("#", [1, 2]), ("weekday", ["Mon", "Tue"]), ("rev", ["R1", "R2"]), ("tag", ["birds", "birds", ""]),
        ("written_by", ["Ana", "Ben"]), ("zorp", [f"word {n}" for n in range(24)]), ("model", ["m1", "m2"]),
    ],
)  # fmt: skip
def test_skip_counts_check_column_that_describes_its_row_is_listed_only(key: str, values: list[Any]) -> None:
    _, tally = read(*rows(key, values))
    tally.check("mine")
    assert any(key in line for line in tally.lines())


@pytest.mark.parametrize("values", [["Major", "Minor", ""], ["V", ""], [True, False]])
def test_skip_counts_check_unknown_column_beside_texts_is_listed_only(values: list[Any]) -> None:
    texts = [
        {"text": f"The mill {n} stands by the river.", "zorp": values[n % len(values)]} for n in range(24)
    ]
    _, tally = read(*texts)
    tally.check("mine")
    assert any("zorp" in line for line in tally.lines())


@pytest.mark.parametrize("key", ["zorp", "messages[].zorp"])
def test_skip_counts_check_unknown_key_of_conversation_is_asked_about(key: str) -> None:
    def one(n: int) -> dict[str, Any]:
        said = {"zorp": "plip" if n % 3 else "plop"}
        turn = {"role": "assistant", "content": f"Robin {n}."} | (said if "[]" in key else {})
        talk: dict[str, Any] = {"messages": [{"role": "user", "content": f"Bird {n}?"}, turn]}
        return talk if "[]" in key else talk | said

    _, tally = read(*map(one, range(24)), format="messages")
    with pytest.raises(UserError, match="does not know"):
        tally.check("mine")
    _, tally = read(*map(one, range(24)), format="messages", fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        (["plip", "plop"] * 9 + ["plop, see the mail of Tim about the length of it"], True),
        (["plip", "plop"] * 9 + ["plup"] + [f"plap {word}" for word in ["ab", "cd", "ef"]], True),
        ([f"k{letter}" for letter in "abcdefghijklm"], True),
        ([None] * 20 + [f"k{letter}" for letter in "abcdefghijklmnop"], True),
        (["a long remark of somebody about this answer, no. 1"] * 6 + ["plip", "plop"], False),
    ],
)  # fmt: skip
def test_skip_counts_check_unknown_column_with_noise_or_many_kinds(values: list[Any], asked: bool) -> None:
    _, tally = read(*rows("zorp", values, count=120))
    if asked:
        with pytest.raises(UserError, match=r"does not know[^\0]*zorp[^\0]*$"):
            tally.check("mine")
    else:
        tally.check("mine")


@pytest.mark.parametrize(("values", "has_empty"), [(["S", "S", ""], True), (["pp", "qq"], False)])
def test_skip_counts_check_unknown_column_leaves_the_empty_cell_open(
    values: list[Any], has_empty: bool
) -> None:
    _, tally = read(*rows("zorp", values))
    with pytest.raises(UserError) as raised:
        tally.check("mine")
    assert (', "": ...}' in str(raised.value)) == has_empty
    assert '"": accept' not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "one", "other", "asked"),
    [
        ("zorp", "plip", "plop", True), ("†", "A", "V", True), ("meta.sig", "ok7", "x", True),
        ("zorp", "plip", "plip", False), ("project", "north", "south", False),
    ],
)  # fmt: skip
def test_compare_sources_key_that_differs_between_sources_is_asked_about(
    key: str, one: str, other: str, asked: bool
) -> None:
    tallies = [read(*rows(key, [value]))[1] for value in (one, other)]
    for tally in tallies:
        tally.check("mine")
    compare_sources(tallies)
    for tally in tallies:
        if asked:
            with pytest.raises(UserError, match="does not know"):
                tally.check("mine")
        else:
            tally.check("mine")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("Stage", ["🔴 Rejected", "🟢 Approved"]), ("Type", ["❌ Rejected", "✅ Approved"]),
        ("Phase", ["🔴 Bad", "🟢 Good"]), ("Label", ["🔴 Bad", "🟢 Good"]),
        ("Segment status", ["RejectedTranslation", "ApprovedSignOff"]),
        ("Confirmation level", ["RejectedSignOff", "ApprovedSignOff"]),
        ("Category", ["⛔ rejected", "👌 fine"]),
    ],
)  # fmt: skip
def test_skip_counts_check_judging_word_behind_sign_or_in_camel_case_is_found(
    key: str, values: list[str]
) -> None:
    _, tally = read(*rows(key, values))
    with pytest.raises(UserError, match="looks like a verdict"):
        tally.check("mine")
    mapping = {values[0]: "reject", values[1]: "accept"}
    found, tally = read(*rows(key, values), fields={key: mapping})
    tally.check("mine", {key: mapping})
    kinds = [type(one.row).__name__ for one in found]
    assert kinds.count("Pair") == 12 and kinds.count("Rating") == 12
