"""The difference of two models' scores on the same prompts, with its 95% interval."""

from __future__ import annotations

from pathlib import Path

from model.data.dataloader import read_rows
from model.evaluation.confidence_intervals import gain_metrics

# The metrics of which evaluate keeps one value a prompt. Other metrics have no interval of the difference.
PAIRED_METRICS = ("judge", "reward")


def difference_interval(metric: str, completions: Path, seed: int) -> tuple[float, float] | None:
    """Return the interval of the candidate's score less the champion's, prompt by prompt; None if unknown.

    The interval is narrower than the two scores' own: a prompt that is hard for one is hard for the other.

    Args:
        metric: The metric, without the name of a model.
        completions: evaluate's file of answers, with each one's scores.
        seed: The seed of the bootstrap.
    """
    if metric not in PAIRED_METRICS or not completions.exists():
        return None
    # Each model's answers are in the order of the prompts. Only free answers have scores.
    scores = {
        model: [row[metric] for row in rows if row["model"] == model and metric in row]
        for rows in [read_rows(completions)]
        for model in ("aligned", "champion")
    }
    if not scores["champion"] or len(scores["champion"]) != len(scores["aligned"]):
        return None
    found = gain_metrics("difference", scores["aligned"], scores["champion"], seed)
    return found["difference_low"], found["difference_high"]
