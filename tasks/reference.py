"""Reference: measures how likely the SFT model finds the answers that DPO learns from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.events import EventCallback
from model.training.devices import count_processes
from model.training.dpo_config import ReferenceParameters
from model.training.launcher import launch_training
from tasks.engine.declaration import named_counts
from tasks.engine.stage import stage


@stage(
    inputs=("sft", "labels"),
    input_patterns={"labels": ("*.comparisons.jsonl", "*.ratings.jsonl")},
    headline=named_counts(
        ("train_pairs", "pair to train on", "pairs to train on"),
        ("valid_pairs", "held out", "held out"),
        none="no pairs of answers",
    ),
)
def reference(
    parameters: ReferenceParameters,
    sft: Path,
    labels: Path,
    out: Path,
    on_event: EventCallback,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """Write the SFT model's margins on the labels' pairs of answers, which DPO compares its own with."""
    from model.training.reference_margins import measure_reference

    return launch_training(
        measure_reference,
        {
            "parameters": asdict(parameters),
            "policy": str(sft / "model"),
            "labels": str(labels),
            "folder": str(out),
            "device": device,
        },
        processes=count_processes(device, processes, parameters.gradient_parts),
        on_event=on_event,
        log=out.with_suffix(".log"),
    )
