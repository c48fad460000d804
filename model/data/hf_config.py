"""The configuration of a model folder, checked before a model is built."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

from model.data.hf_families import ACTIVATIONS, FAMILIES, FULL_LAYER, SLIDING_LAYER
from model.errors import UserError, file_error
from model.nn.model_config import ModelConfig, RopeScaling

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
_LARGEST_COUNT = 1 << 20
# Features of the supported families that change the logits, with the value that stands for their absence.
_UNSUPPORTED = {
    "mlp_bias": False,
    "partial_rotary_factor": 1.0,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "use_bidirectional_attention": False,
    "quantization_config": None,
}


def load_architecture(folder: Path, context_length: int = 0, tied: bool = False) -> ModelConfig:
    """Return the architecture that config.json describes.

    Args:
        folder: The model folder.
        context_length: The longest context, in tokens; 0: the model's own.
        tied: Whether the embedding is also the output layer if neither the file nor the family says it.

    Raises:
        UserError: The file is missing or broken, or asks for what this transformer does not have.
    """
    path = Path(folder) / CONFIG
    config = read_json_file(path, LARGEST_CONFIG)
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(
            f"{path} has model_type {_format_value(name)}; it must be one of {', '.join(FAMILIES)}"
        )
    family = FAMILIES[name]
    config = {**family.defaults, **config}
    _refuse_features(config, path)
    activation = config.get(family.activation_key) or "silu"
    # A list or an object cannot be looked up.
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise UserError(
            f"{path} has {family.activation_key} {_format_value(activation)}; "
            f"it must be one of {', '.join(ACTIVATIONS)}"
        )
    tied = config.get("tie_word_embeddings", tied)
    biased = config.get("attention_bias") or False
    for key, value in (("tie_word_embeddings", tied), ("attention_bias", biased)):
        if not isinstance(value, bool):
            raise UserError(f"{path}: {key} must be true or false")
    sizes = {size: _positive_size(config, size, path) for size in _SIZES}
    layers, longest = sizes["num_hidden_layers"], sizes["max_position_embeddings"]
    theta, scaling, local_theta = _read_rope(config, path)
    window, sliding = _read_windows(name, config, layers, path)
    context = config.get("context_length", longest)
    if not isinstance(context, int) or isinstance(context, bool) or not 1 <= context <= longest:
        raise UserError(
            f"{path}: context_length is {_format_value(context)}; "
            f"a whole number from 1 to {longest:,} is needed"
        )
    context = min(context, context_length or context)
    values: dict[str, Any] = {
        "family": name,
        "open_model": config.get("open_model") is True,
        "new_tokens": _read_new_tokens(config, sizes["vocab_size"], path),
        "weight_dtype": _read_dtype(config),
        "head_dim": sizes["head_dim"],
        "max_context_length": longest if context < longest else 0,
        "qkv_bias": biased,
        "output_bias": biased,
        "activation": ACTIVATIONS[activation],
        "rope_scaling": scaling,
        "local_rope_theta": local_theta if sliding else 0.0,
        "sliding_window": window if sliding else 0,
        "sliding_layers": sliding,
        "unrotated_layers": _read_unrotated(name, config, layers, path),
        **family.switches,
    }
    if name == "gemma3_text":
        # Gemma scales its embeddings by the root of their width.
        values["embedding_scale"] = math.sqrt(sizes["hidden_size"])
        values["query_scalar"] = _positive_size(config, "query_pre_attn_scalar", path)
    try:
        return ModelConfig(
            vocab_size=sizes["vocab_size"],
            num_layers=layers,
            hidden_size=sizes["hidden_size"],
            num_heads=sizes["num_attention_heads"],
            num_kv_heads=sizes["num_key_value_heads"],
            intermediate_size=sizes["intermediate_size"],
            context_length=context,
            rope_theta=theta,
            rms_norm_eps=_require_positive(config.get("rms_norm_eps", 1e-6), "rms_norm_eps", path),
            tie_embeddings=tied,
            **values,
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _read_dtype(config: dict[str, Any]) -> str:
    """Return the type of the weights; newer versions of transformers write another key."""
    named = config.get("dtype") or config.get("torch_dtype")
    # Any other value is no fault: the headers of the weights decide.
    return named if named in ("bfloat16", "float16") else "float32"


def _refuse_features(config: dict[str, Any], path: Path) -> None:
    """Raise UserError for a feature that changes the logits and that the transformer does not have."""
    for key, needed in _UNSUPPORTED.items():
        if config.get(key, needed) not in (None, needed):
            raise UserError(
                f"{path} has {key} {_format_value(config[key])}, which is not supported; "
                "choose a model without it"
            )


def _read_windows(
    family: str, config: dict[str, Any], layers: int, path: Path
) -> tuple[int, tuple[int, ...]]:
    """Return the number of tokens that a layer with a window sees, and the numbers of these layers."""
    window = config.get("sliding_window")
    if family in ("llama", "olmo2"):
        # transformers ignores it here, so nobody can say what the weights were trained with.
        if window is not None:
            raise UserError(f"{path} has a sliding_window, which {family} models do not have; remove the key")
        return 0, ()
    if window is None or config.get("use_sliding_window") is False:
        return 0, ()
    window = _positive_size(config, "sliding_window", path)
    kinds = config.get("layer_types")
    if kinds is None:
        kinds = [
            SLIDING_LAYER if _slides(family, config, layer, path) else FULL_LAYER for layer in range(layers)
        ]
    if (
        not isinstance(kinds, list)
        or len(kinds) != layers
        or set(map(str, kinds)) - {FULL_LAYER, SLIDING_LAYER}
    ):
        raise UserError(
            f"{path}: layer_types must name {FULL_LAYER} or {SLIDING_LAYER} for each of the {layers} layers"
        )
    return window, tuple(layer for layer, kind in enumerate(kinds) if kind == SLIDING_LAYER)


def _slides(family: str, config: dict[str, Any], layer: int, path: Path) -> bool:
    """Return whether a layer has a window if the configuration does not name the layers."""
    if family == "gemma3_text":
        return (layer + 1) % _positive_size(config, "sliding_window_pattern", path) != 0
    if family == "smollm3":
        return layer in _read_unrotated(family, config, layer + 1, path)
    first = config.get("max_window_layers", 0)
    if not isinstance(first, int):
        raise UserError(f"{path}: max_window_layers is {_format_value(first)}; a whole number is needed")
    return layer >= first


def _read_new_tokens(config: dict[str, Any], rows: int, path: Path) -> tuple[int, ...]:
    """Return the numbers of tokens that `load_model` added to an open model."""
    numbers = config.get("new_tokens", [])
    whole = isinstance(numbers, list) and all(type(number) is int for number in numbers)
    if not whole or not all(0 <= number < rows for number in numbers):
        raise UserError(f"{path}: new_tokens must be a list of token numbers below vocab_size, {rows:,}")
    return tuple(sorted(set(numbers)))


def _read_unrotated(family: str, config: dict[str, Any], layers: int, path: Path) -> tuple[int, ...]:
    """Return the numbers of the layers without rotary positions."""
    if family != "smollm3":
        return ()
    rotated = config.get("no_rope_layers")
    if rotated is None:
        every = _positive_size(config, "no_rope_layer_interval", path)
        rotated = [(layer + 1) % every for layer in range(layers)]
    if not isinstance(rotated, list) or len(rotated) < layers:
        raise UserError(f"{path}: no_rope_layers must have a number for each of the {layers} layers")
    # The key's name says the opposite: 1 stands for a layer with rotary positions.
    return tuple(layer for layer in range(layers) if not rotated[layer])


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
        raise UserError(f"{path} is missing; a model folder has it") from None
    except OSError as error:
        raise file_error(path, "cannot be read", error) from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is not a regular file")


def check_tokenizer_file(folder: Path) -> Path:
    """Return the path of a model folder's tokenizer.json. Raise UserError if it is no regular file."""
    path = folder / "tokenizer.json"
    # These hold the same tokenizer in layouts that the library `tokenizers` does not read.
    others = [name for name in ("tokenizer.model", "vocab.json", "tekken.json") if (folder / name).exists()]
    if others and not path.exists():
        raise UserError(
            f"{path} is missing, and {others[0]} alone is not read; write the file with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    check_model_file(path)
    return path


def _read_rope(config: dict[str, Any], path: Path) -> tuple[float, RopeScaling | None, float]:
    """Return the base of the rotary positions, their stretch, and the base in layers with a window."""
    key = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    rope = config.get(key) or {}
    if not isinstance(rope, dict):
        raise UserError(f"{path}: {key} must be an object, not {_format_value(rope)}")
    local = {"rope_theta": config.get("rope_local_base_freq")}
    if FULL_LAYER in rope or SLIDING_LAYER in rope:
        kinds = [rope.get(layer) or {} for layer in (FULL_LAYER, SLIDING_LAYER)]
        if not all(isinstance(kind, dict) for kind in kinds):
            raise UserError(f"{path}: {key} must have an object for each kind of layer")
        rope, local = kinds[0], {**local, **kinds[1]}
        if _read_scaling(local, config, path):
            raise UserError(f"{path}: {key} stretches {SLIDING_LAYER}; only {FULL_LAYER} can be stretched")
    theta = rope.get("rope_theta") or config.get("rope_theta") or 10000.0
    local_theta = local["rope_theta"] or 0.0
    return (
        _require_positive(theta, "rope_theta", path),
        _read_scaling(rope, config, path),
        _require_positive(local_theta, "rope_theta", path) if local_theta else 0.0,
    )


def _read_scaling(rope: dict[str, Any], config: dict[str, Any], path: Path) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type")) or "default"
    if rope.get("partial_rotary_factor") not in (None, 1):
        raise UserError(f"{path} has partial_rotary_factor, which is not supported; choose another model")
    if kind == "default":
        return None
    if kind not in ("linear", "llama3"):
        raise UserError(
            f"{path} has rope_type {_format_value(kind)}; it must be one of default, linear, llama3"
        )
    factor = _require_positive(rope.get("factor"), "factor of the rotary positions", path)
    if kind == "linear":
        return RopeScaling("linear", factor)
    low, high = (
        _require_positive(rope.get(f"{part}_freq_factor"), f"{part}_freq_factor", path)
        for part in ("low", "high")
    )
    if low >= high:
        raise UserError(f"{path}: low_freq_factor is {low}; it must be below high_freq_factor, {high}")
    before = rope.get("original_max_position_embeddings") or config.get("max_position_embeddings")
    return RopeScaling(
        "llama3", factor, low, high, int(_require_positive(before, "original_max_position_embeddings", path))
    )


def _positive_size(config: dict[str, Any], name: str, path: Path) -> int:
    value, largest = config.get(name), _SIZES.get(name, _LARGEST_COUNT)
    if value is None and name in _OPTIONAL:
        return 0
    if name not in config:
        raise UserError(f"{path} lacks the key {name!r}, which a model's configuration has")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise UserError(
            f"{path}: {name} is {_format_value(value)}; a whole number from 1 to {largest:,} is needed"
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
