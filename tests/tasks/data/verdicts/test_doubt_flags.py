"""Test flags that turn a choice round, doubt its person, or forbid to learn a row."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.questions.ordinary_names import is_ordinary_name
from tasks.data.verdicts.doubt_flags import doubt_meaning, looks_doubted, tells_other_order
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
TEXT = {"text": "Some words about birds."}
CHOICE = {"prompt": "Name a bird.", "a": "A robin.", "b": "No.", "choice": "a"}


@pytest.mark.parametrize("row", [PAIR, TEXT, CHOICE])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("invert", [True, False]), ("label_reversal", [False, "yes"]), ("swap", [0, 1]),
        ("to_be_reversed", ["x"]),
        ("spammer", [True, False]), ("is_cheater", ["yes", "no"]), ("worker_fraud", [1, 0]),
        ("careless", [True]),
        ("noai", [1, 0]), ("tdm_reservation", ["1", "0"]), ("tdm-reserved", [True]),
        ("no_ai", ["true", "false"]),
        ("reported", [0, 3]), ("n_reports", [2]), ("report_count", ["0", "1"]), ("times_disputed", [4, 0]),
    ],
)  # fmt: skip
def test_skip_counts_check_flag_against_row_needs_meaning(
    row: dict[str, Any], key: str, values: list[Any]
) -> None:
    rows = [{**row, key: value} for value in values]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=f"the key {key} is .* looks like a verdict; .*fields: "):
        tally.check("mine")
    assert not is_ordinary_name(key)


@pytest.mark.parametrize("row", [PAIR, TEXT, CHOICE])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("reported", [2023, 2021]), ("reported_at", [12]), ("report", [7, 8]), ("noai", [0]),
        ("spammer", [False]),
        ("reverse_complement", [True, False]), ("not_a_spammer", [True]), ("no_of_pages", [1, 3]),
        ("reversible", [True]), ("lang", ["no", "en"]), ("order", [1, 2]), ("order", ["first", "last"]),
        ("degree", ["ba", "bsc"]), ("order_id", ["ab"]), ("flipper_length", [181, 190]),
    ],
)  # fmt: skip
def test_skip_counts_check_other_flag_passes(row: dict[str, Any], key: str, values: list[Any]) -> None:
    _, tally = read(*({**row, key: value} for value in values))
    tally.check("mine")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("order", ["ab", "ba"]), ("presentation_order", ["A-B", "B-A"]), ("shown", ["b first", "a first"]),
        ("display_order", [["a", "b"], ["b", "a"]]), ("position", ["normal", "swapped"]),
        ("layout", ["1,2", "2,1"]),
    ],
)  # fmt: skip
def test_skip_counts_check_other_order_beside_choice_is_asked(key: str, values: list[Any]) -> None:
    _, tally = read(*({**CHOICE, "prompt": f"Bird {n}?", key: value} for n, value in enumerate(values)))
    assert key in tally.asks()
    _, tally = read(*({**PAIR, "prompt": f"Bird {n}?", key: value} for n, value in enumerate(values)))
    assert key not in tally.asks() or key == "position"


@pytest.mark.parametrize(
    ("path", "values", "meaning"),
    [
        ("invert", ["true", "false"], "deleted"), ("noai", ["1"], "deleted"), ("colour", ["true"], ""),
        ("reported", ["0", "3"], '{"0": accept, "3": ignore}'), ("spammer", ["maybe"], ""),
        ("noai", [], ""),
    ],
)  # fmt: skip
def test_doubt_meaning_leaves_rows_out(path: str, values: list[str], meaning: str) -> None:
    assert doubt_meaning(path, values) == meaning


def test_read_rows_proposal_for_reports_leaves_reported_rows_out() -> None:
    fields = {"reported": {"0": "accept", "3": "ignore"}}
    found, tally = read({**PAIR, "reported": 0}, {**PAIR, "prompt": "B?", "reported": 3}, fields=fields)
    tally.check("mine", fields)
    assert [one.row.prompt for one in found] == [PAIR["prompt"]]


def test_looks_doubted_list_or_word_is_none() -> None:
    assert not looks_doubted("noai", [True]) and not looks_doubted("spammer", "perhaps")
    assert looks_doubted("meta.spammer", "x")


def test_tells_other_order_needs_name_of_an_order() -> None:
    assert tells_other_order("answer order", "B/A") and not tells_other_order("degree", "BA")
