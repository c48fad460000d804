"""Model folders in Hugging Face's Llama layout: config.json, model.safetensors, the tokenizer's two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.errors import UserError
from model.tokenizer import Tokenizer
from model.transformer import Architecture, Transformer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def save_model(
    model: Transformer, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write a model and its tokenizer; each file is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()}
    part = folder / f"{WEIGHTS}.part"
    save_file(state, part, metadata={"format": "pt"})
    part.replace(folder / WEIGHTS)
    a = model.architecture
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": a.vocabulary,
        "hidden_size": a.width,
        "intermediate_size": a.hidden,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "head_dim": a.head,
        "max_position_embeddings": a.context,
        "rms_norm_eps": a.norm_eps,
        "rope_theta": a.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": a.rope_theta},
        "tie_word_embeddings": a.tied,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.end,
        "pad_token_id": tokenizer.end,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    part = folder / "config.json.part"
    part.write_text(json.dumps(config, indent=2))
    part.replace(folder / "config.json")
    tokenizer.save(folder)


def load_architecture(folder: Path) -> Architecture:
    """The shape that config.json describes.

    Raises UserError where the file is missing or asks for what this transformer does not have.
    """
    config = _read_json(Path(folder) / "config.json")
    path = Path(folder) / "config.json"
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    refused = {
        f"model_type {config.get('model_type')!r}; it must be llama": config.get("model_type") != "llama",
        f"rope_type {kind!r}; only default is supported": kind != "default",
        f"hidden_act {config.get('hidden_act')!r}; only silu is supported": config.get("hidden_act", "silu")
        != "silu",
        "biases; only layers without them are supported": config.get("attention_bias")
        or config.get("mlp_bias"),
    }
    for what, wrong in refused.items():
        if wrong:
            raise UserError(f"{path} has {what}")
    try:
        architecture = Architecture(
            vocabulary=config["vocab_size"],
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads") or 0,
            hidden=config["intermediate_size"],
            context=config["max_position_embeddings"],
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
            norm_eps=config.get("rms_norm_eps", 1e-6),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise UserError(f"{path} lacks the key {error}, which a Llama's configuration has") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if config.get("head_dim") not in (None, architecture.head):
        raise UserError(
            f"{path} has head_dim {config['head_dim']}; only {architecture.head} is supported here"
        )
    return architecture


def load_model(
    folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> tuple[Transformer, Tokenizer]:
    """A model and its tokenizer from any Llama-layout folder, its weights in one file or in shards.

    Where the tokenizer lacks the chat's tokens they are added, and their embeddings start at the mean.
    Raises UserError where a file is missing, truncated, or does not fit config.json.
    """
    folder = Path(folder)
    architecture = load_architecture(folder)
    tokenizer = Tokenizer.load(folder)
    state = _read_weights(folder)
    state = {name: value for name, value in state.items() if not name.endswith("rotary_emb.inv_freq")}
    if architecture.tied:
        state.pop("lm_head.weight", None)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in state and len(state[name]) < tokenizer.vocabulary:
            table = state[name]
            mean = table.float().mean(0, keepdim=True).to(table.dtype)
            state[name] = torch.cat([table, mean.expand(tokenizer.vocabulary - len(table), -1)])
    if "model.embed_tokens.weight" in state:
        rows = len(state["model.embed_tokens.weight"])
        architecture = Architecture(**{**vars(architecture), "vocabulary": rows})
    model = Transformer(architecture)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"{folder}: the weights do not fit config.json: {first}") from error
    return model.to(device, dtype).eval(), tokenizer


def _read_weights(folder: Path) -> dict[str, Tensor]:
    names = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        names = sorted(set(_read_json(folder / INDEX)["weight_map"].values()))
    state: dict[str, Tensor] = {}
    for name in names:
        path = folder / name
        if path.parent != folder:
            raise UserError(f"{folder / INDEX} names {name!r}, which is not a file of this folder")
        if not path.exists():
            raise UserError(f"{path} is missing; a Llama-layout folder holds its weights in safetensors")
        try:
            state.update(load_file(path))
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is not whole ({error}); copy or make it again") from error
    return state


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path} is missing; a Llama-layout folder has it")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold a JSON object")
    return found
