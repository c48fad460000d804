"""Pretraining: makes a base model from random weights, or takes one from elsewhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.data.dataloader import TokenFile
from model.data.tokenizer import Tokenizer
from model.events import EventCallback
from model.nn.model_config import ModelConfig, Shape
from model.training.pretrain_config import PretrainParameters
from tasks.data.base_model import base_folder
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
    """Model folder that replaces the training; empty: the model is trained."""


def _base_digest(parameters: BaseParameters, root: Path) -> str:
    return folder_digest(base_folder(parameters.base_model, root)) if parameters.base_model else ""


@stage(
    inputs=("tokenizer",),
    external_inputs=_base_digest,
    resumable=True,
    learns_from=("text",),
    measures_on={"valid": ("text",)},
    model="base",
    artifacts=("samples.json",),
    headline=named_metrics(("bits_per_byte", "bits per byte")),
    tolerances=(Tolerance(("loss", "bits_per_byte"), relative=0.02),),
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
    if parameters.base_model:
        return _adopt_base(
            base_folder(parameters.base_model, root), tokenizer, out, parameters.training, device
        )
    from model.training.pretrain import train_base

    # The tokenizer decides: a trained one has the vocabulary of the preset, a base model's its own.
    vocabulary = Tokenizer.load(tokenizer).vocab_size
    shape = asdict(ModelConfig(vocab_size=vocabulary, **asdict(parameters.architecture)))
    start = TrainingLauncher(out, on_event, seed, device, processes)
    return start(train_base, parameters.training, architecture=shape, tokenizer=tokenizer)


def _adopt_base(
    folder: Path, tokenizer: Path, out: Path, parameters: PretrainParameters, device: str
) -> dict[str, Any]:
    from model.data.hf_checkpoint import load_model, save_model
    from model.training.pretrain import bits_per_byte, token_lengths
    from model.training.process_group import ProcessGroup

    model, encoder = load_model(folder, device=device)
    # Written again rather than linked: later stages find the chat's tokens in it.
    save_model(model, encoder, out / "model")
    held_out = TokenFile(tokenizer, "valid", token_lengths(encoder))
    bits = bits_per_byte(model, held_out, ProcessGroup(device=device), parameters.max_eval_tokens)
    return {"bits_per_byte": bits, "parameters": model.architecture.num_parameters}
