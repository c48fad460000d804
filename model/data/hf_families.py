"""The families of Hugging Face's models that the transformer can be, and what their configurations say.

Each family is a `model_type`. What its configuration leaves out has the value that transformers would take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.nn.model_config import ModelConfig

FULL_LAYER, SLIDING_LAYER = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Family:
    """What all models of a family share."""

    class_name: str
    """The class in transformers."""

    switches: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `ModelConfig` that differ from Llama's."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of config.json's keys that the file may leave out."""

    activation_key: str = "hidden_act"
    """The key of the activation."""


_QWEN = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
FAMILIES = {
    "llama": Family("LlamaForCausalLM"),
    "mistral": Family("MistralForCausalLM", defaults={"sliding_window": 4096, "num_key_value_heads": 8}),
    "qwen2": Family("Qwen2ForCausalLM", {"qkv_bias": True}, {**_QWEN, "num_key_value_heads": 32}),
    "qwen3": Family(
        "Qwen3ForCausalLM", {"qk_norm": "head"}, {**_QWEN, "num_key_value_heads": 32, "head_dim": 128}
    ),
    "olmo2": Family(
        "Olmo2ForCausalLM", {"qk_norm": "projection", "norm_places": "after"}, {"rms_norm_eps": 1e-5}
    ),
    "smollm3": Family(
        "SmolLM3ForCausalLM",
        defaults={
            "num_key_value_heads": 4, "tie_word_embeddings": True, "rope_theta": 2e6,
            "no_rope_layer_interval": 4, "use_sliding_window": False, "sliding_window": None,
        },
    ),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        {"qk_norm": "head", "norm_places": "both", "gain_offset": 1.0},
        {
            "num_key_value_heads": 4, "head_dim": 256, "tie_word_embeddings": True, "rope_theta": 1e6,
            "rope_local_base_freq": 1e4, "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
        },
        activation_key="hidden_activation",
    ),
}  # fmt: skip
# Hugging Face's names of activations.
ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


def format_config(a: ModelConfig) -> dict[str, Any]:
    """Return the configuration that transformers reads for a model of this architecture."""
    family = FAMILIES[a.family]
    rope = {"rope_type": "default", "rope_theta": a.rope_theta}
    if a.rope_scaling:
        rope |= {"rope_type": a.rope_scaling.kind, "factor": a.rope_scaling.factor}
    if a.rope_scaling and a.rope_scaling.kind == "llama3":
        rope |= {
            "low_freq_factor": a.rope_scaling.low_freq_factor,
            "high_freq_factor": a.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": a.rope_scaling.original_context_length,
        }
    local = {"rope_type": "default", "rope_theta": a.local_rope_theta or a.rope_theta}
    config: dict[str, Any] = {
        "architectures": [family.class_name],
        "model_type": a.family,
        "vocab_size": a.vocab_size,
        "hidden_size": a.hidden_size,
        "intermediate_size": a.intermediate_size,
        "num_hidden_layers": a.num_layers,
        "num_attention_heads": a.num_heads,
        "num_key_value_heads": a.num_kv_heads,
        "head_dim": a.head_dim,
        "max_position_embeddings": a.max_context_length or a.context_length,
        "rms_norm_eps": a.rms_norm_eps,
        # Under both keys: older versions of transformers read rope_theta, newer ones rope_parameters.
        "rope_theta": a.rope_theta,
        "rope_parameters": {FULL_LAYER: rope, SLIDING_LAYER: local} if a.local_rope_theta else rope,
        "tie_word_embeddings": a.tie_embeddings,
        family.activation_key: {ours: theirs for theirs, ours in ACTIVATIONS.items()}[a.activation],
        "attention_bias": a.output_bias,
        "mlp_bias": False,
    }
    if a.rope_scaling:
        config["rope_scaling"] = {name: value for name, value in rope.items() if name != "rope_theta"}
    # Keys of our own; other readers ignore them.
    if a.max_context_length:
        config["context_length"] = a.context_length
    if a.open_model:
        config["open_model"] = True
    if a.new_tokens:
        config["new_tokens"] = list(a.new_tokens)
    return config | _format_layers(a)


def _format_layers(a: ModelConfig) -> dict[str, Any]:
    """Return the keys of layers that differ from each other."""
    kinds = [SLIDING_LAYER if layer in a.sliding_layers else FULL_LAYER for layer in range(a.num_layers)]
    window = a.sliding_window or None
    if a.family == "mistral":
        return {"sliding_window": window}
    if a.family in ("qwen2", "qwen3"):
        return {"use_sliding_window": bool(window), "sliding_window": window, "layer_types": kinds}
    if a.family == "smollm3":
        return {
            "no_rope_layers": [int(layer not in a.unrotated_layers) for layer in range(a.num_layers)],
            "use_sliding_window": bool(window),
            "sliding_window": window,
            "layer_types": kinds,
        }
    if a.family == "gemma3_text":
        return {
            "rope_local_base_freq": a.local_rope_theta,
            "sliding_window": window,
            "layer_types": kinds,
            "query_pre_attn_scalar": a.query_scalar,
        }
    return {}
