"""Supervised fine-tuning: teaches the base model to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.events import EventCallback
from model.training.sft_config import SFTParameters
from tasks.engine.declaration import Tolerance, named_metrics
from tasks.engine.stage import stage
from tasks.engine.training_launcher import TrainingLauncher


@stage(
    inputs=("split", "pretrain"),
    input_patterns={"split": ("*/pairs",)},
    resumable=True,
    learns_from=("pairs",),
    measures_on={"valid": ("pairs",)},
    metrics_on={"valid_*": ("valid pairs",), "*": ()},
    model="sft",
    headline=named_metrics(("valid_loss", "validation loss")),
    tolerances=(Tolerance(("loss",), relative=0.02),),
    time_share=0.1,
)
def sft(
    parameters: SFTParameters,
    split: Path,
    pretrain: Path,
    out: Path,
    on_event: EventCallback,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """Write the assistant to out/model, with its curves beside it."""
    from model.training.sft import train_sft

    start = TrainingLauncher(out, on_event, seed, device, processes)
    return start(train_sft, parameters, base=pretrain / "model", pairs=split)
