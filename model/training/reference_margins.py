"""The reference of DPO: the margins of the SFT model on the labels' pairs of answers.

The margin of a pair is the log-probability of the chosen answer less that of the rejected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.data.answer_pairs import AnswerPair, read_answer_pairs
from model.errors import UserError
from model.events import EventCallback
from model.inference.scoring import completion_logprobs
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype
from model.training.dpo_config import ReferenceParameters
from model.training.learner import freeze_module, load_for_training
from model.training.process_group import ProcessGroup

_FILE = "margins.safetensors"
_SPLITS = ("train", "valid")


@torch.no_grad()
def measure_margins(
    policy: Transformer, pairs: Sequence[AnswerPair], padding: int, world: ProcessGroup
) -> Tensor:
    """Return the margins of the pairs under a model, [P] float64 on the CPU."""
    examples = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    found = completion_logprobs(policy, examples, padding, map_chunks=world.map_chunks)
    chosen, rejected = torch.tensor(found, dtype=torch.float64).view(2, -1)
    return chosen - rejected


def read_margins(folder: Path, split: str, pairs: Sequence[AnswerPair]) -> Tensor:
    """Return the margins that `measure_reference` wrote for the pairs of a split, [P] float64.

    Raises:
        UserError: The file is missing or broken, or has margins of other pairs.
    """
    path = folder / _FILE
    try:
        found = load_file(path)[split]
    except (OSError, KeyError, SafetensorError) as error:
        raise UserError(f"{path} is missing or broken ({error}); recompute the stage reference") from error
    if len(found) != len(pairs):
        raise UserError(
            f"{path} has {len(found)} margins ({split}) for {len(pairs)} pairs of answers; recompute the "
            "stage reference"
        )
    return found


def measure_reference(
    parameters: dict[str, Any],
    policy: str,
    labels: str,
    folder: str,
    device: str,
    on_event: EventCallback,
) -> dict[str, float]:
    """Write the margins of the assistant in `policy` to `folder`; return the numbers of pairs.

    Args:
        parameters: As in ReferenceParameters.
        policy: The assistant's model folder.
        labels: The folder of the stage labels.
        folder: The output.
        device: cpu or cuda.
        on_event: The event callback.
    """
    settings = ReferenceParameters(**parameters)
    world = ProcessGroup.join_group(device, settings.gradient_parts, settings.is_sharded)
    assistant, tokenizer = load_for_training(
        Path(policy), world, frozen=True, quantize=settings.quantize == "nf4"
    )
    context = assistant.architecture.context_length
    pairs = {
        split: read_answer_pairs(Path(labels), split, tokenizer, context, settings.margin, on_event)
        for split in _SPLITS
    }
    with freeze_module(assistant, compute_dtype(world.device), world).whole() as whole:
        margins = {name: measure_margins(whole, each, tokenizer.end, world) for name, each in pairs.items()}
    if world.rank == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(margins, Path(folder) / _FILE)
    return {f"{name}_pairs": float(len(each)) for name, each in pairs.items()}
