"""The shape of a model, and its configuration: the shape with a vocabulary."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


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
        if self.hidden_size % self.num_heads or (self.hidden_size // self.num_heads) % 2:
            raise ValueError(
                f"num_heads is {self.num_heads}; it must divide hidden_size, {self.hidden_size}, into "
                "even parts"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads is {self.num_kv_heads}; it must divide num_heads, {self.num_heads}"
            )


@dataclass(frozen=True)
class ModelConfig(Shape):
    """A shape with its vocabulary: all that the layout of the weights needs."""

    vocab_size: int = field(kw_only=True)

    @property
    def head_size(self) -> int:
        """Return the width of one head."""
        return self.hidden_size // self.num_heads

    @property
    def num_parameters(self) -> int:
        """Return the number of weights of a model of this shape."""
        attention = self.hidden_size * self.head_size * (2 * self.num_heads + 2 * self.num_kv_heads)
        block = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        return (
            self.num_layers * block
            + self.hidden_size
            + self.vocab_size * self.hidden_size * (1 if self.tie_embeddings else 2)
        )
