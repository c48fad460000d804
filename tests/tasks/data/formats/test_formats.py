"""Test parsers on their samples and on broken files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.records import Comparison, Pair, Rating, Text, text_digest

EXPORTS = Path(__file__).parents[3] / "fixtures" / "exports"


@dataclass
class Rows:
    """Rows that a parser found, by type, with their places."""

    text: list[Text] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def parse(name: str, *files: str | bytes, source: str = "mine", prompt: str = "") -> Rows:
    """Parse files of tests/fixtures/exports by name, or bytes."""
    read = [
        SourceFile(file, (EXPORTS / file).read_bytes())
        if isinstance(file, str)
        else SourceFile("given.jsonl", file)
        for file in files
    ]
    rows = Rows()
    kinds = {Text: rows.text, Pair: rows.pairs, Comparison: rows.comparisons, Rating: rows.ratings}
    for row, where, *_ in find_format(name).parse(read, ParseOptions(source, prompt)):
        kinds[type(row)].append(row)
        rows.places.append(where)
    return rows


def test_plain_file_is_one_document() -> None:
    (row,) = parse("plain", "plain.txt").text
    assert row.text == "The harbour was quiet.\nOnly two boats lay there."
    assert row.source == "mine" and row.group == text_digest(row.text) and len(row.id) == 16


def test_plain_empty_file_has_no_rows() -> None:
    assert parse("plain", b" \n\n").text == []


def test_plain_invalid_utf8_is_refused_with_place() -> None:
    with pytest.raises(UserError, match=r"given\.jsonl: not UTF-8 at byte 4"):
        parse("plain", "abcd\xe9".encode("latin-1"))


def test_rows_keys_decide_record_kind() -> None:
    found = parse("rows", "rows.jsonl")
    assert [len(rows) for rows in (found.text, found.pairs, found.comparisons, found.ratings)] == [1, 1, 1, 2]
    assert found.places == [f"rows.jsonl, line {line}" for line in (1, 2, 4, 5, 6)]
    assert found.text[0].group == "mill"
    assert found.pairs[0].references == [" Grain.", " Corn."]
    choice = found.comparisons[0]
    assert (choice.choice, choice.annotator, choice.aspect) == ("a", "ann", "truthfulness")
    assert found.ratings[0].scores == [3.0, 2.5] and found.ratings[0].score == 2.75
    assert found.ratings[1].scores == [-2.0] and found.ratings[1].annotators == ["ann"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": ', r"given\.jsonl, line 2: broken JSON"),
        (b"[1, 2]", r"line 2: list where an object is right"),
        (b'{"txet": "a"}', r"line 2: keys txet make no known row; right are text"),
        (b'{"text": 3}', r"line 2: text is a number; a text is right"),
        (b'{"prompt": "a", "completion": "b", "scores": "3"}', r"line 2: scores are numbers"),
        (
            b'{"prompt": "a", "completion": "b", "scores": [1, 2], "annotators": ["x"]}',
            r"2 scores by 1 annotators",
        ),
        (b'{"text": "\xe9"}', r"line 2: not UTF-8 at byte"),
    ],
)
def test_rows_invalid_line_is_refused_with_place(line: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse("rows", b'{"text": "good"}\n' + line)


def test_passages_repeated_passage_is_kept_once() -> None:
    texts = [row.text for row in parse("passages", "passages.jsonl").text]
    assert texts == [
        "The mill stands near the river.\n It is old.",
        "An old painter painted the station — twice.",
    ]


def test_passages_missing_passage_is_refused() -> None:
    with pytest.raises(UserError, match="line 1: no passage; its keys are question"):
        parse("passages", b'{"question": "a"}')


def test_natural_questions_answers_become_pairs_and_comparisons() -> None:
    found = parse("natural_questions", "natural_questions.jsonl", source="nq")
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
    first = sum(row.choice == "a" for row in parse("natural_questions", lines).comparisons)
    assert 70 < first < 130


def test_rated_snippets_text_pair_and_rating_share_group() -> None:
    found = parse(
        "rated_snippets", "rated_snippets_GroundTruth.txt", "rated_snippets_anonDataRatings.txt",
        source="film", prompt="Finish this review: ",
    )  # fmt: skip
    assert [row.text for row in found.text] == [
        "The film is a great joy & more.", "Awful.", "A dull and cold evening for all of us.",
    ]  # fmt: skip
    # A text of one word gives no prompt.
    assert len(found.pairs) == len(found.ratings) == 2
    for text, pair, rating in zip((found.text[0], found.text[2]), found.pairs, found.ratings, strict=True):
        assert pair.prompt.removeprefix("Finish this review: ") + pair.completion == text.text
        assert 2 <= len(pair.prompt.split()) - 3 <= 4
        assert (rating.prompt, rating.completion) == (pair.prompt, pair.completion)
        assert text.group == pair.group == rating.group
    assert found.ratings[0].scores == [2.0, 3.0, 3.0, 2.0]
    assert found.ratings[0].annotators == ["film-1", "film-2", "film-3", "film-4"]


@pytest.mark.parametrize(
    ("texts", "ratings", "said"),
    [
        (b"1\t2.0\n", b"1\t2\t0\t[1]\n", r"line 1: 2 fields between tabs; 3 are right"),
        (b"1\t2.0\tA b c d e f\n", b"1\t2\t0\tone\n", r"'one' is not a list of ratings"),
        (b"2\t2.0\tA b c d e f\n", b"1\t2\t0\t[1]\n", r"snippet 2 has no ratings"),
        (b"1\t2.0\tA b c d e f\n", b"1\t2\t0\t[1]\n3\t2\t0\t[1]\n", r"line 2: rates snippet 3, which is not"),
    ],
)
def test_rated_snippets_inconsistent_files_are_refused(texts: bytes, ratings: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse("rated_snippets", texts, ratings)


def test_find_format_unknown_name_lists_formats() -> None:
    with pytest.raises(UserError, match="format 'parquet' is not known; there are plain, markdown, rows"):
        find_format("parquet")
