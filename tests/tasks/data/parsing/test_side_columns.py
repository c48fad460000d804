"""Test choices that columns about both answers tell: names of models, ranks and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.parsing.guessed_rows import guess_rows
from tasks.data.parsing.side_columns import side_columns
from tasks.data.records import Comparison
from tests.tasks.data.parsing.row_reader import read

TEXTS = {"prompt": "Name a tree.", "response_a": "An oak.", "response_b": "A stone."}
SIDES = {"a": "response_a", "b": "response_b", "choice": "winner"}


def choices(*rows: dict[str, Any], columns: dict[str, str], fields: Any = None) -> list[str]:
    given = [{**row, "prompt": f"{row.get('prompt', 'Name')} {n}"} for n, row in enumerate(rows)]
    found, tally = read(*given, columns=columns, fields=fields or {}, format="rows")
    tally.check("mine", fields or {})
    return [one.row.fault or getattr(one.row, "choice", "") for one in found]


@pytest.mark.parametrize(
    ("names", "a", "b", "found"),
    [
        (("text_a", "text_b", "model_a", "model_b"), "text_a", "text_b", [("model_a", "model_b")]),
        (("text_1", "text_2", "b_system", "a_system"), "text_1", "text_2", [("a_system", "b_system")]),
        (("answer_2", "answer_1", "model_a", "model_b"), "answer_2", "answer_1", [("model_b", "model_a")]),
        (("Answer A", "Answer B", "Rank A", "Rank B"), "Answer A", "Answer B", [("Rank A", "Rank B")]),
        (("left", "right", "left model", "right model"), "left", "right", [("left model", "right model")]),
        (("gpt", "claude", "model_a", "model_b"), "gpt", "claude", [("model_a", "model_b")]),
        (("response_a", "response_b", "model_a"), "response_a", "response_b", []),
    ],
)  # fmt: skip
def test_side_columns_of_two_answers(names: Any, a: str, b: str, found: list[tuple[str, str]]) -> None:
    assert side_columns(names, a, b) == found


@pytest.mark.parametrize(
    ("first", "second", "winner", "choice"),
    [
        ("qwen-7b", "phi-3", "qwen-7b", "a"),
        ("qwen-7b", "phi-3", "phi-3", "b"),
        ("Qwen 7B", "Phi-3", "phi_3", "b"),
        ("acme/qwen-7b", "acme/phi-3", "phi-3", "b"),
        ("qwen-7b", "phi-3", "acme/qwen-7b", "a"),
        ({"name": "qwen-7b", "temperature": 1}, {"name": "phi-3"}, "phi-3", "b"),
        (17, 23, 23, "b"),
        ("qwen-7b", "phi-3", "tie", "tie"),
        ("qwen-7b", "phi-3", "model_a", "a"),
        ("A", "B", "A", "a"),
    ],
)
@pytest.mark.parametrize(
    ("one", "other"), [("model_a", "model_b"), ("system 1", "system 2"), ("id_a", "id_b")]
)
def test_choice_by_name_of_model(
    first: Any, second: Any, winner: Any, choice: str, one: str, other: str
) -> None:
    row = {**TEXTS, one: first, other: second, "winner": winner}
    assert choices(row, columns=SIDES) == [choice]


def test_choice_by_name_of_model_in_swapped_columns() -> None:
    row = {
        "prompt": "?",
        "answer_1": "x",
        "answer_2": "y",
        "model_1": "phi",
        "model_2": "qwen",
        "best": "phi",
    }
    assert choices(row, columns={"a": "answer_2", "b": "answer_1", "choice": "best"}) == ["b"]


def test_choice_by_name_of_one_model_for_both_is_left_out() -> None:
    row = {**TEXTS, "model_a": "phi", "model_b": "phi", "winner": "phi"}
    found, tally = read(row, columns=SIDES, format="rows")
    assert not found and "one model" in next(iter(tally.left_out))


@pytest.mark.parametrize(("one", "other"), [("model_a", "model_b"), ("bot 1", "bot 2"), ("llm_a", "llm_b")])
def test_choice_that_is_a_side_and_another_model_is_asked(one: str, other: str) -> None:
    rows = [
        {**TEXTS, one: "B", other: "A", "winner": "A"},
        {**TEXTS, one: "A", other: "B", "winner": "b"},
        {**TEXTS, one: "B", other: "A", "winner": "tie"},
    ]
    with pytest.raises(UserError, match="may be the side of an answer, or the name") as found:
        choices(*rows, columns=SIDES)
    assert "fields: {winner: {A: a, B: b}}" in str(found.value)
    assert choices(*rows, columns=SIDES, fields={"winner": {"A": "a", "B": "b"}}) == ["a", "b", "tie"]
    assert choices(*rows, columns=SIDES, fields={"winner": {"A": "b", "B": "a"}}) == ["b", "a", "tie"]


@pytest.mark.parametrize(
    "models",
    [
        {"model_a": "A", "model_b": "B"},
        {"system_a": "a", "system_b": "b"},
        {"engine": "A", "provider": "B"},
    ],
)
def test_model_called_a_is_no_vote(models: dict[str, str]) -> None:
    for row, told in (
        ({**TEXTS, "winner": "tie"}, {"columns": SIDES, "format": "rows"}),
        ({"prompt": "Q", "chosen": "x", "rejected": "y"}, {"format": "preferences"}),
        ({"prompt": "Q", "completion": "x"}, {"format": "rows"}),
    ):
        _, tally = read({**row, **models}, **told)
        tally.check("mine")
    named = {"chosen_model": "a", "rejected_model": "b"}
    _, tally = read({"prompt": "Q", "chosen": "x", "rejected": "y", **named}, format="preferences")
    tally.check("mine")


def test_choice_by_unknown_name_is_asked() -> None:
    rows = [{**TEXTS, "model_a": "phi", "model_b": "qwen", "winner": "mistral"}]
    _, tally = read(*rows, columns=SIDES, format="rows")
    with pytest.raises(UserError, match="does not say which answer is better"):
        tally.check("mine")


@pytest.mark.parametrize(
    ("one", "other", "meaning", "given", "expected"),
    [
        ("Rank A", "Rank B", "penalty", [(1, 2), (2, 1), (1, 1)], ["a", "b", "tie"]),
        ("rank_1", "rank_2", "penalty", [("1", "2"), ("2", "1")], ["a", "b"]),
        ("score_a", "score_b", "verdict", [(4, 2), ("1/5", "3/5")], ["a", "b"]),
        ("a_errors", "b_errors", "penalty", [(0, 3)], ["a"]),
        ("rating a (1 = best)", "rating b (1 = best)", "penalty", [(1, 5), (3, 2)], ["a", "b"]),
        ("points left", "points right", "verdict", [(1, 5)], ["b"]),
    ],
)
def test_choice_by_ranks_and_scores_of_both_answers(
    one: str, other: str, meaning: str, given: list[tuple[Any, Any]], expected: list[str]
) -> None:
    rows = [{**TEXTS, one: a, other: b} for a, b in given]
    found = guess_rows([{**row, "noise": 0} for row in rows] if len(rows) > 1 else rows)
    assert found is not None and found.fields == {one: meaning, other: meaning}
    assert choices(*rows, columns=found.columns, fields=found.fields) == expected


def test_choice_by_scores_with_an_empty_one_is_left_out() -> None:
    fields = {"score_a": "verdict", "score_b": "verdict"}
    row = {**TEXTS, "score_a": 3, "score_b": None}
    found, tally = read(row, columns={"a": "response_a", "b": "response_b"}, fields=fields, format="rows")
    assert not found and tally.left_out.total() == 1


@pytest.mark.parametrize("keys", [("length_a", "length_b"), ("tokens_1", "tokens_2"), ("score_a", "score_c")])
def test_guess_rows_other_numbers_tell_no_choice(keys: tuple[str, str]) -> None:
    found = guess_rows([{**TEXTS, keys[0]: 1, keys[1]: 2}])
    assert found is None or not found.fields


@pytest.mark.parametrize(
    "names", [("gpt-4o", "claude 3"), ("baseline", "ours"), ("Modell Alt", "Modell Neu")]
)
def test_guess_rows_columns_that_the_choice_names(names: tuple[str, str]) -> None:
    rows = [{"prompt": "?", names[0]: "x", names[1]: "y", "winner": name} for name in (*names, "tie")]
    found = guess_rows(rows)
    assert found is not None and [found.columns[side] for side in "ab"] == list(names)
    assert choices(*rows, columns=found.columns) == ["a", "b", "tie"]


def test_scan_folder_reads_ranks(tmp_path: Path) -> None:
    from tasks.onboarding.folder_scan import scan_folder

    folder = tmp_path / "own"
    folder.mkdir()
    rows = [
        {**TEXTS, "prompt": f"Name tree {n}.", "Rank A": 1 + n % 2, "Rank B": 2 - n % 2} for n in range(4)
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source,) = scan_folder(folder, tmp_path).sources
    assert source.count("comparisons") == 4 and not source.stop
    assert source.fields == {"Rank A": "penalty", "Rank B": "penalty"}
    found = {row.choice for row in source.rows if isinstance(row, Comparison)}
    assert found == {"a", "b"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {**TEXTS, "winner": "response_a", "user": "ana"},
            {"a": "response_a", "b": "response_b", "choice": "winner", "annotator": "user"},
        ),
        (
            {"prompt": "?", "old": "x", "new": "y", "winner": "new", "rater": "ana"},
            {"a": "old", "b": "new", "choice": "winner", "annotator": "rater"},
        ),
        (
            {**TEXTS, "rank_a": 1, "rank_b": 2, "voter": "ana"},
            {"a": "response_a", "b": "response_b", "annotator": "voter"},
        ),
    ],
)
def test_guess_rows_names_the_annotator(row: dict[str, Any], expected: dict[str, str]) -> None:
    other = {**row, "winner": "old"} if "old" in row else row
    found = guess_rows([row, other])
    assert found is not None and found.columns == expected
