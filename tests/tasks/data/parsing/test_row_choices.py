"""Test the choices of rows with two answers: asked about, mapped by `fields`, or left out."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.records import Comparison, ParsedRow
from tests.tasks.data.parsing.row_reader import read, read_file


def compared(choices: list[Any], **told: Any) -> tuple[list[str], Any]:
    rows = [
        {"prompt": f"Name bird {n}.", "a": "A robin.", "b": "An oak.", "choice": choice}
        for n, choice in enumerate(choices)
    ]
    found, tally = read(*rows, **told)
    return [choice_of(one) for one in found], tally


def choice_of(found: ParsedRow) -> str:
    assert isinstance(found.row, Comparison)
    return found.row.choice


@pytest.mark.parametrize(
    ("choices", "proposal"),
    [
        ([0, 1, 1], '{"0": ..., "1": ...}'),
        (["1", "2", "2"], '{"1": a, "2": b}'),
        ([-2.0, 0.0, 2.0], '{"-2": ..., "0": ..., "2": ...}'),
        ([1, 5, 3, 7], '{"1": ..., "3": ..., "5": ..., "7": ...}'),
        ([True, False], '{"0": ..., "1": ...}'),
        (["left", "right", "left", "tie"], "{left: a, right: b}"),
        (["links", "rechts", "links"], "{links: ..., rechts: ...}"),
    ],
)
def test_read_choice_without_a_side_is_asked_about(choices: list[Any], proposal: str) -> None:
    _, tally = compared(choices)
    with pytest.raises(UserError) as error:
        tally.check("mine")
    assert "a.jsonl, line 1: choice is " in str(error.value)
    assert (
        f"map each value to a, b, tie or ignore in the source's fields, as in fields: {{choice: {proposal}}}"
        in str(error.value)
    )


def test_read_choice_of_too_many_values_is_refused() -> None:
    _, tally = compared([number / 10 for number in range(20)])
    with pytest.raises(UserError, match="too many different values to map; write a, b or tie in their place"):
        tally.check("mine")


@pytest.mark.parametrize(
    ("choices", "mapping", "read_as"),
    [
        ([0, 1], {"0": "b", "1": "a"}, ["b", "a"]),
        ([1.0, 4.0, 7.0], {"1": "a", "4": "tie", "7": "b"}, ["a", "tie", "b"]),
        (["-3", "0", "3"], {"-3": "b", "0": "ignore", "3": "a"}, ["b", "a"]),
        (["links", "Rechts", "a"], {"links": "a", "rechts": "b"}, ["a", "b", "a"]),
    ],
)
def test_read_choice_mapping_in_fields_has_precedence(
    choices: list[Any], mapping: dict[str, str], read_as: list[str]
) -> None:
    found, tally = compared(choices, fields={"choice": mapping})
    tally.check("mine", {"choice": mapping})
    assert found == read_as


@pytest.mark.parametrize("said", ["skip", "Not sure", "can't decide", "unclear", "?"])
def test_read_choice_undecided_row_is_left_out_and_counted(said: str) -> None:
    found, tally = compared(["a", said, "b", said])
    tally.check("mine")
    assert found == ["a", "b"]
    assert list(tally.lines()) == ["left out: 2 comparisons without a decision, such as skip or unsure"]


@pytest.mark.parametrize("empty", ["", None, "  ", "nan"])
def test_read_choice_empty_choice_is_left_out_and_counted(empty: object) -> None:
    found, tally = compared(["both_bad", empty, "no preference"])
    assert found == ["tie", "tie"]
    assert tally.left_out["comparisons that nobody judged, as choice is empty"] == 1


def test_read_choice_rare_odd_word_is_left_to_validation() -> None:
    found, tally = compared(["a", "b"] * 10 + ["aa"])
    tally.check("mine")
    assert found[-1] == "aa"


def test_read_choice_numbers_of_one_column_are_asked_about_together() -> None:
    rows = [
        {"prompt": f"Name bird {n}.", "answer_1": "A robin.", "answer_2": "An oak.", "preference": n}
        for n in (1, 2, 3)
    ]
    columns = {"a": "answer_1", "b": "answer_2", "choice": "preference"}
    found, tally = read(*rows[:2], columns=columns)
    assert list(map(choice_of, found)) == ["a", "b"]
    tally.check("mine")
    with pytest.raises(UserError, match=r'preference is 3, .*{"1": ..., "2": ..., "3": ...}'):
        read(*rows, columns=columns)[1].check("mine")


def test_read_choice_side_of_another_key_is_refused() -> None:
    row = {"prompt": "Name a bird.", "completion": "A robin.", "side": "left"}
    (found,), _ = read(row, fields={"side": {"left": "a"}})
    assert "fields maps a value of side to a, which is right for the choice" in found.row.fault


def test_read_rows_choice_between_conversations_has_their_common_prompt() -> None:
    asked = {"role": "user", "content": "Name a bird."}
    sides = [[asked, {"role": "assistant", "content": said}] for said in ("A robin.", "An oak.")]
    row = {"conversation_a": sides[0], "conversation_b": sides[1], "winner": "model_b", "judge": "ana"}
    columns = {"a": "conversation_a", "b": "conversation_b", "choice": "winner", "annotator": "judge"}
    (found,), _ = read(row, columns=columns)
    assert isinstance(found.row, Comparison)
    assert (found.row.prompt, found.row.a, found.row.b) == ("Name a bird.", "A robin.", "An oak.")
    assert (found.row.choice, found.row.annotator) == ("b", "ana")


def test_read_choice_undecided_votes_of_people_are_left_out_and_counted() -> None:
    row = {
        "prompt": "Name a bird.",
        "a": "A robin.",
        "b": "An oak.",
        "ana": "a",
        "ben": "skip",
        "eve": "unsure",
    }
    found, tally = read(row, format="rows", fields=dict.fromkeys(("ana", "ben", "eve"), "vote"))
    assert [(one.row.annotator, one.row.choice) for one in found] == [("ana", "a")]
    assert tally.left_out["comparisons without a decision, such as skip or unsure"] == 2


SIDED: dict[str, tuple[str, list[str], dict[str, str], dict[str, Any]]] = {
    "safer_answer": (
        "prompt,answer_0,answer_1,better_answer,safer_answer", ["p,x,y,0,1", "q,x,y,1,1", "r,x,y,1,0"],
        {"a": "answer_0", "b": "answer_1", "choice": "better_answer"}, {},
    ),
    "team": ("prompt,a,b,choice,team", ["p,x,y,a,b", "q,x,y,b,tie", "r,x,y,b,"], {}, {}),
    "second": ("prompt,a,b,choice,second", ["p,x,y,A is better,Answer B", "q,x,y,b,B is better"], {}, {}),
    "kurt": (
        "prompt,a,b,choice,kurt", ["p,x,y,links,rechts", "q,x,y,rechts,links"], {},
        {"choice": {"links": "a", "rechts": "b"}},
    ),
    "favourite": ("prompt,a,b,id_a,id_b,choice,favourite", ["p,x,y,m1,m2,a,m2", "q,x,y,m2,m3,b,m2"], {}, {}),
    "reply": ("prompt,a,b,choice,reply", ["p,An oak,Yes,a,Yes", "q,No,A pine,b,No"], {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("key", SIDED)
def test_note_other_choices_column_that_names_sides_is_asked_about(key: str) -> None:
    header, lines, columns, fields = SIDED[key]
    file = SourceFile("a.csv", "\n".join([header, *lines, ""]).encode())
    _, tally = read_file(file, "rows", columns=columns, fields=fields)
    with pytest.raises(UserError, match=rf"the key {key} is .* a second choice .*fields: {{{key}: ignore}}"):
        tally.check("mine", fields)
    found, tally = read_file(file, "rows", columns=columns, fields={**fields, key: "ignore"})
    tally.check("mine", {**fields, key: "ignore"})
    assert len(found) == len(lines)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("has_image", [0, 1, 1]), ("language", ["a", "en", "de"]), ("length", [3, 9, 3]), ("n", [1, 0, 0]),
        ("gender", ["f", "m", "f"]), ("is_long", [True, False, True]),
        ("position", ["left", "right", "left"]),
        ("remark", ["both", "both", "equal"]), ("page", ["1", "2", "1"]), ("source", ["b c", "a", "d"]),
    ],
)  # fmt: skip
def test_note_other_choices_ordinary_column_passes(key: str, values: list[Any]) -> None:
    rows = [
        {"prompt": f"{n}", "response_0": "x", "response_1": "y", "better": n % 2, "length_0": 3,
         "length_1": 9, key: value}
        for n, value in enumerate(values)
    ]  # fmt: skip
    names = {"a": "response_0", "b": "response_1", "choice": "better"}
    found, tally = read(*rows, format="rows", columns=names)
    tally.check("mine")
    assert len(found) == 3


@pytest.mark.parametrize("key", ["loser", "less_preferred", "not_chosen"])
@pytest.mark.parametrize(
    "values", [("a", "b"), ("response_a", "response_b"), ("Response A", "Response B"), ("model_a", "model_b")]
)
def test_read_choice_that_names_the_worse_answer_is_turned_round(key: str, values: tuple[str, str]) -> None:
    rows = [{"prompt": "Why?", "response_a": "So.", "response_b": "Thus.", key: value} for value in values]
    columns = {"a": "response_a", "b": "response_b", "choice": key}
    fields = {key: {"a": "b", "b": "a"}}
    for some in (rows, rows[:1]):
        _, tally = read(*some, format="rows", columns=columns)
        assert tally.propose_all(tally.asks()) == {key: "{a: b, b: a}"}
    found, tally = read(*rows, format="rows", columns=columns, fields=fields)
    tally.check("mine", fields)
    assert [one.row.choice for one in found if isinstance(one.row, Comparison)] == ["b", "a"]


@pytest.mark.parametrize("worse", ["Worse", "loser", "Pior", "schlechter", "Pire"])
def test_read_choice_of_the_worse_answer_needs_meaning(worse: str) -> None:
    many = [
        {"q": "Name a bird.", "x": "A robin.", "y": "A stone.", worse: side} for side in ("A", "b", "tie")
    ]
    columns = {"prompt": "q", "a": "x", "b": "y", "choice": worse}
    _, tally = read(*many, format="rows", columns=columns)
    assert tally.propose_all(tally.asks()) == {worse: "{a: b, b: a}"}
    with pytest.raises(UserError, match=f"{worse} is 'A', which is the worse answer by the name of the key"):
        tally.check("mine")
    fields = {worse: {"a": "b", "b": "a"}}
    found, tally = read(*many, format="rows", columns=columns, fields=fields)
    tally.check("mine", fields)
    assert [one.row.choice for one in found if isinstance(one.row, Comparison)] == ["b", "a", "tie"]
