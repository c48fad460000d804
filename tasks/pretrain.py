"""Pretraining: makes a base model from random weights, or takes one from elsewhere and trains it further."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.data.tokenizer import Tokenizer
from model.events import EventCallback
from model.nn.model_config import ModelConfig, Shape
from model.training.pretrain_config import PretrainParameters
from tasks.data.base_models.base_model import base_folder
from tasks.engine.cache_key import folder_digest
from tasks.engine.declaration import Tolerance, named_metrics
from tasks.engine.stage import stage
from tasks.engine.training_launcher import TrainingLauncher


@dataclass(frozen=True)
class BaseParameters:
    """The origin of the base model: trained in this shape, or taken from a model folder."""

    architecture: Shape = field(default_factory=Shape)
    """Shape of the model."""

    training: PretrainParameters = field(default_factory=PretrainParameters)
    """Parameters of the training."""

    base_model: str = ""
    """Model in place of random weights; empty: none. It is trained for `training.continue_steps`."""

    context_length: int = 0
    """Longest context of such a model in the trainings that follow, in tokens; 0: the model's own."""


def _base_digest(parameters: BaseParameters, root: Path) -> dict[str, str] | str:
    if not parameters.base_model:
        return ""
    return {"base_model": folder_digest(base_folder(parameters.base_model, root), root)}


@stage(
    inputs=("tokenizer",),
    external_inputs=_base_digest,
    resumable=True,
    learns_from=("text",),
    measures_on={"valid": ("text",)},
    metrics_on={"*bits_per_byte": ("valid text",), "*": ()},
    model="base",
    artifacts=("samples.json",),
    headline=named_metrics(
        ("bits_per_byte", "bits per byte on validation text"),
        ("bits_per_byte_before", "before"),
        ("replay_bits_per_byte", "on general text"),
        ("replay_bits_per_byte_before", "before"),
        ("context_length", "tokens of context"),
    ),
    tolerances=(Tolerance(("loss", "bits_per_byte", "replay_bits_per_byte"), relative=0.02),),
    time_share=0.45,
)
def pretrain(
    parameters: BaseParameters,
    tokenizer: Path,
    out: Path,
    on_event: EventCallback,
    root: Path,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """Write the base model to out/model, with its curves, samples and embeddings beside it."""
    start = TrainingLauncher(out, on_event, seed, device, processes)
    if parameters.base_model:
        from model.training.base_model import adopt_base

        return start(
            adopt_base, parameters.training, base=base_folder(parameters.base_model, root),
            tokenizer=tokenizer, context_length=parameters.context_length,
        )  # fmt: skip
    from model.training.pretrain import train_base

    # The tokenizer decides: a trained one has the vocabulary of the preset, a base model's its own.
    vocabulary = Tokenizer.load(tokenizer).vocab_size
    shape = asdict(ModelConfig(vocab_size=vocabulary, **asdict(parameters.architecture)))
    return start(train_base, parameters.training, architecture=shape, tokenizer=tokenizer)
