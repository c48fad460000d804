"""The transformer, in the Llama layout: RMSNorm, RoPE, SwiGLU, grouped-query attention, no biases.

Vaswani et al., 2017, arXiv:1706.03762; Touvron et al., Llama, 2023, arXiv:2302.13971. Modules are named so
that `state_dict` holds Hugging Face's parameter names.

Shapes: B rows, T tokens, D width, H query heads, K key heads, S cached tokens, V vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.nn.model_config import ModelConfig
from model.nn.ops import (
    additive_mask,
    apply_rotary,
    attends_by_products,
    causal_mask,
    cpu_attention,
    rms_norm,
    scaled_attention,
)


class KVCache:
    """Keys and values of the tokens so far: [B, K, capacity, head] for each layer, and `lengths` [B].

    They are written in place. The cache also holds copies of the model's weights, joined where they read the
    same input. The weights must therefore not change while the cache is used.
    """

    def __init__(self, model: Transformer, rows: int, capacity: int) -> None:
        a, like = model.architecture, model.model.embed_tokens.weight
        shape = (rows, a.num_kv_heads, capacity, a.head_size)
        self.keys, self.values = (
            [torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(a.num_layers)]
            for _ in range(2)
        )
        blocks = [block for block in model.model.layers if isinstance(block, Block)]
        self.attention = [block.self_attn.joined_weights() for block in blocks]
        self.feed_forward = [block.mlp.joined_weights() for block in blocks]
        self.capacity = capacity
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=like.device)
        self.filled = False

    def write_prompts(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Write the keys and values of the prompts, [B, K, T, head]."""
        self.keys[layer][:, :, : keys.shape[2]] = keys
        self.values[layer][:, :, : values.shape[2]] = values

    def append_tokens(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write one token a row at the row's own length; return all keys and values, [B, K, capacity, head].

        The whole capacity is returned, for the caller to mask: torch would copy a part for every product.
        """
        rows = torch.arange(len(keys), device=keys.device)
        self.keys[layer][rows, :, self.lengths] = keys[:, :, 0]
        self.values[layer][rows, :, self.lengths] = values[:, :, 0]
        return self.keys[layer], self.values[layer]

    def keep_rows(self, rows: Tensor) -> None:
        """Keep these rows only."""
        self.keys = [part[rows] for part in self.keys]
        self.values = [part[rows] for part in self.values]
        self.lengths = self.lengths[rows]


class RMSNorm(nn.Module):
    """Root-mean-square norm with a gain (Zhang & Sennrich, 2019, arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Causal grouped-query attention with rotary positions (Su et al., 2021; Ainslie et al., 2023)."""

    def __init__(self, architecture: ModelConfig, layer: int) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.layer = layer
        self.q_proj = nn.Linear(a.hidden_size, a.num_heads * a.head_size, bias=False)
        self.k_proj = nn.Linear(a.hidden_size, a.num_kv_heads * a.head_size, bias=False)
        self.v_proj = nn.Linear(a.hidden_size, a.num_kv_heads * a.head_size, bias=False)
        self.o_proj = nn.Linear(a.num_heads * a.head_size, a.hidden_size, bias=False)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        a, (rows, length, _) = self.architecture, x.shape
        # One product for three projections; rotating queries and keys together halves the number of small
        # operations.
        fused = F.linear(x, self.joined_weights() if cache is None else cache.attention[self.layer])
        if cache is None and mask is not None and attends_by_products(x, length):
            return self.o_proj(cpu_attention(fused, *angles, mask, a.num_heads))
        heads = fused.view(rows, length, a.num_heads + 2 * a.num_kv_heads, a.head_size).transpose(1, 2)
        turned = apply_rotary(heads[:, : a.num_heads + a.num_kv_heads], *angles)
        queries, keys = turned.split([a.num_heads, a.num_kv_heads], dim=1)
        values = heads[:, a.num_heads + a.num_kv_heads :]
        if cache is not None and not cache.filled:
            cache.write_prompts(self.layer, keys, values)
        elif cache is not None:
            keys, values = cache.append_tokens(self.layer, keys, values)
        if a.num_kv_heads < a.num_heads:
            keys, values = (
                part.repeat_interleave(a.num_heads // a.num_kv_heads, 1) for part in (keys, values)
            )
        mixed = scaled_attention(queries, keys, values, mask)
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, length, a.num_heads * a.head_size))

    def joined_weights(self) -> Tensor:
        """Return the weights of queries, keys and values, concatenated by rows."""
        return torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])

    def extra_repr(self) -> str:
        return f"layer={self.layer}"


class FeedForward(nn.Module):
    """A SwiGLU feed-forward layer (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, architecture: ModelConfig, layer: int) -> None:
        super().__init__()
        a, self.layer = architecture, layer
        self.gate_proj = nn.Linear(a.hidden_size, a.intermediate_size, bias=False)
        self.up_proj = nn.Linear(a.hidden_size, a.intermediate_size, bias=False)
        self.down_proj = nn.Linear(a.intermediate_size, a.hidden_size, bias=False)

    def forward(self, x: Tensor, cache: KVCache | None) -> Tensor:
        if cache is None:
            # Two products in training: joining the weights at each step costs more than one product saves.
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        gate, up = F.linear(x, cache.feed_forward[self.layer]).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)

    def joined_weights(self) -> Tensor:
        """Return the weights of the gate and of the gated projection, concatenated by rows."""
        return torch.cat([self.gate_proj.weight, self.up_proj.weight])


class Block(nn.Module):
    """Attention and feed-forward, each on the normed residual stream and added to it."""

    def __init__(self, architecture: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(architecture.hidden_size, architecture.rms_norm_eps)
        self.self_attn = Attention(architecture, layer)
        self.post_attention_layernorm = RMSNorm(architecture.hidden_size, architecture.rms_norm_eps)
        self.mlp = FeedForward(architecture, layer)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), angles, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x), cache)


class Trunk(nn.Module):
    """Embedding, blocks and final norm: the module `model` of Hugging Face's Llama."""

    def __init__(self, architecture: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(architecture.vocab_size, architecture.hidden_size)
        self.layers = nn.ModuleList([Block(architecture, layer) for layer in range(architecture.num_layers)])
        self.norm = RMSNorm(architecture.hidden_size, architecture.rms_norm_eps)


class Transformer(nn.Module):
    """A decoder-only language model. Rows are left-aligned and padded on the right, positions from 0."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, architecture: ModelConfig) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = Trunk(architecture)
        # A tied model has no table of its own here, as in Hugging Face's folders.
        if not architecture.tie_embeddings:
            self.lm_head = nn.Linear(architecture.hidden_size, architecture.vocab_size, bias=False)
        half = architecture.head_size // 2
        # In float64: float32 angles lose precision at late positions.
        frequencies = architecture.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        turns = torch.arange(architecture.context_length, dtype=torch.float64).unsqueeze(1) * frequencies
        # Not persistent: they follow from the architecture, and Hugging Face's folders lack them.
        self.register_buffer("cosines", turns.cos().float(), persistent=False)
        self.register_buffer("sines", turns.sin().float(), persistent=False)

    @torch.no_grad()
    def init_weights(self, seed: int) -> Transformer:
        """Set fresh weights, the same on every device; return the model.

        Matrices are normal with mean 0 and standard deviation 0.02. It is 0.02/√(2L) if their output is added
        to the residual stream. Gains are 1.

        Radford et al., Language models are unsupervised multitask learners, 2019.
        """
        # A generator on the CPU, so that the weights do not depend on the device.
        random = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0)
                continue
            # Two additions a layer: without the smaller scale the stream's variance grows with the depth.
            added = name.endswith(("o_proj.weight", "down_proj.weight"))
            scale = 0.02 / math.sqrt(2 * self.architecture.num_layers) if added else 0.02
            parameter.copy_(torch.randn(parameter.shape, generator=random) * scale)
        return self

    def forward(
        self, tokens: Tensor, documents: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """Return the hidden states after the final norm, [B, T, D].

        With a cache, the first call takes the prompts. Later calls take one token a row, at the row's own
        length. The caller sets and advances `cache.lengths` and sets `cache.filled`.

        Args:
            tokens: [B, T] int64, left-aligned rows; [B, 1] with a filled cache.
            documents: [B, T], the document of each token. Attention is causal and stays inside a document.
                None: one document.
            cache: The cache of a generation.
        """
        length = tokens.shape[1]
        x = self.model.embed_tokens(tokens)
        mask: Tensor | None
        if cache is not None and cache.filled:
            at = cache.lengths
            cosines, sines = (part[at][:, None, None].to(x.dtype) for part in (self.cosines, self.sines))
            # Rows have different lengths, so each sees its own part of the cache.
            seen = torch.arange(cache.capacity, device=x.device) <= at.unsqueeze(1)
            mask = additive_mask(seen[:, None, None], x)
        else:
            cosines, sines = (part[:length].to(x.dtype) for part in (self.cosines, self.sines))
            mask = causal_mask(length, documents, x)
        for block in self.model.layers:
            x = block(x, (cosines, sines), mask, cache)
        return self.model.norm(x)

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """Return logits of the next token: [..., D] -> [..., V] in the model's dtype."""
        return F.linear(hidden, self.output_weight)

    @property
    def output_weight(self) -> Tensor:
        """Return the weight of the output layer, [V, D]."""
        return self.model.embed_tokens.weight if self.architecture.tie_embeddings else self.lm_head.weight
