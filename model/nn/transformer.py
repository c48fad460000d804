"""The transformer, in the Llama layout: RMSNorm, RoPE, SwiGLU, grouped-query attention.

Vaswani et al., 2017, arXiv:1706.03762; Touvron et al., Llama, 2023, arXiv:2302.13971. Other families differ
by the switches of `ModelConfig`. Modules are named so that `state_dict` holds Hugging Face's parameter names.

Shapes: B rows, T tokens, D width, H query heads, K key heads, S cached tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.nn.fresh_weights import ReadRows, draw_weight
from model.nn.lora import TrainedRows, adapted_layers, add_adapters, effective_weight
from model.nn.meta_device import is_on_cpu
from model.nn.model_config import ModelConfig
from model.nn.nf4 import PackedWeights, packed_weight, packed_weights, replace_layers
from model.nn.ops import (
    Mask,
    additive_mask,
    apply_rotary,
    attends_by_products,
    causal_mask,
    cpu_attention,
    pack_rows,
    rms_norm,
    scaled_attention,
)
from model.nn.rope import rotary_tables

Angles = tuple[Tensor, Tensor]
Weights = tuple[Tensor, Tensor | None]


class KVCache:
    """Keys and values of the tokens so far: [B, K, capacity, head] for each layer, and `lengths` [B].

    They are written in place. The cache also holds copies of the model's weights, joined where they read the
    same input, with the active adapter added. The weights must therefore not change while the cache is used.

    A model with adapters on a GPU has no such copies: they would take two thirds of its memory. A model in 4
    bits has none anywhere.
    """

    def __init__(self, model: Transformer, rows: int, capacity: int) -> None:
        a, like = model.architecture, model.model.embed_tokens.weight
        shape = (rows, a.num_kv_heads, capacity, a.head_dim)
        self.keys, self.values = (
            [torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(a.num_layers)]
            for _ in range(2)
        )
        blocks = [block for block in model.model.layers if isinstance(block, Block)]
        self.attention: list[Weights] = []
        self.feed_forward: list[Tensor] = []
        self.joins_weights = _joins_weights(model)
        if self.joins_weights:
            self.attention = [block.self_attn.joined_weights(adapted=True) for block in blocks]
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
        for parts in (self.keys, self.values):
            for layer, part in enumerate(parts):
                # One after the other: both lists whole would take twice the memory for a while.
                parts[layer] = part[rows]
        self.lengths = self.lengths[rows]


def _joins_weights(model: Transformer) -> bool:
    """Return whether a cache holds joined copies of the model's weights."""
    packed, adapted = (next(layers(model), None) is not None for layers in (packed_weights, adapted_layers))
    return not packed and (not adapted or is_on_cpu(model.model.embed_tokens.weight))


class RMSNorm(nn.Module):
    """Root-mean-square norm with a gain (Zhang & Sennrich, 2019, arXiv:1910.07467)."""

    def __init__(self, width: int, architecture: ModelConfig) -> None:
        super().__init__()
        self.offset, self.eps = architecture.gain_offset, architecture.rms_norm_eps
        self.weight = nn.Parameter(torch.full((width,), 1 - self.offset))

    def forward(self, x: Tensor) -> Tensor:
        gain: Tensor = self.weight
        if self.offset:
            # In float32: small stored gains lose their bits beside the offset in bfloat16.
            gain = (gain.float() + self.offset).to(x.dtype)
        return rms_norm(x, gain, self.eps)


class Attention(nn.Module):
    """Causal grouped-query attention with rotary positions (Su et al., 2021; Ainslie et al., 2023)."""

    def __init__(self, architecture: ModelConfig, layer: int) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.layer = layer
        self.rotates = layer not in a.unrotated_layers
        queries, keys = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim
        self.q_proj = nn.Linear(a.hidden_size, queries, bias=a.qkv_bias)
        self.k_proj = nn.Linear(a.hidden_size, keys, bias=a.qkv_bias)
        self.v_proj = nn.Linear(a.hidden_size, keys, bias=a.qkv_bias)
        self.o_proj = nn.Linear(queries, a.hidden_size, bias=a.output_bias)
        if a.qk_norm:
            wide = a.qk_norm == "projection"
            self.q_norm = RMSNorm(queries if wide else a.head_dim, a)
            self.k_norm = RMSNorm(keys if wide else a.head_dim, a)

    def forward(self, x: Tensor, angles: Angles, mask: Mask, cache: KVCache | None) -> Tensor:
        a, (rows, length, _) = self.architecture, x.shape
        # One product for three projections, unless their weights would have to be joined in full.
        packed = any(packed_weight(projection) is not None for projection in self.projections)
        if cache is None and not packed:
            fused = add_adapters(F.linear(x, *self.joined_weights()), x, self.projections)
        elif cache is not None and cache.joins_weights:
            fused = F.linear(x, *cache.attention[self.layer])
        else:
            fused = torch.cat([projection(x) for projection in self.projections], dim=-1)
        plain = self.rotates and not a.qk_norm
        if plain and cache is None and isinstance(mask, Tensor) and attends_by_products(x, length):
            return self.o_proj(cpu_attention(fused, *angles, mask, a.num_heads, a.score_scale))
        turned, values = self.turn_heads(fused, angles)
        queries, keys = turned.split([a.num_heads, a.num_kv_heads], dim=1)
        if cache is not None and not cache.filled:
            cache.write_prompts(self.layer, keys, values)
        elif cache is not None:
            keys, values = cache.append_tokens(self.layer, keys, values)
        mixed = scaled_attention(queries, keys, values, mask, a.score_scale)
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, length, a.num_heads * a.head_dim))

    def turn_heads(self, fused: Tensor, angles: Angles) -> tuple[Tensor, Tensor]:
        """Return queries and keys, normed and rotated, and values.

        Args:
            fused: Queries, keys and values of each token, [B, T, (H + 2K) · head].
            angles: The cosines and sines of the tokens' positions.

        Returns:
            Queries and keys, [B, H + K, T, head], and values, [B, K, T, head].
        """
        a = self.architecture
        if a.qk_norm == "projection":
            sizes = [a.num_heads * a.head_dim, *[a.num_kv_heads * a.head_dim] * 2]
            queries, keys, rest = fused.split(sizes, dim=-1)
            fused = torch.cat([self.q_norm(queries), self.k_norm(keys), rest], dim=-1)
        heads = fused.unflatten(-1, (-1, a.head_dim)).transpose(1, 2)
        turning, values = heads.split([a.num_heads + a.num_kv_heads, a.num_kv_heads], dim=1)
        if a.qk_norm == "head":
            queries, keys = turning.split([a.num_heads, a.num_kv_heads], dim=1)
            turning = torch.cat([self.q_norm(queries), self.k_norm(keys)], dim=1)
        # Rotating queries and keys together halves the number of small operations.
        return (apply_rotary(turning, *angles) if self.rotates else turning), values

    @property
    def projections(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """Return the layers of queries, keys and values."""
        return self.q_proj, self.k_proj, self.v_proj

    def joined_weights(self, adapted: bool = False) -> Weights:
        """Return the weights of queries, keys and values, concatenated by rows, and so their biases.

        Args:
            adapted: Whether the active adapter is added to the weights.
        """
        parts = self.projections
        biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
        weights = tuple(effective_weight(part) if adapted else part.weight for part in parts)
        return torch.cat(weights), torch.cat(biases) if biases else None

    def extra_repr(self) -> str:
        return f"layer={self.layer}"


class FeedForward(nn.Module):
    """A gated feed-forward layer: SwiGLU or GEGLU (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, architecture: ModelConfig, layer: int) -> None:
        super().__init__()
        a, self.layer = architecture, layer
        self.activate = _ACTIVATIONS[a.activation]
        self.gate_proj = nn.Linear(a.hidden_size, a.intermediate_size, bias=False)
        self.up_proj = nn.Linear(a.hidden_size, a.intermediate_size, bias=False)
        self.down_proj = nn.Linear(a.intermediate_size, a.hidden_size, bias=False)

    def forward(self, x: Tensor, cache: KVCache | None) -> Tensor:
        if cache is None or not cache.joins_weights:
            # Two products in training: joining the weights at each step costs more than one product saves.
            return self.down_proj(self.activate(self.gate_proj(x)) * self.up_proj(x))
        gate, up = F.linear(x, cache.feed_forward[self.layer]).chunk(2, dim=-1)
        return self.down_proj(self.activate(gate) * up)

    def joined_weights(self) -> Tensor:
        """Return the weights of the gate and of the gated projection, with the active adapter, by rows."""
        return torch.cat([effective_weight(self.gate_proj), effective_weight(self.up_proj)])


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu_tanh": _gelu_tanh}


class Block(nn.Module):
    """Attention and feed-forward, each added to the residual stream, with norms before or after it."""

    def __init__(self, architecture: ModelConfig, layer: int) -> None:
        super().__init__()
        self.norm_names = architecture.norm_names
        before_attention, after_attention, before_mlp, after_mlp = self.norm_names
        # Parameters are listed in this order, and sums over all of them depend on it.
        self._add_norm(before_attention, architecture)
        self.self_attn = Attention(architecture, layer)
        self._add_norm(after_attention, architecture)
        self._add_norm(before_mlp, architecture)
        self.mlp = FeedForward(architecture, layer)
        self._add_norm(after_mlp, architecture)

    def _add_norm(self, name: str, architecture: ModelConfig) -> None:
        if name:
            self.add_module(name, RMSNorm(architecture.hidden_size, architecture))

    def forward(self, x: Tensor, angles: Angles, mask: Mask, cache: KVCache | None) -> Tensor:
        before_attention, after_attention, before_mlp, after_mlp = self.norm_names
        mixed = self.self_attn(self._normed(before_attention, x), angles, mask, cache)
        x = x + self._normed(after_attention, mixed)
        return x + self._normed(after_mlp, self.mlp(self._normed(before_mlp, x), cache))

    def _normed(self, name: str, x: Tensor) -> Tensor:
        normed: Tensor = getattr(self, name)(x) if name else x
        return normed


class Trunk(nn.Module):
    """Embedding, blocks and final norm: the module `model` of Hugging Face's Llama."""

    def __init__(self, architecture: ModelConfig) -> None:
        super().__init__()
        # torch draws the weights of a new table, which on the meta device imports its compiler for a second.
        # `init_weights` draws them here.
        table = torch.zeros(architecture.vocab_size, architecture.hidden_size)
        self.embed_tokens = nn.Embedding.from_pretrained(table, freeze=False)
        self.layers = nn.ModuleList([Block(architecture, layer) for layer in range(architecture.num_layers)])
        self.norm = RMSNorm(architecture.hidden_size, architecture)


class Transformer(nn.Module):
    """A decoder-only language model. Rows are left-aligned and padded on the right, positions from 0."""

    cosines: Tensor
    sines: Tensor
    local_cosines: Tensor
    local_sines: Tensor

    def __init__(self, architecture: ModelConfig, with_tables: bool = True) -> None:
        """Create the modules; `with_tables` also computes the tables of the rotary positions."""
        super().__init__()
        self.architecture = architecture
        self.model = Trunk(architecture)
        # A tied model has no table of its own here, as in Hugging Face's folders.
        if not architecture.tie_embeddings:
            self.lm_head = nn.Linear(architecture.hidden_size, architecture.vocab_size, bias=False)
        # Whether training computes each block again in the backward pass, rather than keep what it needs.
        self.recomputes = False
        # Learned rows of frozen tables, by the table's name; see `train_new_rows`.
        self.new_rows = nn.ModuleDict()
        # Of a model without weights: it returns some rows of a weight, by name.
        self.read_rows: ReadRows | None = None
        if with_tables:
            self.compute_tables()

    @classmethod
    def without_weights(cls, architecture: ModelConfig, read_rows: ReadRows) -> Transformer:
        """Return a model whose weights are on the meta device, so that they take no memory.

        Args:
            architecture: The shape.
            read_rows: Returns rows of a weight by name. It is called for every weight, in order.
        """
        model = cls._on_meta(architecture)
        model.read_rows = read_rows
        return model

    @classmethod
    def from_weights(
        cls, architecture: ModelConfig, weights: Mapping[str, Tensor], packed: PackedWeights | None = None
    ) -> Transformer:
        """Return a model that consists of the given tensors, without a copy.

        Args:
            architecture: The shape.
            weights: The weights by name.
            packed: Weights in 4 bits by the names of their layers, in the places of those of `weights`.

        Raises:
            RuntimeError: The names or shapes of the weights are not those of the architecture.
        """
        model = cls._on_meta(architecture)
        replace_layers(model, packed or {})
        model.load_state_dict(weights, assign=True)
        return model

    @classmethod
    def _on_meta(cls, architecture: ModelConfig) -> Transformer:
        with torch.device("meta"):
            model = cls(architecture, with_tables=False)
        model.compute_tables()
        return model

    def compute_tables(self) -> None:
        """Compute the tables of the rotary positions, on the CPU."""
        a = self.architecture
        self._add_tables("", rotary_tables(a.head_dim, a.rope_theta, a.rope_scaling, a.context_length))
        if a.local_rope_theta:
            self._add_tables("local_", rotary_tables(a.head_dim, a.local_rope_theta, None, a.context_length))

    def _add_tables(self, prefix: str, tables: Angles) -> None:
        # Not persistent: they follow from the architecture, and Hugging Face's folders lack them.
        for name, table in zip(("cosines", "sines"), tables, strict=True):
            self.register_buffer(prefix + name, table, persistent=False)

    @torch.no_grad()
    def init_weights(self, seed: int) -> Transformer:
        """Set fresh weights, the same on every device; return the model. See `draw_weight`."""
        # A generator on the CPU, so that the weights do not depend on the device.
        random = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            parameter.copy_(draw_weight(self.architecture, name, parameter.shape, random))
        return self

    def forward(
        self,
        tokens: Tensor,
        documents: Tensor | None = None,
        cache: KVCache | None = None,
        stops: Tensor | None = None,
    ) -> Tensor:
        """Return the hidden states after the final norm, [B, T, D].

        With a cache, the first call takes the prompts. Later calls take one token a row, at the row's own
        length. The caller sets and advances `cache.lengths` and sets `cache.filled`.

        Args:
            tokens: [B, T] int64, left-aligned rows; [B, 1] with a filled cache.
            documents: [B, T], the document of each token. Attention is causal and stays inside a document.
                None: one document.
            cache: The cache of a generation.
            stops: [B, M], the ends of each row's documents, as in `pack_rows`. It takes the place of
                `documents` where `find_document_kernel` found a kernel.
        """
        a, x = self.architecture, F.embedding(tokens, self._table("embed_tokens"))
        if a.embedding_scale != 1:
            # Rounded to the weights' type, as in the model's own code.
            x = x * x.new_tensor(a.embedding_scale)
        everywhere = self._angles("", tokens, x, cache), self._mask(0, documents, x, cache, stops)
        nearby = everywhere
        if a.sliding_layers:
            prefix = "local_" if a.local_rope_theta else ""
            nearby = (
                self._angles(prefix, tokens, x, cache),
                self._mask(a.sliding_window, documents, x, cache, stops),
            )
        for layer, block in enumerate(self.model.layers):
            inputs = x, *(nearby if layer in a.sliding_layers else everywhere), cache
            if self.recomputes and torch.is_grad_enabled():
                # Nothing random is computed, so no state of a generator needs to be kept.
                x = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(*inputs)
        return self.model.norm(x)

    def _angles(self, prefix: str, tokens: Tensor, x: Tensor, cache: KVCache | None) -> Angles:
        """Return cosines and sines of the tokens' positions, as `apply_rotary` takes them."""
        cosines, sines = self.get_buffer(f"{prefix}cosines"), self.get_buffer(f"{prefix}sines")
        if cache is not None and cache.filled:
            at = cache.lengths
            return cosines[at][:, None, None].to(x.dtype), sines[at][:, None, None].to(x.dtype)
        length = tokens.shape[1]
        return cosines[:length].to(x.dtype), sines[:length].to(x.dtype)

    @staticmethod
    def _mask(
        window: int, documents: Tensor | None, x: Tensor, cache: KVCache | None, stops: Tensor | None
    ) -> Mask:
        """Return the mask of layers that see `window` tokens; 0: all tokens before."""
        if stops is not None:
            return pack_rows(stops, x.shape[1], window)
        if cache is None or not cache.filled:
            return causal_mask(x.shape[1], documents, x, window)
        # Rows have different lengths, so each sees its own part of the cache.
        places, ends = torch.arange(cache.capacity, device=x.device), cache.lengths.unsqueeze(1)
        seen = places <= ends
        if window:
            seen &= places > ends - window
        return additive_mask(seen[:, None, None], x)

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """Return logits of the next token: [..., D] -> [..., V] in the model's dtype."""
        return F.linear(hidden, self.output_weight)

    @property
    def output_weight(self) -> Tensor:
        """Return the weight of the output layer, [V, D]."""
        return self._table("embed_tokens" if self.architecture.tie_embeddings else "lm_head")

    def train_new_rows(self) -> None:
        """Let the rows of tokens that were added to an open model be learned beside an adapter.

        They hold the mean of the other rows, and an adapter does not change them.
        """
        if numbers := sorted(self.architecture.new_tokens):
            tables = {"embed_tokens": "model.embed_tokens.weight", "lm_head": "lm_head.weight"}
            for name in ("embed_tokens",) if self.architecture.tie_embeddings else tables:
                if self.read_rows is None:
                    rows = self.get_parameter(tables[name]).detach()[numbers]
                else:
                    read = self.read_rows(tables[name], slice(numbers[0], numbers[-1] + 1))
                    rows = read[[number - numbers[0] for number in numbers]]
                self.new_rows[name] = TrainedRows(rows, numbers)

    def _table(self, name: str) -> Tensor:
        weight = self.model.embed_tokens.weight if name == "embed_tokens" else self.lm_head.weight
        if name not in self.new_rows:
            return weight
        table: Tensor = self.new_rows[name](weight)
        return table
