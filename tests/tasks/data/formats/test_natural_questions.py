"""Test the format `natural_questions`."""

from __future__ import annotations

from tasks.data.records import text_digest
from tests.tasks.data.formats.export_reader import parse_by_kind


def test_natural_questions_answers_become_pairs_and_comparisons() -> None:
    found = parse_by_kind("natural_questions", "natural_questions.jsonl", source="nq")
    assert [(row.prompt, row.completion) for row in found.pairs] == [
        ("who kept the letters", "the captain"), ("where is the mill", "near the river"),
    ]  # fmt: skip
    assert found.pairs[0].references == ["the captain", "captain"]
    # "us" is too short, "The Captain" is right, and "the mayor" is repeated.
    wrong = [row.b if row.choice == "a" else row.a for row in found.comparisons]
    assert wrong == ["the mayor", "a nurse"]
    assert {row.a if row.choice == "a" else row.b for row in found.comparisons} == {"the captain"}
    assert {row.group for row in (*found.comparisons, found.pairs[0])} == {
        text_digest("who kept the letters")
    }


def test_natural_questions_preferred_side_is_balanced() -> None:
    lines = b"".join(
        b'{"question": "question %d", "answer": ["right"], "def_incorrect_predictions": ["wrong"]}\n' % i
        for i in range(200)
    )
    first = sum(row.choice == "a" for row in parse_by_kind("natural_questions", lines).comparisons)
    assert 70 < first < 130
