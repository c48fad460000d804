"""Test that labels on which people agree too little are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import UserError
from tasks.data.labels.label_agreement import agreement_of_split, refuse_low_agreement
from tasks.data.labels.ratings import LabelsParameters
from tasks.data.records import Comparison, Record, comparison_row, rating_row
from tasks.data.splits import SPLITS
from tasks.labels import labels
from tests.tasks.event_sink import ignore_event
from tests.tasks.test_labels import shard


def compared(aspect: str, source: str, chance: float, people: int = 2) -> list[Record]:
    """Return comparisons of 60 pairs by people who choose the good answer this often."""
    random = np.random.default_rng(1)
    return [
        comparison_row(
            f"q {i}", f"good {i}", f"bad {i}", "a" if (random.random() < chance) == bool(i % 2) else "b",
            aspect, f"p{who}", source, f"{i}",
        )
        for i in range(60)
        for who in range(people)
    ]  # fmt: skip


def check(root: Path, rows: Sequence[Record], least: dict[str, float], **settings: Any) -> list[str]:
    for name in SPLITS:
        shard(root, name, rows if name == "train" else ())
    parameters = LabelsParameters(min_agreement=least, **settings)
    return refuse_low_agreement(parameters, agreement_of_split(root, parameters))


def test_refuse_low_agreement_names_aspect_alpha_number_and_what_to_do(tmp_path: Path) -> None:
    rows = [*compared("tone", "chat", 0.7), *compared("tone", "mail", 0.99), *compared("help", "chat", 0.5)]
    with pytest.raises(UserError) as refused:
        check(tmp_path, rows, {"tone": 0.5})
    said = str(refused.value)
    assert said.startswith(
        "labels.min_agreement.tone is 0.5, but people agree on tone (comparisons of chat) with an alpha of 0."
    )
    assert "60 pairs with several judgements); make the guidelines clearer" in said and "95%: " in said
    assert "leave the aspect out by labels.aspects" in said


def test_refuse_low_agreement_bound_of_other_aspects_or_below_is_passed(tmp_path: Path) -> None:
    rows = [*compared("tone", "chat", 0.97), *compared("help", "chat", 0.5)]
    assert check(tmp_path, rows, {"tone": 0.6}) == []
    assert check(tmp_path, rows, {}) == []
    # An aspect that is left out is not checked, so its bound may stay in the preset.
    assert check(tmp_path, rows, {"tone": 0.6, "help": 0.9}, aspects=("tone",)) == []


def test_refuse_low_agreement_checks_ratings_too(tmp_path: Path) -> None:
    rows = [
        rating_row("p", f"a {i}", [float(i % 2), float(i % 3 == 0)], ["x", "y"], "tone", "film", f"{i}")
        for i in range(60)
    ]
    with pytest.raises(UserError, match=r"tone \(ratings of film\) .* 60 texts with several judgements"):
        check(tmp_path, rows, {"tone": 0.5})


def test_refuse_low_agreement_unknown_agreement_is_refused_or_told(tmp_path: Path) -> None:
    once = compared("tone", "mail", 0.9, people=1)
    with pytest.raises(UserError, match=r"no answer was judged by two people, .* on tone is unknown"):
        check(tmp_path / "once", once, {"tone": 0.5})
    [note] = check(tmp_path / "both", [*once, *compared("tone", "chat", 0.98)], {"tone": 0.5})
    assert "agreement on the comparisons of mail is unknown" in note and "they are used" in note


def test_refuse_low_agreement_unknown_aspect_is_refused_with_those_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"min_agreement\.tonne: there are no labels .*; there are tone"):
        check(tmp_path, compared("tone", "chat", 0.9), {"tonne": 0.5})


def decide(rows: Sequence[Record]) -> list[Record]:
    """Return the first of each two judgements as a reviewer's decision that replaces both."""
    found: list[Record] = []
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert isinstance(one, Comparison) and isinstance(other, Comparison)
        found.append(
            comparison_row(
                one.prompt, one.b, one.a, {"a": "b", "b": "a"}.get(one.choice, "tie"),  # type: ignore[arg-type]
                one.aspect, "rita", one.source, one.group, first_choices=[
                    {"a": "b", "b": "a"}[each.choice] for each in (one, other)
                ],
                first_annotators=[one.annotator, other.annotator],
            )
        )  # fmt: skip
    return found


def test_refuse_low_agreement_sees_the_judgements_that_a_decision_replaced(tmp_path: Path) -> None:
    rows = compared("tone", "chat", 0.7)
    with pytest.raises(UserError) as before:
        check(tmp_path / "before", rows, {"tone": 0.5})
    # Half of the items are decided, and shown in the other order: agreement is what it was.
    half = [*decide(rows[:60]), *rows[60:]]
    with pytest.raises(UserError) as after:
        check(tmp_path / "half", half, {"tone": 0.5})
    assert str(after.value) == str(before.value)
    # All are decided: without the first judgements nobody could tell.
    with pytest.raises(UserError) as after:
        check(tmp_path / "all", decide(rows), {"tone": 0.5})
    assert str(after.value) == str(before.value)


def test_labels_decisions_are_learned_and_first_judgements_measured(tmp_path: Path) -> None:
    rows = compared("tone", "chat", 0.7)
    for name, given in (("first", rows), ("decided", decide(rows))):
        for part in SPLITS:
            shard(tmp_path / name / "split", part, given if part == "train" else ())
        (tmp_path / name / "out").mkdir()
        labels(
            LabelsParameters(judge_share=0.0), split=tmp_path / name / "split", out=tmp_path / name / "out",
            on_event=ignore_event, seed=1,
        )  # fmt: skip
    first, decided = (
        json.loads((tmp_path / name / "out" / "agreement.json").read_text()) for name in ("first", "decided")
    )
    assert decided["comparisons"] == first["comparisons"]
    assert (first["decided"], decided["decided"]) == ({}, {"tone/chat": 60})
    found = json.loads((tmp_path / "decided" / "out" / "annotators.json").read_text())["comparisons"]
    assert [pair["people"] for pair in found["tone/chat"]["pairs"]] == [["p0", "p1"]]
    learned = [
        json.loads(line)
        for line in (tmp_path / "decided" / "out" / "train.comparisons.jsonl").read_text().splitlines()
    ]
    # The decision alone is learned, with certainty; two people who disagree would make a tie.
    assert len(learned) == 60 and not any("probability" in row for row in learned)
    assert "probability" in (tmp_path / "first" / "out" / "train.comparisons.jsonl").read_text()


def test_labels_low_agreement_stops_the_stage(tmp_path: Path) -> None:
    for name in SPLITS:
        shard(tmp_path / "split", name, compared("tone", "chat", 0.6))
    with pytest.raises(UserError, match=r"labels\.min_agreement\.tone is 0\.8"):
        labels(
            LabelsParameters(min_agreement={"tone": 0.8}), split=tmp_path / "split", out=tmp_path,
            on_event=ignore_event, seed=1,
        )  # fmt: skip
    assert not (tmp_path / "train.comparisons.jsonl").exists()


@pytest.mark.parametrize("least", [-1.5, 1.1])
def test_labels_parameters_alpha_out_of_range_is_refused(least: float) -> None:
    with pytest.raises(ValueError, match=r"min_agreement\.tone is .*; an alpha is from -1 to 1"):
        LabelsParameters(min_agreement={"tone": least})
