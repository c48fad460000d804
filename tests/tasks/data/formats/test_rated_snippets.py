"""Test the format `rated_snippets`."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tests.tasks.data.formats.export_reader import parse_by_kind


def test_rated_snippets_text_pair_and_rating_share_group() -> None:
    found = parse_by_kind(
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
        (b"1\t2.0\n", b"1\t2\t0\t[1]\n", r"line 1: 2 fields between tabs; expected 3"),
        (b"1\t2.0\tA b c d e f\n", b"1\t2\t0\tone\n", r"'one' is not a list of ratings"),
        (b"2\t2.0\tA b c d e f\n", b"1\t2\t0\t[1]\n", r"snippet 2 has no ratings"),
        (
            b"1\t2.0\tA b c d e f\n",
            b"1\t2\t0\t[1]\n3\t2\t0\t[1]\n",
            r"line 2: rates snippet 3, which given.jsonl does not",
        ),
    ],
)
def test_rated_snippets_inconsistent_files_are_refused(texts: bytes, ratings: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_by_kind("rated_snippets", texts, ratings)
