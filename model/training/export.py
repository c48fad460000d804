"""Export of a learner's float32 master weights to a model folder."""

from __future__ import annotations

from pathlib import Path

import torch

from model.data.hf_checkpoint import save_model
from model.data.tokenizer import Tokenizer
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.learner import Learner


def export_model(
    learner: Learner,
    architecture: ModelConfig,
    tokenizer: Tokenizer,
    folder: Path,
    inside: str = "",
) -> None:
    """Write the master weights as a model folder, on the first process; all processes call it together.

    Args:
        learner: The optimizer that holds the weights.
        architecture: The transformer's shape.
        tokenizer: The tokenizer.
        folder: The model folder.
        inside: The prefix of the transformer's names if it is a part of the learner's module.
    """
    state = {}
    for name, value in learner.gather_masters():
        if learner.world.rank == 0 and name.startswith(inside):
            state[name.removeprefix(inside)] = value.cpu()
    if learner.world.rank:
        return
    # A new module in float32: the learner's own may compute in bfloat16, or be compiled.
    with torch.device("meta"):
        model = Transformer(architecture)
    model.load_state_dict(state, assign=True)
    save_model(model, tokenizer, folder)
