"""RLHF: aligns the assistant with people's preferences, by PPO or by DPO."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.atomic_file import replace_text
from model.events import EventCallback
from model.training.rlhf_config import RLHFConfig
from tasks.common.counts import counted
from tasks.data.records import LABEL_KINDS
from tasks.engine.declaration import Tolerance, format_share, named_metrics
from tasks.engine.stage import stage
from tasks.engine.training_launcher import TrainingLauncher

# The metrics that tell the report which step was kept, and on what it was chosen.
_CHOICE = ("best_step", "valid_prompts", "valid_pairs", "valid_accuracy", "valid_margin")


def _describe_step(metrics: Mapping[str, Any]) -> str:
    """Return which step's weights the result has, and what they reach on held-out prompts."""
    step, prompts = metrics.get("best_step"), metrics.get("valid_prompts")
    if step is None:
        return ""
    if (pairs := metrics.get("valid_pairs")) is not None:
        asked = counted(int(pairs), "held-out pairs")
        if step == 0:
            return f"no step was better than SFT on {asked}, so SFT's weights were kept"
        right = f"{format_share(metrics['valid_accuracy'])} of them in the order of people"
        return f"step {step:,.0f} is the best on {asked}: {right}"
    if prompts is None:
        return f"step {step:,.0f}, the last: no held-out prompts to choose a step by"
    asked = counted(int(prompts), "held-out prompts")
    if step == 0:
        return f"no step was better than SFT on {asked}, so SFT's weights were kept"
    reached = named_metrics(
        ("valid_gain", "above SFT's score"),
        ("valid_kl", "nats from SFT"),
        ("valid_loss_increase", "more loss on right answers"),
    )
    return f"step {step:,.0f} is the best on {asked}: {reached(metrics)}"


_VALID_LABELS = tuple(f"valid {kind}" for kind in LABEL_KINDS)


@stage(
    inputs=("split", "sft", "labels", "reward", "reference"),
    input_patterns={"split": ("*/pairs",)},
    resumable=True,
    # With DPO also the labels; lineage finds them by the stage reward, which learns the same ones.
    learns_from=("pairs",),
    measures_on={"valid": ("pairs",)},
    metrics_on={
        # These four are DPO's, on people's labels.
        **dict.fromkeys(("valid_loss", "valid_accuracy", "valid_margin", "valid_pairs"), _VALID_LABELS),
        "valid_*": ("valid pairs",),
        "*": (),
    },
    model="aligned",
    headline=_describe_step,
    tolerances=(
        Tolerance(("loss",), relative=0.02),
        Tolerance(("ends_by_itself", "distinct", "score", "loss_increase", "accuracy"), absolute=0.05),
        Tolerance(("kl",), relative=0.2),
        Tolerance(("reward", "gain", "margin"), absolute=0.1),
        Tolerance(("length", "length_ratio"), relative=0.1),
    ),
    time_share=0.2,
)
def rlhf(
    parameters: RLHFConfig,
    split: Path,
    sft: Path,
    labels: Path,
    reward: Path,
    reference: Path | None,
    out: Path,
    on_event: EventCallback,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """Write the aligned assistant to out/model, beside its curves and best step; DPO needs the reference."""
    # A process of its own: the device's memory is free again when it ends.
    start = TrainingLauncher(out, on_event, seed, device, processes)
    if reference:
        from model.training.dpo import train_dpo

        places = {"policy": sft / "model", "labels": labels, "reference": reference, "pairs": split}
        metrics = start(train_dpo, parameters.dpo, **places)
    else:
        from model.training.ppo import train_ppo

        metrics = start(train_ppo, parameters.ppo, policy=sft / "model", reward=reward, prompts=split)
    chosen = {name: metrics[name] for name in _CHOICE if name in metrics}
    replace_text(out / "best_step.json", json.dumps({"method": parameters.method, **chosen}))
    return metrics
