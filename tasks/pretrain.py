"""Pretraining: from random weights to a base model, or a base model taken from elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model import pretrain as training
from model.errors import UserError
from model.folder import load_model, save_model
from model.launch import Report
from model.pretrain import PretrainParameters
from model.tokenizer import Tokenizer
from model.transformer import Architecture, Shape
from tasks.keys import folder_digest
from tasks.stage import stage
from tasks.training import Training


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
    shape = asdict(
        Architecture(vocabulary=Tokenizer.load(tokenizer).vocabulary, **asdict(parameters.architecture))
    )
    start = Training(out, report, seed, device, processes)
    return start(training.train, parameters.training, architecture=shape, tokenizer=tokenizer)
