"""Test verdicts in phrases and pointers, and that ingestion reads whatever is proposed for them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data.values.field_checks import check_fields
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
TEXT = {"text": "Some words about birds."}
CHOICE = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "No."}


def rows_of(row: dict[str, Any], key: str, values: list[Any]) -> list[dict[str, Any]]:
    """Return a row for each value, with another text each."""
    last = list(row)[-1]
    return [{**row, last: f"{row[last]} {number}", key: value} for number, value in enumerate(values)]


def proposal(rows: list[dict[str, Any]]) -> str:
    """Return what is proposed under `fields`, as YAML; fail if nothing is asked."""
    _, tally = read(*rows)
    with pytest.raises(UserError):
        tally.check("mine")
    said = tally.propose_all(tally.asks())
    return "{" + ", ".join(f'"{path}": {meaning}' for path, meaning in said.items()) + "}"


ASKED: list[tuple[str, list[Any]]] = [
    # Work that is still to do.
    ("status", ["to be verified", "done"]), ("state", ["needs a rewrite", "final"]),
    ("phase", ["awaiting approval", None]), ("Status", ["noch zu korrigieren", "fertig"]),
    ("statut", ["à relire", "publié"]), ("estado", ["pendiente de revisión", "listo"]),
    ("stato", ["da controllare", "fatto"]), ("mark", ["unreviewed", ""]),
    # Complaints about an answer.
    ("issues", ["wrong date", ""]), ("problems", ["rude tone", "none"]), ("flaw", ["made_up name", None]),
    ("Fehler", ["Rechenfehler", ""]), ("remark", ["grammar mistake", "fine print"]),
    # Flags.
    ("finalized", [False, True]), ("is_complete", ["no", "yes"]), ("complained", ["yes", "no"]),
    ("reopened", [1, 0]), ("fabricated", [True, False]), ("is_latest", ["false", "true"]),
    # Questions to a user.
    ("How likely would you recommend it?", [10, 3]), ("did it help you", ["yes", "no"]),
    ("overall impression (0-10)", [7, 2]), ("Würden Sie uns empfehlen?", ["ja", "nein"]),
    # Rows that another replaces, and reasons of a removal.
    ("superseded_by", [23, None]), ("duplicate_of", ["row 4", ""]), ("merged_into", [8, None]),
    ("deletion_reason", ["spam", None]), ("rejected_by", ["ida", None]), ("replaced_by", ["b-7", None]),
]  # fmt: skip


@pytest.mark.parametrize("row", [PAIR, TEXT])
@pytest.mark.parametrize(("key", "values"), ASKED)
def test_skip_counts_check_phrase_is_asked_and_proposal_is_read(
    row: dict[str, Any], key: str, values: list[Any]
) -> None:
    rows = rows_of(row, key, values)
    said = proposal(rows)
    if "..." in said:
        # Only the person who has the data knows.
        assert "empfehlen" in key or key == "remark"
        return
    fields = yaml.safe_load(said)
    assert not list(check_fields(fields))
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    assert not tally.faults and not any(one.row.fault for one in found)


@pytest.mark.parametrize("row", [PAIR, TEXT])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("status", ["published", "in print"]), ("issue", [12, 14]), ("issue", ["Spring 2020", "Fall 2021"]),
        ("problem", ["algebra", "geometry"]), ("topic", ["factual errors", "to be or not to be"]),
        ("help", ["see page 2", "ask"]), ("difficulty (1-5)", [1, 3]), ("merged", [True, False]),
        ("part_of", ["book 1", "book 2"]), ("made_by", ["ana", "ben"]), ("final", [True, True]),
        ("checked_at", ["2020-01-01", None]), ("likely", ["rain", "sun"]), ("category", ["typos", "x"]),
        ("completed_on", ["2020-01-01", "2020-01-02"]), ("title", ["How to help others", "A day"]),
    ],
)  # fmt: skip
def test_skip_counts_check_ordinary_phrase_passes(row: dict[str, Any], key: str, values: list[Any]) -> None:
    _, tally = read(*rows_of(row, key, values))
    tally.check("mine")


@pytest.mark.parametrize(
    ("key", "values", "said"),
    [
        ("superseded_by", [17, None], "deleted"), ("replaced_by", ["row 3", None], "deleted"),
        ("duplicate_of", [0, 12, None], "..."), ("rejection_reason", ["too long", None], "deleted"),
        ("issues", ["wrong date", ""], '{wrong_date: reject, "": accept}'),
        ("status", ["to be checked", "done"], "{done: accept, to_be_checked: ignore}"),
        ("mistakes", [2, 0], "penalty"), ("is_final", [False, True], "weight"),
        ("would you recommend us (0-10)", [9, 2], "verdict"),
        ("loss_mask", [[0, 1], [1, 1]], "..."), ("loss_mask", ["[0, 1]"], "..."),
        ("weight", [number / 20 for number in range(1, 18)], "..."),
        ("weight", [0.5, 1.0], '{"0": ignore, "0.5": ..., "1": accept}'),
    ],
)  # fmt: skip
def test_propose_meaning_phrase_gives_readable_meaning(key: str, values: list[Any], said: str) -> None:
    assert proposal(rows_of(PAIR, key, values)) == f'{{"{key}": {said}}}'


@pytest.mark.parametrize(
    ("key", "values", "left_out"),
    [
        ("superseded_by", [17, "row 3", None], 2), ("error", ["no errors", "none", "A timeout."], 1),
        ("issues", ["Too long.", "keine", "no issues", "It misses the point."], 2),
    ],
)  # fmt: skip
def test_read_meaning_text_of_removal_leaves_row_out(key: str, values: list[Any], left_out: int) -> None:
    fields = {key: "deleted"}
    found, tally = read(*rows_of(PAIR, key, values), fields=fields)
    tally.check("mine", fields)
    assert tally.left_out == {"rows marked as deleted": left_out}
    assert len(found) == len(values) - left_out and not tally.faults


@pytest.mark.parametrize("key", ["margin", "score_diff", "preference_margin", "reward delta"])
def test_check_side_scores_negative_margin_cannot_be_read(key: str) -> None:
    found, tally = read(*rows_of(CHOICE, key, [-1.5, 2]))
    assert tally.faults == 1 and "so the rejected answer is the better one by it" in found[0].row.fault
    _, tally = read(*rows_of(CHOICE, key, [-1.5, 2]), fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})
    assert not tally.faults


@pytest.mark.parametrize("key", ["length_diff", "error_margin", "token_delta"])
def test_check_side_scores_other_difference_is_no_margin(key: str) -> None:
    _, tally = read(*rows_of(CHOICE, key, [-1.5, 2]))
    assert not tally.faults


def choices(margins: list[float], said: str) -> Any:
    row = {"prompt": "Name a bird.", "a": "A robin.", "b": "No."}
    return [
        {**row, "prompt": f"Name bird {number}.", "choice": choice, "margin": margin}
        for number, (margin, choice) in enumerate(zip(margins, said, strict=True))
    ]


@pytest.mark.parametrize(
    ("margins", "said", "asked"),
    [
        ([1, 2, 1], "aba", False), ([1, -2, 1], "aba", False), ([-1, 2, -1], "aba", False),
        ([1, -2, 1], "aaa", True), ([-1, 2, 1], "bba", True), ([1, -1], "bb", True),
    ],
)  # fmt: skip
def test_note_margin_that_fits_no_direction_is_asked(margins: list[float], said: str, asked: bool) -> None:
    _, tally = read(*choices(margins, said))
    assert ("margin" in tally.asks()) is asked


@pytest.mark.parametrize("key", ["status", "outcome of vote", "adjudication"])
@pytest.mark.parametrize("tie", ["tie", "Both bad", "no preference", "unentschieden"])
def test_note_other_choices_tie_beside_choice_is_asked(key: str, tie: str) -> None:
    for row in (CHOICE, {"prompt": "Why?", "a": "So.", "b": "No.", "choice": "a"}):
        _, tally = read(*({**row, "prompt": f"Why {n}?", key: said} for n, said in enumerate([tie, "done"])))
        assert key in tally.asks()
    _, tally = read({**CHOICE, "topic": tie})
    assert not tally.asks()
