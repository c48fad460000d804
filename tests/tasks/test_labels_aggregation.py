"""Test the stage `labels` on judgements of several people: ties, shares, error rates, the judge's part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.labels.ratings import LabelsParameters
from tasks.data.records import Choice, Record, comparison_row, rating_row
from tasks.data.splits import SPLITS
from tasks.labels import labels
from tests.tasks.test_labels import lines, shard


def compared(number: int, choice: Choice, who: str, **more: Any) -> Record:
    sides = f"good {number}", f"bad {number}"
    return comparison_row(f"q {number}", *sides, choice, "tone", who, "chat", f"group {number}", **more)


def make(
    tmp_path: Path, parts: dict[str, Sequence[Record]], **settings: Any
) -> tuple[dict[str, float], Path, list[str]]:
    """Run the stage on the rows of each split."""
    said: list[str] = []
    out = tmp_path / "out"
    out.mkdir(parents=True)
    for name in SPLITS:
        shard(tmp_path / "split", name, parts.get(name, ()))
    figures = labels(
        LabelsParameters(**settings), split=tmp_path / "split", out=out,
        on_event=lambda event: said.append(event.text), seed=1,
    )  # fmt: skip
    return figures, out, said


def probabilities(path: Path) -> dict[str, float]:
    """Return by prompt the probability that the good answer is better."""
    found = {}
    for row in lines(path):
        chance = row.get("probability", 1.0)
        found[row["prompt"]] = chance if row["chosen"].startswith("good") else round(1 - chance, 6)
    return found


def test_labels_ties_are_kept_with_probability_one_half(tmp_path: Path) -> None:
    rows = [compared(1, "a", "ana"), compared(2, "tie", "ana"), compared(3, "b", "ana")]
    figures, out, _ = make(tmp_path, dict.fromkeys(SPLITS, rows))
    train = {row["prompt"]: row for row in lines(out / "train.comparisons.jsonl")}
    plain = {"prompt": "q 1", "chosen": "good 1", "rejected": "bad 1", "aspect": "tone", "source": "chat"}
    assert train["q 1"] == plain
    tie = {"prompt": "q 2", "chosen": "bad 2", "rejected": "good 2", "probability": 0.5}
    assert train["q 2"] == {**plain, **tie}
    assert figures["train_comparisons"] == 3 and figures["train_ties"] == 1
    # A tie has no right order, so no held-out pair; the stage says how many these are.
    held_out = lines(out / "pairs.test.jsonl")
    assert [row["chosen"]["completion"] for row in held_out if row["chosen"]["prompt"] == "q 3"] == ["bad 3"]
    assert len(held_out) == figures["test_pairs"] == 2 and figures["test_ties"] == 1
    agreement = json.loads((out / "agreement.json").read_text())
    assert agreement["held_out"]["valid"] == {"pairs": 2, "ties": 1}


def test_labels_judgements_of_same_answers_become_one_row(tmp_path: Path) -> None:
    rows = [compared(1, "a", "ana"), compared(1, "a", "ben"), compared(1, "b", "cleo")]
    rows += [
        compared(2, "a", "ana"),
        compared(2, "b", "ben"),
        compared(3, "b", "ana"),
        compared(3, "b", "ben"),
    ]
    # The same answers after other turns are another pair.
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    rows.append(compared(4, "a", "ana", history=history))
    rows.append(compared(4, "b", "ben"))
    figures, out, _ = make(tmp_path, dict.fromkeys(SPLITS, rows))
    train = lines(out / "train.comparisons.jsonl")
    assert len(train) == figures["train_comparisons"] == 5
    alone = probabilities(out / "train.comparisons.jsonl")
    assert (alone["q 1"], alone["q 2"], alone["q 3"]) == (0.666667, 0.5, 0.0)
    held_out = {row["chosen"]["completion"]: row for row in lines(out / "pairs.valid.jsonl")}
    assert held_out["good 1"]["probability"] == 0.666667 and "probability" not in held_out["bad 3"]
    assert figures["valid_pairs"] == 4 and figures["valid_ties"] == 1


def test_labels_single_judgements_give_the_rows_they_always_gave(tmp_path: Path) -> None:
    rows = [compared(i, "a" if i % 3 else "b", f"person {i % 4}") for i in range(40)]
    _, out, _ = make(tmp_path, dict.fromkeys(SPLITS, rows))
    wanted = []
    for row in (json.loads(line) for line in (tmp_path / "split/train/comparisons/00000.jsonl").open()):
        chosen, rejected = (row["a"], row["b"]) if row["choice"] == "a" else (row["b"], row["a"])
        kept = {name: row[name] for name in ("aspect", "source")}
        wanted.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected, **kept})
    assert lines(out / "train.comparisons.jsonl") == wanted


def crowd(first: int, count: int) -> list[Record]:
    """Return the choices of three good people and two who choose at random; the good answer is always `a`."""
    random = np.random.default_rng(first)
    chances = {"ana": 0.9, "ben": 0.85, "cleo": 0.8, "dan": 0.5, "eve": 0.5}
    return [
        compared(i, "a" if random.random() < chance else "b", who)
        for i in range(first, first + count)
        for who, chance in chances.items()
    ]


def test_labels_dawid_skene_is_right_more_often_than_majority(tmp_path: Path) -> None:
    parts = {"train": crowd(0, 600), "valid": crowd(1000, 200), "test": crowd(2000, 200)}
    right, names = {}, set()
    for method in ("majority", "dawid_skene"):
        _, out, said = make(tmp_path / method, parts, aggregation=method)
        for name in ("train.comparisons", "judge/train.comparisons", "test.comparisons"):
            found = probabilities(out / f"{name}.jsonl").values()
            right[method, name] = np.mean([chance > 0.5 for chance in found])
        people = json.loads((out / "annotators.json").read_text())["comparisons"]["tone/chat"]
        names |= {row["annotator"] for row in people["error_rates"]}
        assert [text.split(":")[0] for text in said] == ["5,000 comparisons"]
    assert names == {"ana", "ben", "cleo", "dan", "eve"}
    for name in ("train.comparisons", "judge/train.comparisons", "test.comparisons"):
        assert right["dawid_skene", name] > right["majority", name] + 0.02


def test_labels_dawid_skene_twice_gives_equal_bytes(tmp_path: Path) -> None:
    parts = dict.fromkeys(SPLITS, crowd(0, 60))
    outs = [make(tmp_path / name, parts, aggregation="dawid_skene")[1] for name in ("one", "other")]
    files = sorted(path.relative_to(outs[0]) for path in outs[0].rglob("*") if path.is_file())
    assert len(files) > 5
    assert all((outs[0] / file).read_bytes() == (outs[1] / file).read_bytes() for file in files)


def test_labels_dawid_skene_of_ratings_writes_expected_scores(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    rows = []
    for i in range(300):
        true = float(i % 3 + 1)
        noise = [float(random.integers(1, 4)) for _ in range(2)]
        rows.append(
            rating_row(
                "p", f"answer {i}", [true, true, *noise], ["ana", "ben", "dan", "eve"], "tone", "film", f"{i}"
            )
        )
    _, out, _ = make(tmp_path, dict.fromkeys(SPLITS, rows), aggregation="dawid_skene", judge_share=0.0)
    scores = {row["completion"]: row["score"] for row in lines(out / "train.ratings.jsonl")}
    assert all(abs(scores[f"answer {i}"] - (i % 3 + 1)) < 0.2 for i in range(300))
    people = json.loads((out / "annotators.json").read_text())["ratings"]["tone/film"]
    assert {row["annotator"]: row["same"] > 0.9 for row in people["error_rates"]} == {
        "ana": True, "ben": True, "dan": False, "eve": False
    }  # fmt: skip


def test_labels_person_whose_rows_left_is_in_no_file(tmp_path: Path) -> None:
    rows = crowd(0, 60)
    held = []
    for name, kept in (("all", rows), ("without", [row for row in rows if row.annotator != "dan"])):
        _, out, _ = make(tmp_path / name, dict.fromkeys(SPLITS, kept), aggregation="dawid_skene")
        held.append([path.name for path in out.rglob("*") if path.is_file() and "dan" in path.read_text()])
    assert held == [["annotators.json"], []]


def test_labels_parameters_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ValueError, match="aggregation is 'mean'; it must be majority or dawid_skene"):
        LabelsParameters(aggregation="mean")
