"""Test the right answers of questions about a passage."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.data.parsing.guessed_rows import guess_rows
from tasks.data.parsing.right_answers import right_answers
from tasks.data.records import Pair
from tests.tasks.data.parsing.row_reader import read

MILL = "The mill stands near the river."


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"text": ["by it", "near it", "by it"], "answer_start": [1, 2, 3]}, ["by it", "near it"]),
        ({"text": [], "answer_start": []}, []),
        ({"text": "by it", "answer_start": 4}, ["by it"]),
        ([{"text": "by it", "answer_start": 4}, {"text": "at it", "answer_start": 5}], ["by it", "at it"]),
        ('{"text": ["by it"], "answer_start": [4]}', ["by it"]),
        ("{'text': array(['by it'], dtype=object), 'answer_start': array([4], dtype=int32)}", ["by it"]),
        ({"text": ["by it"], "score": [4]}, None),
        ({"text": [7], "answer_start": [4]}, None),
        ([], None),
        ("by it", None),
        ("{answer_start", None),
    ],
)  # fmt: skip
def test_right_answers_reads_spans_only(value: object, found: list[str] | None) -> None:
    assert right_answers(value) == found


@pytest.mark.parametrize(
    ("answers", "completion", "references"),
    [
        ({"text": ["by it", "near it"], "answer_start": [1, 2]}, "by it", ["by it", "near it"]),
        ([{"text": "by it", "answer_start": 4}], "by it", ["by it"]),
        (["by it", "near it"], "by it", ["by it", "near it"]),
    ],
)
def test_read_rows_right_answers_become_completion_and_references(
    answers: Any, completion: str, references: list[str]
) -> None:
    columns = {"prompt": "question", "completion": "answers", "context": "context", "group": "context"}
    rows = [{"question": f"Where {n}?", "context": MILL, "answers": answers} for n in range(3)]
    found, tally = read(*rows, format="rows", columns=columns)
    pairs = [one.row for one in found if isinstance(one.row, Pair)]
    assert [pair.completion for pair in pairs] == [completion] * 3
    assert pairs[0].references == references and pairs[0].prompt == f"Where 0?\n\n{MILL}"
    # The passage is the group, and its digest the name.
    assert len({pair.group for pair in pairs}) == 1 and len(pairs[0].group) == 16
    tally.check("mine")


def test_read_rows_question_without_an_answer_is_counted() -> None:
    rows = [
        {
            "prompt": f"Where {n}?",
            "context": MILL,
            "completion": {"text": ["by it"] * n, "answer_start": [1] * n},
        }
        for n in range(3)
    ]
    found, tally = read(*rows, format="rows")
    assert len(found) == 2 and tally.left_out == {"rows without an answer or a vote": 1}


@pytest.mark.parametrize("beside", [{}, {"context": ""}, {"context": None}])
def test_read_rows_several_texts_without_a_passage_are_refused(beside: dict[str, Any]) -> None:
    found, tally = read({"prompt": "Where?", "completion": ["by it", "near it"], **beside}, format="rows")
    assert found[0].row.fault and tally.faults == 1


SYSTEM = {"role": "system", "content": "Be short."}
ASKED = {"role": "user", "content": "How tall is the mill?"}


@pytest.mark.parametrize(
    ("turns", "ideal", "expected"),
    [
        ([SYSTEM, ASKED], "Nine metres.", ("Nine metres.", ["Nine metres."])),
        ([ASKED], ["Nine metres."], ("Nine metres.", ["Nine metres."])),
        ([SYSTEM, ASKED], ["Nine metres.", "9 m"], ("Nine metres.", ["Nine metres.", "9 m"])),
        (
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, ASKED],
            ["9 m", "Nine"],
            ("9 m", ["9 m", "Nine"]),
        ),
    ],
)
def test_guess_rows_openai_evals_are_prompts_with_right_answers(
    turns: list[dict[str, str]], ideal: Any, expected: tuple[str, list[str]]
) -> None:
    row = {"input": turns, "ideal": ideal}
    guess = guess_rows([row, {**row, "ideal": "Ten."}])
    assert guess is not None and guess.format == "rows"
    (found,), _ = read(row, format="rows", columns=guess.columns)
    assert isinstance(found.row, Pair) and found.row.prompt == ASKED["content"]
    assert (found.row.completion, list(found.row.references)) == expected
    assert [turn["role"] for turn in found.row.history] == [turn["role"] for turn in turns[:-1]]


@pytest.mark.parametrize(
    "row",
    [
        {"input": [SYSTEM, ASKED], "output": "Nine metres."},
        {"input": [SYSTEM, ASKED], "ideal": 9},
        {"input": [SYSTEM, ASKED], "ideal": []},
        {"input": ["How tall?"], "ideal": "Nine metres."},
    ],
)
def test_guess_rows_other_input_is_no_openai_eval(row: dict[str, Any]) -> None:
    guess = guess_rows([row])
    assert guess is None or guess.columns.get("completion") != "ideal"


def test_read_several_answers_under_another_name_are_not_all_right() -> None:
    row = {"prompt": "How tall is the mill?", "answers": ["Nine metres.", "Ten metres."]}
    (found,), _ = read(row, format="rows", columns={"completion": "answers"})
    assert found.row.fault
