"""Test the sections of the report."""

from __future__ import annotations

import pytest

from tasks.common.metric_labels import BELOW_ZERO
from tasks.reporting.sections import Curve, figure_tiles, in_words, sft_section


def test_in_words_row_of_each_kind_is_described() -> None:
    pair = {"prompt": "who?", "completion": " Ann"}
    assert in_words("text", {"text": "long " * 100})[0][1].endswith("long …")
    assert in_words("pairs", pair) == [("prompt", "who?"), ("answer", "Ann")]
    compared = in_words("comparisons", {"prompt": "who?", "a": "Bob", "b": "Ann", "choice": "b"})
    assert compared[1:] == [("first answer", "Bob"), ("second answer", "Ann"), ("better", "the second")]
    names = [f"person {number}" for number in range(30)]
    many = {**pair, "aspect": "tone", "scores": [-1.5] + [0.0] * 29, "annotators": names}
    rated = in_words("ratings", many)
    assert rated[-1][0] == "its tone, by 30 people"
    assert rated[-1][1].startswith("−1.5, 0, ") and rated[-1][1].endswith(" and 5 more: −0.05 on average")
    one = {**pair, "aspect": "tone", "scores": [1], "annotators": ["Ann"]}
    assert in_words("ratings", one)[-1][0] == "its tone, by 1 person"


@pytest.mark.parametrize(
    ("annotators", "said"),
    [
        (["Ann", "Ben"], "2 people"),
        (["Ann", "unknown-1"], "1 person and some without a name"),
        (["unknown-0", "unknown-1"], "people without a name"),
        ([], "people without a name"),
    ],
)
def test_in_words_rating_counts_named_people(annotators: list[str], said: str) -> None:
    row = {
        "prompt": "who?",
        "completion": "Ann",
        "aspect": "tone",
        "scores": [1, 2],
        "annotators": annotators,
    }
    assert in_words("ratings", row)[-1][0] == f"its tone, by {said}"


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"sft_ends_by_itself": 0.5}, "50%"),
        (
            {
                "sft_ends_by_itself": 0.5,
                "sft_ends_by_itself_low": 0.22,
                "sft_ends_by_itself_high": 0.78,
                "sft_ends_by_itself_n": 8.0,
            },
            "50% (95%: 22% to 78%, n = 8)",
        ),
        (
            {
                "sft_ends_by_itself": 0.0,
                "sft_ends_by_itself_low": -3e-17,
                "sft_ends_by_itself_high": 0.3,
                "sft_ends_by_itself_n": 1200.0,
            },
            "0% (95%: 0% to 30%, n = 1,200)",
        ),
    ],
)
def test_sft_section_shares_have_interval(figures: dict[str, float], says: str) -> None:
    found = sft_section(Curve([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]), figures)
    assert found is not None and found["ends"] == says


@pytest.mark.parametrize(("ties", "said"), [(None, "n = 90)"), (1.0, "; 1 tie left out)"), (7.0, "; 7 ties")])
def test_figure_tiles_pair_accuracy_says_how_many_ties_are_left_out(ties: float | None, said: str) -> None:
    name = "test_pair_accuracy"
    figures = {name: 0.8, f"{name}_low": 0.7, f"{name}_high": 0.9, f"{name}_n": 90.0}
    [tile] = figure_tiles({**figures, **({f"{name}_ties": ties} if ties else {})})
    assert said in tile["words"]


@pytest.mark.parametrize(("low", "told"), [(-0.02, True), (0.01, False)])
def test_figure_tiles_divergence_below_zero_is_explained(low: float, told: bool) -> None:
    [tile] = figure_tiles({"kl": 0.03, "kl_low": low, "kl_high": 0.1, "kl_n": 90.0})
    assert (BELOW_ZERO in tile["words"]) == told
