"""The reward model: learns from labels what people prefer, and is compared with a linear model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.events import EventCallback
from model.training.reward_config import RewardParameters
from tasks.data.records import LABEL_KINDS
from tasks.engine.declaration import Tolerance, format_number, format_share
from tasks.engine.stage import stage
from tasks.engine.training_launcher import TrainingLauncher
from tasks.evaluation.linear_baseline import linear_accuracy


def _accuracy_headline(metrics: Mapping[str, Any]) -> str:
    own, linear = (metrics.get(name) for name in ("pair_accuracy", "linear_pair_accuracy"))
    found = []
    if own is not None:
        # A share of few pairs says little. Runs of earlier versions recorded no number.
        n = metrics.get("pair_accuracy_n")
        shown = f" (n = {format_number(n)})" if n is not None else ""
        found.append(f"{format_share(own)} of held-out pairs right{shown}")
    if linear is not None:
        found.append(f"{format_share(linear)} by a linear model on words")
    return ", ".join(found)


@stage(
    inputs=("sft", "labels"),
    resumable=True,
    learns_from=LABEL_KINDS,
    measures_on={"valid": LABEL_KINDS},
    artifacts=("accuracy.json", "yardstick.json"),
    headline=_accuracy_headline,
    tolerances=(
        Tolerance(("loss",), relative=0.02),
        Tolerance(("accuracy",), absolute=0.05),
        Tolerance(("mean", "deviation"), relative=0.1),
    ),
    time_share=0.15,
)
def reward(
    parameters: RewardParameters,
    sft: Path,
    labels: Path,
    out: Path,
    on_event: EventCallback,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """Write the reward model to out/model, with accuracy.json and yardstick.json by aspect and source."""
    from model.data.preference_dataset import headline_accuracy
    from model.training.reward import train_reward

    start = TrainingLauncher(out, on_event, seed, device, processes)
    figures = start(train_reward, parameters, base=sft / "model", labels=labels)
    # A linear model on words shows how much of the accuracy needs no transformer.
    yardstick = linear_accuracy(labels)
    (out / "yardstick.json").write_text(json.dumps(yardstick, indent=1))
    # Over the same sources as the model's own accuracy, so that the two compare.
    return {**figures, "linear_pair_accuracy": headline_accuracy(yardstick, parameters.headline_sources)}
