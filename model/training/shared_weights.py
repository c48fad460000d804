"""Weights of which each process of a group stores its own rows, and their whole values for a while."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from model.nn.transformer import Transformer
from model.training.process_group import ProcessGroup

# Where a weight's rows come from, by the weight's name.
Sources = dict[str, Callable[[slice], Tensor]]


def weight_sources(module: nn.Module) -> Sources:
    """Return a function for each weight of a module that gives some of its rows.

    A weight on the meta device is read by its transformer's `read_rows`; of any other, the values are kept.
    """
    readers: Sources = {}
    for prefix, part in module.named_modules():
        if isinstance(part, Transformer) and part.read_rows is not None:
            inside = f"{prefix}." if prefix else ""
            readers |= {inside + name: partial(part.read_rows, name) for name, _ in part.named_parameters()}
    return {
        name: readers[name] if weight.is_meta else weight.detach().clone().__getitem__
        for name, weight in module.named_parameters()
    }


class WholeModule:
    """A copy of a module for passes without gradients, which has weights only while `gathered` is active.

    Passes through it need no other process. Processes may therefore make different numbers of them.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype, world: ProcessGroup) -> None:
        self.world, self.dtype = world, dtype
        memo: dict[int, Any] = {}
        for part in module.modules():
            if isinstance(part, Transformer):
                memo[id(part.read_rows)] = None
        for weight in module.parameters():
            memo[id(weight)] = nn.Parameter(weight.to("meta", dtype), requires_grad=False)
        self.module: nn.Module = copy.deepcopy(module, memo).eval()
        self.empty = dict(self.module.named_parameters())
        for part in self.module.modules():
            for name, buffer in list(part.named_buffers(recurse=False)):
                part.register_buffer(name, buffer.to(world.device), persistent=False)

    @contextmanager
    def gathered(self, own: dict[str, Tensor]) -> Iterator[Any]:
        """Yield the module with its weights, which every process gathers at the same time.

        Args:
            own: This process's rows of each weight.
        """
        state = {
            name: self.world.gather_weight(own[name].detach().to(self.dtype), len(weight))
            for name, weight in self.empty.items()
        }
        self.module.load_state_dict(state, assign=True)
        try:
            yield self.module
        finally:
            del state
            self.module.load_state_dict(self.empty, assign=True)


class FrozenModule:
    """A module that does not learn, of which each process stores its own rows only."""

    @torch.no_grad()
    def __init__(self, module: nn.Module, dtype: torch.dtype, world: ProcessGroup) -> None:
        sources, shapes = weight_sources(module), {name: len(w) for name, w in module.named_parameters()}
        self.whole_module = WholeModule(module, dtype, world)
        self.own = {
            # A copy: a view would keep the whole weight in memory.
            name: sources[name](world.own_rows(rows)).to(world.device, dtype, copy=True)
            for name, rows in shapes.items()
        }

    @contextmanager
    def whole(self) -> Iterator[Any]:
        """Yield the module with all its weights."""
        with self.whole_module.gathered(self.own) as module:
            yield module
