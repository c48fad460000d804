"""Test values that keep a row out of the training, and ordinary values that look like them."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.verdicts.held_rows import held_out_values
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
TEXT = {"text": "Some words about birds."}
CHAT = {"messages": [{"role": "user", "content": "A bird?"}, {"role": "assistant", "content": "A robin."}]}
CHOICE = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "No."}


@pytest.mark.parametrize("row", [PAIR, TEXT, CHAT, CHOICE])
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("split", ["train", "test"]), ("data_split", ["train", "validation"]),
        ("partition", ["holdout", "train"]),
        ("subset", ["dev", "train"]), ("bucket", ["held-out", "main"]),
        ("phase", ["training", "eval", "testing"]),
        ("split", ["test_sft"]), ("meta.part", ["train_prefs", "test_prefs"]),
        ("usage", ["never", "train", "eval"]),
        ("priority", ["high", "exclude", "low"]), ("status", ["done", "redo"]),
        ("state", ["rework", "closed"]),
        ("robots", ["index", "noindex"]), ("x-robots-tag", ["all", "noai, noimageai"]),
        ("license", ["cc-by", "no-ai"]),
        ("plan", ["omit", "go on"]), ("note", ["exclude from training please", "see page 3"]),
        ("for", ["never"]),
    ],
)  # fmt: skip
def test_skip_counts_check_held_out_row_needs_meaning(
    row: dict[str, Any], path: str, values: list[str]
) -> None:
    rows = []
    for value in values:
        held: Any = value
        for part in reversed(path.split(".")):
            held = {part: held}
        rows.append({**row, **held})
    _, tally = read(*rows)
    with pytest.raises(UserError, match=f"the key {path} is .* looks like a verdict; .*fields: .*ignore"):
        tally.check("mine")


@pytest.mark.parametrize("row", [PAIR, TEXT])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("split", ["train"]), ("smoking", ["never", "former"]), ("frequency", ["never", "often"]),
        ("last_login", ["never"]), ("topic", ["test", "exam", "school"]), ("environment", ["dev", "prod"]),
        ("vehicle", ["train", "bus", "car"]), ("command", ["undo", "redo"]),
        ("category", ["exclude", "include"]),
        ("lang", ["en", "de", "no"]), ("difficulty", ["easy", "hard", "medium"]),
        ("source", ["web", "test.com"]),
        ("id", ["test-1", "test-2", "train-1"]), ("title", ["Never", "Redo"]),
        ("date", ["2024-01-02", "2023-05-06"]),
        ("license", ["mit", "cc-by-4.0", "apache-2.0"]), ("url", ["https://a.org/test", "https://b.org"]),
        ("type", ["test", "quiz"]), ("subset", ["math", "code", "law"]),
    ],
)  # fmt: skip
def test_skip_counts_check_ordinary_value_passes(row: dict[str, Any], key: str, values: list[str]) -> None:
    _, tally = read(*({**row, key: value} for value in values))
    tally.check("mine")


def test_skip_counts_propose_held_out_rows_are_left_out() -> None:
    rows = [{**PAIR, "prompt": f"Bird {n}?", "split": "test" if n % 2 else "train"} for n in range(4)]
    _, tally = read(*rows)
    assert tally.propose_all(tally.asks()) == {"split": "{test: ignore, train: accept}"}
    fields = {"split": {"test": "ignore", "train": "accept"}}
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    assert len(found) == 2 and tally.left_out == {"rows that a reviewer skipped": 2}


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (["valid", "invalid"], set()), (["valid", "train"], {"valid"}),
        (["test_set", "train"], {"test_set"}),
        (["redo", "done"], {"redo"}), (["never", "eval"], {"never", "eval"}), (["tested", "retest"], set()),
    ],
)  # fmt: skip
def test_held_out_values_finds_values_by_those_beside_them(values: list[str], held: set[str]) -> None:
    assert held_out_values(values) == held
