"""Splits that tear nothing, labels that mean something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.formats import File, Reading, find_parser
from tasks.labels import LabelsParameters, krippendorff_alpha, labels, pair_agreement
from tasks.records import TYPES, Rows, comparison_row, rating_row, read_rows, text_row, write_rows
from tasks.split import SPLITS, SplitParameters, split, split_of

SMOKE = Path(__file__).parent.parent / "exports" / "smoke"


def quiet(event: dict[str, Any]) -> None:
    pass


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke data, split."""
    root = tmp_path_factory.mktemp("split")
    files = [File(path.name, path.read_bytes()) for path in sorted(SMOKE.glob("*.jsonl"))]
    found = find_parser("rows")(files, Reading("film"))
    for kind in TYPES:
        write_rows(root / "in" / "rows" / f"{kind}.jsonl", found.of(kind))
    split(SplitParameters(0.1, 0.1), validate=root / "in", out=root / "out", report=quiet)
    return root / "out"


def groups(parts: Path, name: str) -> set[str]:
    return {row.group for kind in TYPES for row in read_rows(parts / name / f"{kind}.jsonl", kind)}


def test_no_passage_question_or_review_stands_in_two_splits(parts: Path) -> None:
    found = {name: groups(parts, name) for name in SPLITS}
    assert all(found.values())
    assert not found["train"] & found["valid"]
    assert not found["train"] & found["test"]
    assert not found["valid"] & found["test"]


def test_a_reviews_pair_and_rating_stand_together(parts: Path) -> None:
    for name in SPLITS:
        pairs = {row.prompt + row.completion for row in read_rows(parts / name / "pairs.jsonl", "pairs")}
        ratings = {
            row.prompt + row.completion for row in read_rows(parts / name / "ratings.jsonl", "ratings")
        }
        assert ratings <= pairs


def test_shares_are_near_what_was_asked_and_a_group_never_moves() -> None:
    parameters = SplitParameters(0.1, 0.2)
    names = [split_of(f"group {i}", parameters) for i in range(5000)]
    assert names.count("valid") == pytest.approx(500, rel=0.15)
    assert names.count("test") == pytest.approx(1000, rel=0.15)
    assert names[:100] == [split_of(f"group {i}", parameters) for i in range(100)]
    other = [split_of(f"group {i}", SplitParameters(0.1, 0.2, salt="x")) for i in range(5000)]
    assert other != names


def test_a_split_without_text_is_refused(tmp_path: Path) -> None:
    for kind in TYPES:
        write_rows(tmp_path / "rows" / f"{kind}.jsonl", [text_row("alone", "film")] if kind == "text" else [])
    with pytest.raises(UserError, match="no text falls into the"):
        split(SplitParameters(), validate=tmp_path, out=tmp_path / "out", report=quiet)


@pytest.mark.parametrize(("key", "value"), [("valid", 0.0), ("test", 0.6)])
def test_shares_out_of_range_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        SplitParameters(**{key: value})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_labels_are_means_choices_and_pairs_held_out(parts: Path, tmp_path: Path) -> None:
    figures = labels(LabelsParameters(pairs=50), split=parts, out=tmp_path, report=quiet, seed=1)
    ratings = lines(tmp_path / "train.ratings.jsonl")
    assert len(ratings) == figures["train_ratings"] > 400
    assert ratings[0].keys() == {"prompt", "completion", "score", "aspect", "source"}
    assert {row["chosen"][0] for row in lines(tmp_path / "train.comparisons.jsonl")} == {" "}
    held_out = lines(tmp_path / "pairs.valid.jsonl")
    tone = [row for row in held_out if row["aspect"] == "tone"]
    assert len(tone) == 50 and all(row["gap"] >= 1 for row in tone)
    score = {
        row["prompt"] + row["completion"]: row["score"] for row in lines(tmp_path / "valid.ratings.jsonl")
    }
    for row in tone:
        better, worse = (
            score[row[side]["prompt"] + row[side]["completion"]] for side in ("chosen", "rejected")
        )
        assert better - worse == pytest.approx(row["gap"])


def test_the_held_out_pairs_are_drawn_by_the_seed(parts: Path, tmp_path: Path) -> None:
    drawn = []
    for place, seed in enumerate((1, 1, 2)):
        labels(LabelsParameters(pairs=50), split=parts, out=tmp_path / str(place), report=quiet, seed=seed)
        drawn.append((tmp_path / str(place) / "pairs.valid.jsonl").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_agreement_is_by_aspect_and_source(parts: Path, tmp_path: Path) -> None:
    labels(LabelsParameters(), split=parts, out=tmp_path, report=quiet, seed=1)
    agreement = json.loads((tmp_path / "agreement.json").read_text())["tone/film"]
    assert agreement["annotators"] == 5 and agreement["items"] == 700
    assert 0.8 < agreement["alpha"] < 1 and 0.7 < agreement["pair_agreement"] <= 1


def prepared(root: Path, rows: Rows) -> Path:
    for name in SPLITS:
        for kind in TYPES:
            write_rows(root / name / f"{kind}.jsonl", rows.of(kind))
    return root


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (Rows(), "there are no labels"),
        (
            Rows(ratings=[rating_row("a", f"b{i}", [2.0], ["x"], "tone", "s", f"{i}") for i in range(9)]),
            "all 9 labels",
        ),
        (
            Rows(comparisons=[comparison_row("a", "b", "c", "tie", "tone", "x", "s", "g")]),
            "every comparison is a tie",
        ),
    ],
)
def test_labels_of_one_class_are_refused(rows: Rows, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        labels(LabelsParameters(), split=prepared(tmp_path, rows), out=tmp_path / "out", report=quiet, seed=1)


def test_only_the_wanted_aspects_and_well_rated_texts_count(tmp_path: Path) -> None:
    rows = Rows(
        ratings=[
            rating_row("a", "b", [2.0, 2.0], ["x", "y"], "tone", "s", "1"),
            rating_row("a", "c", [-2.0, -1.0], ["x", "y"], "tone", "s", "2"),
            rating_row("a", "d", [-2.0], ["x"], "tone", "s", "3"),
            rating_row("a", "e", [1.0, 1.0], ["x", "y"], "helpfulness", "s", "4"),
        ]
    )
    wanted = LabelsParameters(aspects=("tone",), annotators=2)
    figures = labels(wanted, split=prepared(tmp_path, rows), out=tmp_path / "out", report=quiet, seed=1)
    assert figures["train_ratings"] == 2


def test_alpha_is_krippendorffs() -> None:
    # By hand: 4 items of 2 scores; observed (0+1+0+1)·2/8 = 1/2; all 8 scores are 1,1,2,3,3,3,1,2:
    # the sum of squared differences of ordered pairs is 2·(8·38 - 16²) = 96, so expected is 96/56.
    items = [[1.0, 1.0], [2.0, 3.0], [3.0, 3.0], [1.0, 2.0]]
    assert krippendorff_alpha(items) == pytest.approx(1 - 0.5 / (96 / 56))
    assert krippendorff_alpha([[1.0, 1.0], [2.0, 2.0]]) == 1.0
    assert krippendorff_alpha([[5.0], *items]) == krippendorff_alpha(items)


def test_agreement_of_pairs_is_of_signs() -> None:
    assert pair_agreement([[1.0, 2.0, -1.0]]) == pytest.approx(1 / 3)
    assert pair_agreement([[1.0, 3.0], [-2.0, -1.0]]) == 1.0
