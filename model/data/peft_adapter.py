"""Low-rank adapters in files, in the layout of the library PEFT: adapter_config.json and safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.atomic_file import atomic_path, fixed_part
from model.errors import UserError
from model.nn.lora import adapted_layers, attach_adapter
from model.nn.transformer import Transformer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# The names that PEFT gives to the model inside its own, and to learned rows of a table.
_PREFIX = "base_model.model."
_ROWS = "token_adapter.trainable_tokens_delta"
# The modules of the tables, by their short names.
_TABLES = {"embed_tokens": "model.embed_tokens", "lm_head": "lm_head"}


@dataclass(frozen=True)
class SavedAdapter:
    """The weights of an adapter, in float32 on the CPU.

    Attributes:
        rank: R, the rank of the matrices.
        alpha: The factor of the adapter's output times the rank.
        matrices: A [R, D] and B [O, R] by the name of the layer.
        new_tokens: The tokens whose rows were learned.
        rows: Their rows [N, D] by the name of the table, `embed_tokens` or `lm_head`.
    """

    rank: int
    alpha: float
    matrices: Mapping[str, tuple[Tensor, Tensor]]
    new_tokens: tuple[int, ...] = ()
    rows: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def target_modules(self) -> list[str]:
        """Return the names of the layers inside a block, in the order of the first block."""
        return list(dict.fromkeys(name.rpartition(".")[2] for name in self.matrices))

    @torch.no_grad()
    def merge_into(self, model: Transformer) -> None:
        """Add the adapter to the weights of a model."""
        for name, (first, second) in self.matrices.items():
            weight = model.get_parameter(f"{name}.weight")
            weight.add_((second @ first * (self.alpha / self.rank)).to(weight))
        for name, rows in self.rows.items():
            weight = model.get_parameter(f"{_TABLES[name]}.weight")
            weight[list(self.new_tokens)] = rows.to(weight)

    @torch.no_grad()
    def attach_to(self, model: Transformer, name: str) -> None:
        """Give a model this adapter beside its weights, and make it the active one."""
        attach_adapter(model, name, self.rank, self.alpha, self.target_modules, seed=0)
        for path, layer in adapted_layers(model):
            adapter = layer.adapter
            if adapter is not None:
                first, second = self.matrices[path]
                adapter.lora_A.weight.copy_(first)
                adapter.lora_B.weight.copy_(second)

    def stacked_on(self, earlier: SavedAdapter) -> SavedAdapter:
        """Return one adapter that adds what `earlier` and this one add; its rank is the sum of theirs.

        The learned rows are those of this one, if it has some.
        """
        rank = earlier.rank + self.rank
        names = [*earlier.matrices, *(name for name in self.matrices if name not in earlier.matrices)]
        return SavedAdapter(
            rank, float(rank), {name: _join(earlier, self, name) for name in names},
            self.new_tokens or earlier.new_tokens, self.rows or earlier.rows,
        )  # fmt: skip


def _join(earlier: SavedAdapter, later: SavedAdapter, name: str) -> tuple[Tensor, Tensor]:
    """Return the matrices of a layer below each other and beside each other, with a factor of 1."""
    firsts, seconds = [], []
    like_first, like_second = earlier.matrices.get(name) or later.matrices[name]
    for adapter in (earlier, later):
        # A layer that only one of them adapts gets zeros for the other.
        first, second = adapter.matrices.get(name) or (
            like_first.new_zeros(adapter.rank, like_first.shape[1]),
            like_second.new_zeros(like_second.shape[0], adapter.rank),
        )
        firsts.append(first)
        seconds.append(second * (adapter.alpha / adapter.rank))
    return torch.cat(firsts), torch.cat(seconds, dim=1)


def save_adapter(adapter: SavedAdapter, folder: Path) -> None:
    """Write an adapter to a folder; each file is written completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for name, pair in adapter.matrices.items():
        for matrix, weight in zip(("lora_A", "lora_B"), pair, strict=True):
            state[f"{_PREFIX}{name}.{matrix}.weight"] = weight.contiguous()
    for name, rows in adapter.rows.items():
        state[f"{_PREFIX}{_TABLES[name]}.{_ROWS}"] = rows.contiguous()
    # The weights first: a folder with adapter_config.json has its weights.
    with atomic_path(folder / WEIGHTS, fixed_part(folder / WEIGHTS)) as part:
        save_file(state, part, metadata={"format": "pt"})
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        # A path would be one of this machine; the reader of an adapter names the model.
        "base_model_name_or_path": None,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": adapter.target_modules,
    }
    if adapter.rows:
        config["trainable_token_indices"] = {name: list(adapter.new_tokens) for name in adapter.rows}
    with atomic_path(folder / CONFIG, fixed_part(folder / CONFIG)) as part:
        part.write_text(json.dumps(config, indent=2))


def load_adapter(folder: Path) -> SavedAdapter:
    """Return the adapter of a folder of `save_adapter`. Raise UserError if a file is missing or broken."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        state = load_file(folder / WEIGHTS)
        matrices = {}
        for key, first in state.items():
            if key.endswith(".lora_A.weight"):
                name = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
                matrices[name] = first, state[f"{_PREFIX}{name}.lora_B.weight"]
        rows = {
            name: state[f"{_PREFIX}{_TABLES[name]}.{_ROWS}"]
            for name in config.get("trainable_token_indices", {})
        }
        numbers = {number for each in config.get("trainable_token_indices", {}).values() for number in each}
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        return SavedAdapter(rank, alpha, matrices, tuple(sorted(numbers)), rows)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} does not contain a complete adapter ({error}); retrain it") from error
