"""The configuration of a Llama-layout folder, checked before a model is built."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

from model.errors import UserError, file_error
from model.nn.model_config import ModelConfig

CONFIG = "config.json"
LARGEST_CONFIG = 4 << 20
# The largest accepted sizes. Whether a size is right is checked against the shapes in the weights files.
_SIZES = {
    "vocab_size": 1 << 24,
    "num_hidden_layers": 10_000,
    "hidden_size": 1 << 20,
    "num_attention_heads": 1 << 16,
    "num_key_value_heads": 1 << 16,
    "intermediate_size": 1 << 22,
    # The model builds tables of this many positions.
    "max_position_embeddings": 1 << 20,
    "head_dim": 1 << 16,
}
_OPTIONAL = ("num_key_value_heads", "head_dim")


def load_architecture(folder: Path) -> ModelConfig:
    """Return the architecture that config.json describes.

    Raises:
        UserError: The file is missing or broken, or asks for what this transformer does not have.
    """
    path = Path(folder) / CONFIG
    config = read_json_file(path, LARGEST_CONFIG)
    if config.get("model_type") != "llama":
        raise UserError(f"{path} has model_type {_format_value(config.get('model_type'))}; it must be llama")
    theta = _rope_theta(config, path)
    if config.get("hidden_act", "silu") != "silu":
        raise UserError(
            f"{path} has hidden_act {_format_value(config['hidden_act'])}; only silu is supported"
        )
    if config.get("attention_bias") or config.get("mlp_bias"):
        raise UserError(f"{path} has biases; only layers without them are supported")
    if config.get("sliding_window") is not None:
        raise UserError(f"{path} has a sliding_window; only full attention is supported")
    if not isinstance(config.get("tie_word_embeddings", False), bool):
        raise UserError(f"{path}: tie_word_embeddings must be true or false")
    sizes = {name: _positive_size(config, name, path) for name in _SIZES}
    try:
        architecture = ModelConfig(
            vocab_size=sizes["vocab_size"],
            num_layers=sizes["num_hidden_layers"],
            hidden_size=sizes["hidden_size"],
            num_heads=sizes["num_attention_heads"],
            num_kv_heads=sizes["num_key_value_heads"],
            intermediate_size=sizes["intermediate_size"],
            context_length=sizes["max_position_embeddings"],
            rope_theta=theta,
            rms_norm_eps=_require_positive(config.get("rms_norm_eps", 1e-6), "rms_norm_eps", path),
            tie_embeddings=config.get("tie_word_embeddings", False),
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    # Some Llama models have heads that do not divide the width, which this transformer does not support.
    if sizes["head_dim"] not in (0, architecture.head_size):
        raise UserError(
            f"{path} has head_dim {sizes['head_dim']}; only {architecture.head_size} is supported here"
        )
    return architecture


def read_json_file(path: Path, largest: int) -> dict[str, Any]:
    """Return a JSON object of at most `largest` bytes. Raise UserError for anything else."""
    try:
        check_model_file(path)
        with path.open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise UserError(f"{path} has more than {largest:,} bytes; a model folder's is smaller")
        found = json.loads(content)
    except OSError as error:
        raise file_error(path, "cannot be read", error) from error
    except RecursionError as error:
        raise UserError(f"{path} is not valid: its JSON is nested too deeply") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold a JSON object")
    return found


def check_model_file(path: Path) -> None:
    """Raise UserError unless the path is a regular file, or a link to one."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing; a Llama-layout folder has it") from None
    except OSError as error:
        raise file_error(path, "cannot be read", error) from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is not a regular file")


def _rope_theta(config: dict[str, Any], path: Path) -> float:
    """Return the base of the rotary positions. Raise UserError for scaled ones, under either key."""
    theta = config.get("rope_theta")
    # Older and newer versions of transformers write different keys.
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.get(key)
        if rope is None:
            continue
        if not isinstance(rope, dict):
            raise UserError(f"{path}: {key} must be an object, not {_format_value(rope)}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise UserError(f"{path} has rope_type {_format_value(kind)}; only default is supported")
        theta = rope.get("rope_theta") or theta
    return _require_positive(theta or 10000.0, "rope_theta", path)


def _positive_size(config: dict[str, Any], name: str, path: Path) -> int:
    value = config.get(name)
    if value is None and name in _OPTIONAL:
        return 0
    if name not in config:
        raise UserError(f"{path} lacks the key {name!r}, which a Llama's configuration has")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _SIZES[name]:
        raise UserError(
            f"{path}: {name} is {_format_value(value)}; a whole number from 1 to {_SIZES[name]:,} is needed"
        )
    return value


def _require_positive(value: Any, name: str, path: Path) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 1e30 or not math.isfinite(value):
        raise UserError(f"{path}: {name} is {_format_value(value)}; a number above 0 is needed")
    return float(value)


def _format_value(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**18 else "a very large number"
    return text if len(text) <= 60 else f"{text[:57]}..."
