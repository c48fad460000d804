"""Test which differences between two runs are marked, and how."""

from __future__ import annotations

import pytest

from tasks.engine.catalog import load_stages
from tasks.engine.declaration import StageDeclaration, measured_of
from tasks.tracking.run_diff import (
    CHANCE,
    RESCORED,
    UNLIKE,
    Difference,
    Facts,
    HeldOut,
    IntervalMetric,
    mark_notes,
    run_differences,
)

FIGURES = {
    "pretrain": ("valid_bits_per_byte", "parameters", "tokens", "skipped_batches"),
    "sft": ("valid_loss", "pairs", "too_long"),
    "reward": ("valid_loss", "pair_accuracy", "pair_accuracy/tone/film", "linear_pair_accuracy", "deviation"),
    "rlhf": ("valid_reward", "valid_accuracy", "max_kl", "undone_steps", "best_step"),
    "evaluate": (
        "base_bits_per_byte", "aligned_judge", "kl", "win_rate", "sft_completion_loss", "test_pair_accuracy",
        "judge_test_pair_accuracy", "judge_reliable",
    ),
}  # fmt: skip

_SCORES = (
    "aligned_judge", "judge_gain", "win_rate", "reward_gain", "kl", "judge_test_pair_accuracy",
    "test_pair_accuracy",
)  # fmt: skip


def facts(run: str, value: float, **digests: str) -> Facts:
    """Return the facts of a run whose metrics all have one value."""
    kinds = ("text", "pairs", "comparisons", "ratings")
    held_out = {
        f"{part} {kind}": HeldOut(9, digests.get(f"{part}_{kind}", "same"))
        for part in ("valid", "test")
        for kind in kinds
    }
    figures = {stage: dict.fromkeys(names, value) for stage, names in FIGURES.items()}
    declared = {
        name: StageDeclaration.from_json(load_stages()[name].declaration.to_json()) for name in FIGURES
    }
    return Facts(run, {}, figures=figures, held_out=held_out, declared=declared)


def marked(**digests: str) -> set[str]:
    found = run_differences(facts("a", 1.0), facts("b", 2.0, **digests))
    return {f"{row.stage} {row.name}" for row in found if row.unlike}


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({}, set()),
        ({"test_text": "other"}, {"evaluate base_bits_per_byte"}),
        ({"valid_text": "other"}, {"pretrain valid_bits_per_byte"}),
        (
            {"test_ratings": "other"},
            {
                f"evaluate {name}"
                for name in ("test_pair_accuracy", "judge_test_pair_accuracy", "judge_reliable")
            },
        ),
        (
            {"valid_comparisons": "other"},
            {
                "rlhf valid_accuracy",
                *(
                    f"reward {name}"
                    for name in (
                        "valid_loss",
                        "pair_accuracy",
                        "pair_accuracy/tone/film",
                        "linear_pair_accuracy",
                    )
                ),
            },
        ),
        ({"valid_pairs": "other"}, {"sft valid_loss", "rlhf valid_reward"}),
        (
            {"test_pairs": "other"},
            {f"evaluate {name}" for name in ("aligned_judge", "kl", "win_rate", "sft_completion_loss")},
        ),
    ],
)
def test_run_differences_only_metrics_of_other_rows_are_marked(
    other: dict[str, str], names: set[str]
) -> None:
    assert marked(**other) == names


def test_measured_of_former_record_names_all_rows_of_its_stage() -> None:
    former = StageDeclaration.from_json({"measures_on": {"test": ["text", "pairs"]}})
    assert measured_of({"evaluate": former}, "evaluate", "kl") == {"test text", "test pairs"}
    assert measured_of({"evaluate": former}, "gate", "score") == set()
    gate = StageDeclaration(metrics_from=("evaluate",))
    assert measured_of({"evaluate": former, "gate": gate}, "gate", "score") == {"test text", "test pairs"}


@pytest.mark.parametrize(
    ("one", "two", "names"),
    [
        ({"judge": "x", "reward": "y"}, {"judge": "x", "reward": "y"}, set()),
        (
            {"judge": "x", "reward": "y"},
            {"judge": "z", "reward": "y"},
            {"aligned_judge", "judge_gain", "win_rate"},
        ),
        ({"judge": "x", "reward": "y"}, {"judge": "x", "reward": "z"}, {"reward_gain"}),
        ({"reward": "y"}, {"judge": "z", "reward": "y"}, set()),
        ({}, {"judge": "z", "reward": "z"}, set()),
    ],
)
def test_run_differences_scores_of_another_model_are_marked(
    one: dict[str, str], two: dict[str, str], names: set[str]
) -> None:
    figures = {name: IntervalMetric(0.5, 0.4, 0.6) for name in _SCORES}
    runs = [
        Facts(run, {}, figures={"evaluate": ends(figures, by)}, scorers=scorers)
        for run, by, scorers in (("a", 0.0, one), ("b", 0.1, two))
    ]
    found = [row for row in run_differences(*runs) if row.name in _SCORES]
    assert {row.name for row in found} == set(_SCORES)
    assert {row.name for row in found if row.change_text == "+0.1 ^"} == names
    assert (RESCORED in mark_notes(found)) == bool(names)


@pytest.mark.parametrize(("score", "shown"), [(0.6, "+0.1 ^"), (0.7, "+0.2")])
def test_run_differences_score_of_the_gate_is_marked_if_a_judge_gave_it(score: float, shown: str) -> None:
    runs = [
        Facts(
            run,
            {},
            figures={"evaluate": {"aligned_judge": judged}, "gate": {"score": gate}},
            scorers={"judge": run},
        )
        for run, judged, gate in (("a", 0.5, 0.5), ("b", 0.6, score))
    ]
    (found,) = [row for row in run_differences(*runs) if row.stage == "gate"]
    assert found.change_text == shown


def ends(figures: dict[str, IntervalMetric], by: float) -> dict[str, float]:
    """Return metrics as MLflow has them, all greater by a number."""
    return {
        f"{name}{end}": round(value + by, 6)
        for name, metric in figures.items()
        for end, value in (("", metric.value), ("_low", metric.low), ("_high", metric.high))
    }


@pytest.mark.parametrize(
    ("before", "now", "unlike", "shown"),
    [
        (IntervalMetric(0.5, 0.4, 0.6), IntervalMetric(0.55, 0.5, 0.7), False, "+0.05 ~"),
        (IntervalMetric(0.5, 0.4, 0.6), IntervalMetric(0.3, 0.2, 0.4), False, "-0.2 ~"),
        (IntervalMetric(0.5, 0.4, 0.6), IntervalMetric(0.8, 0.7, 0.9), False, "+0.3"),
        (IntervalMetric(0.5, 0.4, 0.6), IntervalMetric(0.55, 0.5, 0.7), True, "+0.05 *"),
        (0.5, 0.55, False, "+0.05"),
        (0.5, 0.55, True, "+0.05 *"),
        (None, 0.55, True, ""),
    ],
)
def test_difference_change_has_the_mark_that_the_note_explains(
    before: float | IntervalMetric | None, now: float | IntervalMetric, unlike: bool, shown: str
) -> None:
    def number(value: float | IntervalMetric) -> float:
        return value.value if isinstance(value, IntervalMetric) else value

    change = None if before is None else number(now) - number(before)
    row = Difference("figure", "evaluate", "kl", before, now, change, unlike)
    assert row.change_text == shown
    marks = {"*": UNLIKE, "~": CHANCE}
    assert mark_notes([row]) == [marks[mark] for mark in marks if shown.endswith(mark)]
