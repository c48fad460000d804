"""Weights, gradients and optimizers of which each process stores its own rows (FSDP).

Zhao et al., PyTorch FSDP: experiences on scaling fully sharded data parallel, 2023, arXiv:2304.11277; in the
form of torch's `fully_shard`. Layers are gathered while they are computed, in the type of the arithmetic.
Gradients are summed over the processes in float32, and each process updates its own float32 rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from model.nn.transformer import Block, Transformer
from model.training.adamw import make_adamw
from model.training.optimizer import orthogonalize_matrices
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.shared_weights import WholeModule, weight_sources
from model.training.stopping import StopRequest


class ShardedMuon:
    """Muon on matrices whose rows are shared among processes; see `Muon`.

    Matrices of one shape are taken in turns of one a process. Each process gets the rows of its matrix from
    the others, orthogonalises it, and sends the rows back. No process holds more than one whole matrix.
    """

    def __init__(
        self, matrices: dict[str, Tensor], rows: dict[str, int], dtype: torch.dtype, world: ProcessGroup
    ) -> None:
        """Store the matrices.

        Args:
            matrices: This process's rows of each matrix, by name.
            rows: The number of rows of each whole matrix.
            dtype: The type of the arithmetic.
            world: The processes.
        """
        self.matrices, self.rows, self.dtype, self.world = matrices, rows, dtype, world
        self.momentum = 0.95
        self.buffers = {name: torch.zeros_like(matrix) for name, matrix in matrices.items()}
        shapes: dict[tuple[int, int], list[str]] = {}
        for name, matrix in matrices.items():
            shapes.setdefault((rows[name], matrix.shape[1]), []).append(name)
        self.turns = [
            names[first : first + world.size]
            for names in shapes.values()
            for first in range(0, len(names), world.size)
        ]

    @torch.no_grad()
    def step(self, learning_rate: float, weight_decay: float) -> None:
        """Take one step on the gradients that the matrices hold."""
        for names in self.turns:
            directions = []
            for name in names:
                gradient = self.matrices[name].grad
                assert gradient is not None
                self.buffers[name].lerp_(gradient, 1 - self.momentum)
                directions.append(gradient.lerp_(self.buffers[name], self.momentum))
            rows, columns = self.rows[names[0]], directions[0].shape[1]
            scale = max(1.0, rows / columns) ** 0.5
            for name, update in zip(names, self._orthogonalize(directions, rows, columns), strict=True):
                self.matrices[name].mul_(1 - learning_rate * weight_decay)
                self.matrices[name].add_(update, alpha=-learning_rate * scale)

    def _orthogonalize(self, own: list[Tensor], rows: int, columns: int) -> list[Tensor]:
        """Return this process's rows of the orthogonalised matrices of one turn, from its rows of them."""
        world = self.world
        parts = [world.rows_of(rank, rows) for rank in range(world.size)]
        sizes = [(part.stop - part.start) * columns for part in parts]
        nothing = own[0].new_empty(0)
        mine = world.rank < len(own)
        spare = [nothing] * (world.size - len(own))
        found = world.exchange_rows([*own, *spare], sizes if mine else [0] * world.size, nothing)
        result: list[Tensor] = [nothing] * world.size
        if mine:
            whole = torch.cat(found).view(1, rows, columns).to(self.dtype)
            made = orthogonalize_matrices(whole)[0].to(nothing.dtype)
            result = [made[part] for part in parts]
        back = [sizes[world.rank]] * len(own) + [0] * len(spare)
        updates = world.exchange_rows(result, back, nothing)
        return [update.view(-1, columns) for update in updates[: len(own)]]


class ShardedOptimizer:
    """A module and its optimizers, of which each process stores its own rows; see `MixedPrecisionOptimizer`.

    The module must be called as a whole, on every process equally often (`ProcessGroup.micro_batches`).
    Passes without gradients go through `whole` instead.
    """

    def __init__(
        self,
        module: nn.Module,
        parameters: OptimizerParameters,
        dtype: torch.dtype,
        world: ProcessGroup,
        compiled: bool = False,
    ) -> None:
        """Share out the weights of a module.

        Args:
            module: The module. Weights on the meta device are read by their transformer's `read_rows`.
            parameters: The optimizers' parameters.
            dtype: The type of the arithmetic, and of weights that do not learn.
            world: The processes.
            compiled: Whether to compile the blocks.
        """
        self.module, self.parameters, self.world = module, parameters, world
        self.stop = StopRequest()
        self.copies = dtype != torch.float32
        self.whole_module = WholeModule(module, dtype, world)
        self.counts = {name: len(weight) for name, weight in module.named_parameters()}
        self.num_parameters = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
        sources = weight_sources(module)
        for weight in module.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.to(dtype)
        self._shard_module(dtype, compiled)
        self.weights = dict(module.named_parameters())
        with torch.no_grad():
            for name, weight in self.weights.items():
                _own(weight).copy_(sources[name](world.own_rows(self.counts[name])))
        self.frozen = {name: _own(w).detach() for name, w in self.weights.items() if not w.requires_grad}
        # Views of the module's own rows, with gradients of their own.
        self.masters = {name: _own(w).detach() for name, w in self.weights.items() if w.requires_grad}
        matrices = {
            name: master
            for name, master in self.masters.items()
            if parameters.muon_learning_rate > 0
            and ".layers." in name
            and master.ndim == 2
            # As in `MixedPrecisionOptimizer`.
            and ".adapters." not in name
        }
        self.muon = ShardedMuon(matrices, self.counts, dtype, world) if matrices else None
        self.adam_names = [name for name in self.masters if name not in matrices]
        self.adam = make_adamw([self.masters[name] for name in self.adam_names], parameters)

    def _shard_module(self, dtype: torch.dtype, compiled: bool) -> None:
        device = self.world.device
        mesh = init_device_mesh(device, (self.world.size,))
        policy = MixedPrecisionPolicy(param_dtype=dtype if self.copies else None, reduce_dtype=torch.float32)
        blocks = [part for part in self.module.modules() if isinstance(part, Block)]
        for block in blocks:
            if compiled:
                block.compile()
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(self.module, mesh=mesh, mp_policy=policy)
        for part in self.module.modules():
            if isinstance(part, FSDPModule):
                # A sum: losses are divided by the units of all processes already.
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
        self.module.to_empty(device=device)
        for part in self.module.modules():
            if isinstance(part, Transformer):
                part.compute_tables()
                for name, buffer in list(part.named_buffers(recurse=False)):
                    part.register_buffer(name, buffer.to(device), persistent=False)

    def accumulate_grads(self) -> None:
        """Do nothing: the backward pass adds each micro-batch's gradients to this process's rows."""

    def finish_part(self) -> None:
        """Do nothing: a process has one part."""

    def step(self, scale: float) -> float:
        """Clip the gradients, and update this process's rows.

        Args:
            scale: The factor on the learning rates.

        Returns:
            The norm of the gradient of all processes' rows before clipping.

        Raises:
            FloatingPointError: The norm is not finite. Nothing has changed then.
        """
        gradients = {
            name: _own(weight.grad) for name, weight in self.weights.items() if weight.grad is not None
        }
        norm = self._clip(list(gradients.values()))
        if not math.isfinite(norm):
            self.zero_grad()
            raise FloatingPointError("the gradient")
        for name, master in self.masters.items():
            master.grad = gradients.get(name)
        self.adam.step(self.parameters.learning_rate * scale)
        if self.muon:
            self.muon.step(self.parameters.muon_learning_rate * scale, self.parameters.weight_decay)
        self.zero_grad()
        return norm

    def _clip(self, gradients: list[Tensor]) -> float:
        """Scale the gradients down to the largest norm; return their norm over all processes."""
        norms = torch._foreach_norm([each for each in gradients if each.numel()])
        square = torch.stack([*norms, torch.zeros((), device=self.world.device)]).square().sum()
        dist.all_reduce(square)
        norm: float = square.sqrt().item()
        # As `torch.nn.utils.clip_grad_norm_`.
        factor = self.parameters.max_grad_norm / (norm + 1e-6)
        if factor < 1:
            torch._foreach_mul_(gradients, factor)
        return norm

    def zero_grad(self) -> None:
        """Clear every gradient."""
        for weight in (*self.weights.values(), *self.masters.values()):
            weight.grad = None

    @contextmanager
    def whole(self) -> Iterator[Any]:
        """Yield a copy of the module with all its weights, for passes without gradients.

        All processes enter and leave it together. The copy needs the memory of all weights in the type of the
        arithmetic.
        """
        with self.whole_module.gathered(self.masters | self.frozen) as module:
            yield module

    @torch.no_grad()
    def gather_masters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each whole weight that learns by name, gathered in turn; all processes iterate together."""
        for name, master in self.masters.items():
            yield name, self.world.gather_weight(master, self.counts[name])

    @property
    def may_leave_step(self) -> bool:
        """Return whether this process may leave a step in its middle: others wait for it at each layer."""
        return self.world.size == 1

    @property
    def row_counts(self) -> dict[str, int]:
        """Return the number of rows of each whole weight that the states hold rows of, by name."""
        return {name: self.counts[name] for name in self.masters}

    def master_state(self) -> dict[str, Tensor]:
        """Return this process's rows of the weights that learn, in float32."""
        return dict(self.masters)

    @torch.no_grad()
    def load_masters(self, state: dict[str, Tensor]) -> None:
        """Load rows of `master_state`; the optimizers' state is unchanged."""
        for name, master in self.masters.items():
            master.copy_(state[name])

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on; values by a weight's name are its own rows."""
        adam = self.adam
        return {
            "masters": dict(self.masters),
            **{
                moment: dict(zip(self.adam_names, tensors, strict=True))
                for moment, tensors in adam.moments.items()
            },
            "steps": torch.stack(adam.steps) if adam.steps else torch.zeros(0),
            "muon": self.muon.buffers if self.muon else {},
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the values of `state_dict`."""
        self.load_masters(state["masters"])
        for moment, tensors in self.adam.moments.items():
            for name, mine in zip(self.adam_names, tensors, strict=True):
                mine.copy_(state[moment][name])
        for taken, count in zip(self.adam.steps, state["steps"], strict=True):
            taken.copy_(count)
        if self.muon:
            for name, buffer in self.muon.buffers.items():
                buffer.copy_(state["muon"][name])
        self.zero_grad()


def _own(tensor: Tensor) -> Tensor:
    """Return this process's rows of a sharded tensor, as a view."""
    assert isinstance(tensor, DTensor)
    return tensor.to_local()
