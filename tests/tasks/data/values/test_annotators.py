"""Test names of people: one name for one person, however a file writes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Rating, annotators_of, rating_row
from tasks.data.values.annotators import normalize_annotator
from tasks.data.withdrawals import Withdrawal, merge_withdrawals
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
JOSE = ["José", "José\u200b", "\u202aJosé", "Jose\u0301", "Jo\u00adsé", "\ufeffJosé \u2060"]


@pytest.mark.parametrize("name", JOSE)
def test_normalize_annotator_invisible_character_is_no_other_person(name: str) -> None:
    assert normalize_annotator(name) == "José" == normalize_annotator({"name": name})


def test_normalize_annotator_name_of_invisible_characters_is_nobody() -> None:
    assert [normalize_annotator(name) for name in ("\u200b", "nan\u200b", "3.0\u200b")] == ["", "", "3"]


@pytest.mark.parametrize("name", JOSE)
def test_withdrawn_filter_row_person_with_invisible_character_is_withdrawn(name: str) -> None:
    row = rating_row("p", "c", [1.0, 2.0], ["José", "ben"], "", "s", "g", [], [])
    row = replace(row, annotators=[name, "ben"])
    withdrawn = merge_withdrawals([Withdrawal("me", "asked", "now", annotator="José\u200b")])
    kept = withdrawn.filter_row(row)
    assert annotators_of(vars(row)) == ["José", "ben"]
    assert kept is not None and vars(kept)["annotators"] == ["ben"]


@pytest.mark.parametrize("key", ["José", "José\u200b", "votes.José\u2060"])
def test_read_rows_vote_column_with_invisible_character_is_same_person(key: str) -> None:
    (found,), _ = read({**PAIR, key: 1}, fields={key: "vote"})
    assert found.row.annotators == ["José"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "row", "name"),
    [
        ("votes.dan", {"votes.dan": 1}, "dan"), ("votes.dan", {"votes": {"dan": 1}}, "dan"),
        ("dan.rating", {"dan.rating": 1}, "dan"), ("dan.rating", {"dan": {"rating": 1}}, "dan"),
        ("a.meyer", {"a.meyer": 1}, "a.meyer"), ("ana@x.org", {"ana@x.org": 1}, "ana@x.org"),
        ("meta.votes.dan", {"meta": {"votes.dan": 1}}, "dan"),
    ],
)  # fmt: skip
def test_read_rows_person_in_any_spelling_of_a_path_has_one_name(
    path: str, row: dict[str, Any], name: str
) -> None:
    (found,), _ = read({**PAIR, **row}, fields={path: "vote"})
    assert found.row.annotators == [name]  # type: ignore[union-attr]


@pytest.mark.parametrize("given", [[3, 1], ["good", "bad"], [True, False], [0.5, 4.5]])
def test_skip_counts_check_column_beside_votes_is_proposed_as_vote(given: list[Any]) -> None:
    rows = [{**PAIR, "prompt": f"Bird {n}?", "anna": n % 2, "ben": given[n % 2]} for n in range(6)]
    _, tally = read(*rows, fields={"anna": "vote"})
    with pytest.raises(UserError, match=r"fields: \{ben: vote\}"):
        tally.check("mine", {"anna": "vote"})


@pytest.mark.parametrize("name", ["rated by", "Rated By", "Annotated-By", "WorkerId", "Reviewed by"])
def test_read_rows_annotator_in_another_spelling_is_read(name: str) -> None:
    found, tally = read(
        *({"prompt": "Bird?", "completion": "A robin.", "score": 1, name: who} for who in "kl")
    )
    tally.check("mine")
    assert [one.row.annotators for one in found if isinstance(one.row, Rating)] == [["k"], ["l"]]


@pytest.mark.parametrize("name", ["rated by", "Reviewed By", "labeled by"])
def test_check_annotator_beside_columns_of_the_preset_is_proposed_and_no_verdict(name: str) -> None:
    row = {"frage": "Bird?", "completion": "A robin.", "score": 1, name: "kim"}
    columns = {"prompt": "frage"}
    _, tally = read(row, format="rows", columns=columns)
    tally.check("mine")
    assert any(f'columns: {{annotator: "{name}"}}' in line for line in tally.lines())
