"""Test the format `natural_questions`."""

from __future__ import annotations

import pytest

from tasks.data.formats.natural_questions import FORMAT
from tasks.data.records import text_digest
from tests.tasks.data.formats.export_reader import object_sample, parse_by_kind
from tests.tasks.data.parsing.row_reader import read


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
    kept = text_digest("who kept the letters")
    assert {row.group for row in found.comparisons} | {found.pairs[0].group} == {kept}


def test_natural_questions_preferred_side_is_balanced() -> None:
    lines = b"".join(
        b'{"question": "question %d", "answer": ["right"], "def_incorrect_predictions": ["wrong"]}\n' % i
        for i in range(200)
    )
    first = sum(row.choice == "a" for row in parse_by_kind("natural_questions", lines).comparisons)
    assert 70 < first < 130


@pytest.mark.parametrize("more", ["context", "passage", "Document", "choices", "options"])
def test_natural_questions_with_passage_or_options_are_another_format(more: str) -> None:
    sample = object_sample({"question": "Where?", "answer": ["There."], more: "The mill stands there."})
    assert FORMAT.fits(sample) == f"the key {more} belongs to the question"


def test_natural_questions_other_keys_and_repeated_questions_are_counted() -> None:
    asked = ["Where?", "When?", "Where?"]
    rows = [{"question": text, "answer": ["There."], "id": n} for n, text in enumerate(asked)]
    found, tally = read(*rows, format="natural_questions")
    assert len(found) == 2 and tally.left_out == {"rows that repeat a question": 1}
    assert {key: seen.count for key, seen in tally.unread.items()} == {"id": 3}
