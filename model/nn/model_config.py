"""The shape of a model, and its configuration: the shape with a vocabulary."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

WeightDtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Shape:
    """The size of a model, except for the vocabulary, which the tokenizer decides."""

    num_layers: int = 4
    """Number of transformer blocks, 1 or more."""

    hidden_size: int = 128
    """Width of the model: the length of a token's vector. `num_heads` must divide it into even parts."""

    num_heads: int = 4
    """Number of query heads in each block, 1 or more."""

    num_kv_heads: int = 0
    """Number of key and value heads, which must divide `num_heads`; 0: as many as `num_heads`."""

    intermediate_size: int = 0
    """Width of the feed-forward layer; 0: 8/3 of `hidden_size`, rounded up to a multiple of 32."""

    context_length: int = 128
    """Number of tokens that the model sees at once, 1 or more."""

    rope_theta: float = 10000.0
    """Base of the rotary position embedding, above 0."""

    rms_norm_eps: float = 1e-5
    """Number that RMSNorm adds to the mean square, 0 or more."""

    tie_embeddings: bool = True
    """Whether the embedding is also the output layer."""

    def __post_init__(self) -> None:
        for name in ("num_layers", "hidden_size", "num_heads", "context_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        # Written so that a NaN fails too.
        if not 0 < self.rope_theta < math.inf:
            raise ValueError(f"rope_theta is {self.rope_theta}; it must be above 0 and finite")
        if not 0 <= self.rms_norm_eps < math.inf:
            raise ValueError(f"rms_norm_eps is {self.rms_norm_eps}; it must be 0 or more and finite")
        if not self.num_kv_heads:
            object.__setattr__(self, "num_kv_heads", self.num_heads)
        if not self.intermediate_size:
            object.__setattr__(self, "intermediate_size", math.ceil(self.hidden_size * 8 / 3 / 32) * 32)
        self._check_head_width()
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads is {self.num_kv_heads}; it must divide num_heads, {self.num_heads}"
            )

    def _check_head_width(self) -> None:
        if self.hidden_size % self.num_heads or (self.hidden_size // self.num_heads) % 2:
            raise ValueError(
                f"num_heads is {self.num_heads}; it must divide hidden_size, {self.hidden_size}, into "
                "even parts"
            )


@dataclass(frozen=True)
class RopeScaling:
    """A stretch of the rotary positions to longer contexts; the names are those of Hugging Face."""

    kind: Literal["linear", "llama3"]
    """`linear`: all frequencies are divided by `factor`. `llama3`: the low ones are, and there is a
    transition (Grattafiori et al., The Llama 3 herd of models, 2024, arXiv:2407.21783)."""

    factor: float
    """Divisor of the frequencies, above 0."""

    low_freq_factor: float = 1.0
    """`llama3`: wavelengths above `original_context_length` by this number are stretched."""

    high_freq_factor: float = 4.0
    """`llama3`: wavelengths below `original_context_length` by this number are kept."""

    original_context_length: int = 8192
    """`llama3`: number of tokens of the context before the stretch."""


@dataclass(frozen=True)
class ModelConfig(Shape):
    """A shape with its vocabulary, and what the model's family does in another way than Llama.

    The defaults are Llama's, and each model that is trained from random weights has them.
    """

    vocab_size: int = field(kw_only=True)
    """Number of rows of the embedding."""

    family: str = "llama"
    """`model_type` of Hugging Face's configuration."""

    open_model: bool = False
    """Whether the weights come from an open model, rather than from a training here."""

    new_tokens: tuple[int, ...] = ()
    """Numbers of the tokens that were added to an open model, whose rows nothing has trained yet."""

    weight_dtype: WeightDtype = "float32"
    """Type in which files store the weights. Trainings keep float32 weights until they write the result."""

    head_dim: int = 0
    """Width of a head; 0: `hidden_size` / `num_heads`."""

    max_context_length: int = 0
    """Longest context of the model's origin, which an export names; 0: `context_length`."""

    qkv_bias: bool = False
    """Whether the projections to queries, keys and values have biases."""

    output_bias: bool = False
    """Whether the projection of the attention's output has a bias."""

    qk_norm: Literal["", "head", "projection"] = ""
    """Norm of queries and keys before the rotation: of each head, of all heads together, or none."""

    norm_places: Literal["before", "after", "both"] = "before"
    """Place of the norms: before attention and feed-forward layer, after them, or both."""

    gain_offset: float = 0.0
    """Number that is added to the stored gain of each norm; Gemma stores gains less 1."""

    activation: Literal["silu", "gelu_tanh"] = "silu"
    """Activation of the feed-forward layer."""

    embedding_scale: float = 1.0
    """Factor of the embeddings."""

    query_scalar: int = 0
    """Number whose inverse square root is the factor of the attention's scores; 0: width of a head."""

    rope_scaling: RopeScaling | None = None
    """Stretch of the rotary positions, except in layers with a window and a base of their own."""

    local_rope_theta: float = 0.0
    """Base of the rotary positions in layers with a window; 0: `rope_theta`."""

    sliding_window: int = 0
    """Number of tokens that a layer with a window sees, the token itself included; 0: no layer has one."""

    sliding_layers: tuple[int, ...] = ()
    """Numbers of the layers with a window, from 0."""

    unrotated_layers: tuple[int, ...] = ()
    """Numbers of the layers without rotary positions, from 0 (Yang et al., 2025, arXiv:2501.18795)."""

    def _check_head_width(self) -> None:
        if not self.head_dim:
            super()._check_head_width()
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_heads)
        elif self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}; it must be even")

    @property
    def score_scale(self) -> float:
        """Return the factor of the attention's scores."""
        return 1 / math.sqrt(self.query_scalar or self.head_dim)

    @property
    def norm_names(self) -> tuple[str, str, str, str]:
        """Return the names of a block's norms; an empty one is left out.

        The norms are those before and after the attention, and before and after the feed-forward layer.
        """
        # `post_attention_layernorm` stands for two places: these are Hugging Face's names.
        return {
            "before": ("input_layernorm", "", "post_attention_layernorm", ""),
            "after": ("", "post_attention_layernorm", "", "post_feedforward_layernorm"),
            "both": (
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ),
        }[self.norm_places]

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight of a model, by Hugging Face's names."""
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, self.hidden_size),
            "model.norm.weight": (self.hidden_size,),
        }
        if not self.tie_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        block: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj.weight": (queries, self.hidden_size),
            "self_attn.k_proj.weight": (keys, self.hidden_size),
            "self_attn.v_proj.weight": (keys, self.hidden_size),
            "self_attn.o_proj.weight": (self.hidden_size, queries),
            "mlp.gate_proj.weight": (self.intermediate_size, self.hidden_size),
            "mlp.up_proj.weight": (self.intermediate_size, self.hidden_size),
            "mlp.down_proj.weight": (self.hidden_size, self.intermediate_size),
            **{f"{name}.weight": (self.hidden_size,) for name in self.norm_names if name},
        }
        if self.qkv_bias:
            block |= {
                f"self_attn.{name}.bias": block[f"self_attn.{name}.weight"][:1]
                for name in ("q_proj", "k_proj", "v_proj")
            }
        if self.output_bias:
            block["self_attn.o_proj.bias"] = (self.hidden_size,)
        if self.qk_norm:
            wide = self.qk_norm == "projection"
            block["self_attn.q_norm.weight"] = (queries if wide else self.head_dim,)
            block["self_attn.k_norm.weight"] = (keys if wide else self.head_dim,)
        for layer in range(self.num_layers):
            shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
        return shapes

    @property
    def num_parameters(self) -> int:
        """Return the number of weights of a model of this shape."""
        return sum(math.prod(shape) for shape in self.weight_shapes().values())
