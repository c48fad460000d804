"""Find the folder of a base model that a preset names."""

from __future__ import annotations

from pathlib import Path

from model.errors import UserError


def base_folder(base: str, root: Path) -> Path:
    """Return the folder of the model that a preset's `base` names. Raise UserError if it does not exist."""
    folder = root / base
    if not folder.is_dir():
        raise UserError(
            f"base_model: {folder} is not a folder; "
            "name one with config.json, model.safetensors and tokenizer.json"
        )
    return folder
