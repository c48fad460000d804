"""Pretraining: from random weights to a base model, or a base model taken from elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model import pretrain as training
from model.errors import UserError
from model.folder import load_model, save_model
from model.launch import Report, launch
from model.pretrain import PretrainParameters
from model.tokenizer import Tokenizer
from model.transformer import Architecture
from tasks.keys import folder_digest
from tasks.stage import stage


@dataclass(frozen=True)
class Shape:
    """The model's shape; how many tokens it knows is the tokenizer's to say. `kv_heads` 0: as many as heads.

    `hidden` 0: 8/3 of the width, rounded up to a multiple of 32.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 0
    hidden: int = 0
    context: int = 128
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    tied: bool = True

    def __post_init__(self) -> None:
        self.with_vocabulary(1)

    def with_vocabulary(self, vocabulary: int) -> Architecture:
        """The whole architecture. Raises ValueError for a shape that cannot be."""
        return Architecture(vocabulary, **asdict(self))


@dataclass(frozen=True)
class BaseParameters:
    """How the base model comes to be: trained in this shape, or taken from the Llama-layout folder `base`."""

    architecture: Shape = field(default_factory=Shape)
    training: PretrainParameters = field(default_factory=PretrainParameters)
    base: str = ""


def _base_digest(parameters: BaseParameters, root: Path) -> str:
    if not parameters.base:
        return ""
    folder = root / parameters.base
    if not folder.is_dir():
        raise UserError(f"base: {folder} is not a folder; a Llama-layout model folder is right")
    return folder_digest(folder)


@stage(inputs=("tokenizer",), outside=_base_digest, resumes=True)
def pretrain(
    parameters: BaseParameters,
    tokenizer: Path,
    out: Path,
    report: Report,
    root: Path,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """The base model in out/model, its curves, samples and embeddings beside it."""
    if parameters.base:
        model, encoder = load_model(root / parameters.base)
        shutil.rmtree(out / "model", ignore_errors=True)
        save_model(model, encoder, out / "model")
        return {"parameters": model.architecture.parameters}
    vocabulary = Tokenizer.load(tokenizer).vocabulary
    return launch(
        training.train,
        {
            "parameters": asdict(parameters.training),
            "architecture": asdict(parameters.architecture.with_vocabulary(vocabulary)),
            "tokenizer": str(tokenizer),
            "folder": str(out),
            "seed": seed,
            "device": device,
        },
        processes=processes,
        on_event=report,
        log=out.with_suffix(".log"),
    )
