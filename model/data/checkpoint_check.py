"""The check of a foreign model folder before anything is built from it."""

from __future__ import annotations

from pathlib import Path

from model.data.chat_format import MARKERS
from model.data.tokenizer_probe import probe_tokenizer
from model.data.weights_header import inspect_model
from model.errors import UserError
from model.nn.model_config import ModelConfig


def check_model(folder: Path) -> ModelConfig:
    """Check a foreign model folder: its configuration, the shapes of its weights, its tokenizer.

    No part of the model is built, and the tokenizer is tried in a process of its own.

    Raises:
        UserError: A file is wrong; the sentence names it and the fault.
    """
    # Before the tokenizer: the headers are read in milliseconds, the trial takes a process.
    architecture, headers = inspect_model(folder)
    rows, ids = headers["model.embed_tokens.weight"].shape[0], probe_tokenizer(folder)
    if ids > rows + len(MARKERS):
        raise UserError(
            f"{folder}: tokenizer.json has tokens up to number {ids - 1}, and the weights have {rows} of them"
        )
    return architecture
