"""The reward model: learns from labels what people prefer, and is compared with a linear model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.events import EventCallback
from model.training.reward_config import RewardParameters
from tasks.data.records import LABEL_KINDS
from tasks.engine.declaration import Tolerance, named_metrics
from tasks.engine.stage import stage
from tasks.engine.training_launcher import TrainingLauncher
from tasks.evaluation.linear_baseline import linear_accuracy


@stage(
    inputs=("sft", "labels"),
    resumable=True,
    learns_from=LABEL_KINDS,
    measures_on={"valid": LABEL_KINDS},
    metrics_on={
        **dict.fromkeys(("valid_*", "*pair_accuracy*"), tuple(f"valid {kind}" for kind in LABEL_KINDS)),
        "*": (),
    },
    artifacts=("accuracy.json", "yardstick.json"),
    headline=named_metrics(
        ("pair_accuracy", "of validation pairs right"),
        ("pair_accuracy_ties", "ties left out of it"),
        ("linear_pair_accuracy", "by a linear model on words"),
        shares=("pair_accuracy", "linear_pair_accuracy"),
    ),
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
    measured = linear_accuracy(labels)
    yardstick = {name: share for name, (share, _) in measured.items()}
    counts = {name: count for name, (_, count) in measured.items()}
    (out / "yardstick.json").write_text(json.dumps(yardstick, indent=1))
    # Over the same sources as the model's own accuracy, so that the two compare.
    baseline = headline_accuracy(yardstick, counts, parameters.headline_sources)
    return {**figures, "linear_pair_accuracy": baseline}
