"""Test columns that mark some rows: what is proposed, and which rows each proposal keeps."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data.records import Pair, Rating, Text
from tests.tasks.data.parsing.row_reader import read


def rows(key: str, mark: str, others: str | None = "", count: int = 6) -> list[dict[str, Any]]:
    """Return pairs of which the first two are marked; the others have an empty cell, or no key."""
    found = []
    for number in range(count):
        row: dict[str, Any] = {"prompt": f"Name tree {number}.", "completion": "An oak."}
        if number < 2 or others is not None:
            row[key] = mark if number < 2 else others
        found.append(row)
    return found


@pytest.mark.parametrize(
    ("key", "mark", "proposal", "pairs", "ratings"),
    [
        ("To delete", "x", "deleted", 4, 0),
        ("drop?", "X", "deleted", 4, 0),
        ("Aussortieren", "✓", "deleted", 4, 0),
        ("zu löschen", "x", "deleted", 4, 0),
        ("nicht verwenden", "x", "deleted", 4, 0),
        ("à supprimer", "x", "deleted", 4, 0),
        ("eliminar", "x", "deleted", 4, 0),
        ("削除", "✓", "deleted", 4, 0),
        ("exclude_from_training", "x", "deleted", 4, 0),
        ("raus", "✗", '{"✗": ignore, "": accept}', 4, 0),
        ("wrong", "x", '{x: reject, "": accept}', 4, 2),
        ("falsch", "x", '{x: reject, "": accept}', 4, 2),
        ("keep", "x", '{x: accept, "": ignore}', 2, 0),
        ("behalten", "✓", '{"✓": accept, "": ignore}', 2, 0),
        ("use for training", "x", '{x: accept, "": ignore}', 2, 0),
    ],
)
@pytest.mark.parametrize("others", ["", None])
def test_propose_mark_keeps_the_right_rows(
    key: str, mark: str, proposal: str, pairs: int, ratings: int, others: str | None
) -> None:
    given = rows(key, mark, others)
    _, tally = read(*given)
    with pytest.raises(UserError) as asked:
        tally.check("mine")
    assert f": {proposal}}}" in str(asked.value)
    fields = {key: yaml.safe_load(proposal)}
    found, tally = read(*given, fields=fields)
    tally.check("mine", fields)
    assert [sum(isinstance(one.row, kind) for one in found) for kind in (Pair, Rating)] == [pairs, ratings]
    assert len(found) + tally.left_out.total() == 6


@pytest.mark.parametrize("key", ["good", "keep", "brauchbar"])
def test_propose_mark_cross_under_a_good_name_is_a_question(key: str) -> None:
    _, tally = read(*rows(key, "✗"))
    with pytest.raises(UserError, match=r'\{"✗": \.\.\., "": \.\.\.\}'):
        tally.check("mine")


@pytest.mark.parametrize("key", ["remove", "entfernen", "do not use"])
def test_propose_mark_of_texts_leaves_out_the_marked(key: str) -> None:
    given = [{"text": f"Tree {number} is tall.", key: "x" if number == 1 else ""} for number in range(4)]
    found, tally = read(*given, fields={key: "deleted"})
    tally.check("mine", {key: "deleted"})
    assert [isinstance(one.row, Text) for one in found] == [True] * 3


def test_mapping_unknown_value_is_no_empty_cell() -> None:
    fields = {"keep": {"x": "accept", "": "ignore"}}
    found, tally = read(*rows("keep", "?"), fields=fields)
    assert [bool(one.row.fault) for one in found] == [True, True] and tally.left_out.total() == 4


def test_mapping_mistyped_key_for_empty_cells_stops() -> None:
    fields = {"kept": {"x": "accept", "": "ignore"}}
    _, tally = read(*rows("keep", "x"), fields=fields)
    with pytest.raises(UserError):
        tally.check("mine", fields)


@pytest.mark.parametrize("key", ["faq", "has image", "Kapitel", "poem"])
def test_mark_column_of_another_name_is_no_verdict(key: str) -> None:
    _, tally = read(*rows(key, "x"))
    tally.check("mine")
