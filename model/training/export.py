"""Export of a learner's float32 master weights to a model folder."""

from __future__ import annotations

from pathlib import Path

from model.data.hf_checkpoint import save_model
from model.data.tokenizer import Tokenizer
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.optimizer import MixedPrecisionOptimizer


def export_model(
    learner: MixedPrecisionOptimizer,
    architecture: ModelConfig,
    tokenizer: Tokenizer,
    folder: Path,
    inside: str = "",
) -> None:
    """Write the master weights as a model folder, on the first process only.

    Args:
        learner: The optimizer that holds the weights.
        architecture: The transformer's shape.
        tokenizer: The tokenizer.
        folder: The model folder.
        inside: The prefix of the transformer's names if it is a part of the learner's module.
    """
    if learner.world.rank:
        return
    state = learner.master_state()
    # A new module in float32: the learner's own may compute in bfloat16, or be compiled.
    model = Transformer(architecture)
    model.load_state_dict({name: state[inside + name].cpu() for name, _ in model.named_parameters()})
    save_model(model, tokenizer, folder)
