"""Float32 master weights for a module that computes in bfloat16, and the optimizers that update them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from model.training.adamw import make_adamw
from model.training.gradient_sum import GradientSum
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.shared_vectors import SharedVectors, split_like
from model.training.stopping import StopRequest


def orthogonalize_matrices(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return approximately the nearest semi-orthogonal matrices: [N, rows, columns] -> the same shape.

    The quintic Newton-Schulz iteration of Jordan et al., Muon, 2024 (kellerjordan.github.io/posts/muon).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    # Rows are the smaller side, so that the Gram matrix is as small as possible.
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        # Sum and product in one operation each.
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon:
    """The optimizer Muon: orthogonalised Nesterov momentum (Jordan et al., 2024).

    Matrices of one shape are stacked and updated at once, which is faster for small models. On a CPU, a stack
    has as many parts as a batch, and the processes share them.
    """

    def __init__(
        self, matrices: list[Tensor], dtype: torch.dtype, world: ProcessGroup, momentum: float = 0.95
    ) -> None:
        shapes: dict[torch.Size, list[Tensor]] = {}
        for matrix in matrices:
            shapes.setdefault(matrix.shape, []).append(matrix)
        self.stacks = list(shapes.values())
        self.momentum = momentum
        self.dtype = dtype
        self.world = world
        self.buffers = [
            torch.zeros((len(stack), *stack[0].shape), device=stack[0].device) for stack in self.stacks
        ]
        self._shared: SharedVectors | None = None

    @torch.no_grad()
    def step(self, learning_rate: float, weight_decay: float) -> None:
        """Take one step on the gradients that the matrices hold."""
        directions = []
        for stack, buffer in zip(self.stacks, self.buffers, strict=True):
            gradient = torch.stack([matrix.grad for matrix in stack if matrix.grad is not None])
            buffer.lerp_(gradient, 1 - self.momentum)
            directions.append(gradient.lerp_(buffer, self.momentum))
        for stack, update in zip(self.stacks, self._orthogonalize(directions), strict=True):
            rows, columns = stack[0].shape
            # Gives updates of every shape the same size (Liu et al., 2025, arXiv:2502.16982).
            scale = max(1.0, rows / columns) ** 0.5
            torch._foreach_mul_(stack, 1 - learning_rate * weight_decay)
            torch._foreach_add_(stack, list(update.unbind()), alpha=-learning_rate * scale)

    def _orthogonalize(self, directions: list[Tensor]) -> list[Tensor]:
        """Return `orthogonalize_matrices` of each stack, in float32."""
        if self.world.device != "cpu" or self.world.machines > 1:
            return [orthogonalize_matrices(stack.to(self.dtype)).float() for stack in directions]
        if self._shared is None:
            self._shared = SharedVectors(self.world, 1, sum(stack.numel() for stack in directions))
        for stack, place in zip(directions, split_like(self._shared.writable[0], directions), strict=True):
            # Part by part with one process too: the parts' sizes may decide the last bits.
            for part in self.world.shard_parts(len(stack)):
                place[part] = orthogonalize_matrices(stack[part].to(self.dtype))
        return split_like(self._shared.exchange()[0], directions)


class MixedPrecisionOptimizer:
    """A module, its float32 master weights and their optimizers: everything that a step changes.

    `module` computes in `dtype`. If that is float32, its own parameters are the masters. Otherwise the
    masters are float32 copies that are updated and written back, and gradients of micro-batches are summed in
    float32. Frozen parameters have no masters.
    """

    def __init__(
        self, module: nn.Module, parameters: OptimizerParameters, dtype: torch.dtype, world: ProcessGroup
    ) -> None:
        # Before they are on the device: frozen float32 weights would take twice their memory there.
        for weight in module.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.to(dtype)
        self.module = module.to(world.device)
        self.parameters = parameters
        self.world = world
        learned = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in learned]
        shared = dtype == torch.float32
        self.masters = [p if shared else p.detach().float().clone().requires_grad_() for _, p in learned]
        self.module.to(dtype)
        self.weights = [p for p in self.module.parameters() if p.requires_grad]
        self.copies = not shared
        self.gradient_sum = GradientSum(world)
        self.stop = StopRequest()
        self._learning: list[Tensor] = []
        matrices = [
            master
            for name, master in zip(self.names, self.masters, strict=True)
            if parameters.muon_learning_rate > 0
            and ".layers." in name
            and master.ndim == 2
            # The factors of a low-rank matrix are not the matrix that Muon would orthogonalise.
            and ".adapters." not in name
        ]
        chosen = {id(matrix) for matrix in matrices}
        rest = [master for master in self.masters if id(master) not in chosen]
        self.muon = Muon(matrices, dtype, world) if matrices else None
        self.adam = make_adamw(rest, parameters)

    def accumulate_grads(self) -> None:
        """Add the module's gradients to the masters' and clear them."""
        if not self.copies:
            return
        for weight, master in zip(self.weights, self.masters, strict=True):
            if weight.grad is None:
                continue
            if master.grad is None:
                master.grad = weight.grad.float()
            else:
                master.grad.add_(weight.grad)
            weight.grad = None

    def finish_part(self) -> None:
        """Add the gradients since the last call to the sum over the parts of the batch."""
        # A weight without a gradient is left out: Adam ignores it, and would decay it for a gradient of 0.
        self._learning = [master for master in self.masters if master.grad is not None]
        self.gradient_sum.add_part([master.grad for master in self._learning if master.grad is not None])
        for master in self._learning:
            master.grad = None

    def step(self, scale: float) -> float:
        """Sum the gradients over the parts, clip them, update the masters and write them back.

        Gradients since the last `finish_part` are a part too.

        Args:
            scale: The factor on the learning rates.

        Returns:
            The norm of the gradient before clipping.

        Raises:
            FloatingPointError: The norm is not finite. Nothing has changed then.
        """
        if any(master.grad is not None for master in self.masters):
            self.finish_part()
        # Before clipping: the norm must be that of the whole batch.
        for master, gradient in zip(self._learning, self.gradient_sum.total(), strict=True):
            master.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.masters, self.parameters.max_grad_norm).item()
        if norm != norm or norm in (float("inf"), float("-inf")):
            self.zero_grad()
            raise FloatingPointError("the gradient")
        self.adam.step(self.parameters.learning_rate * scale)
        if self.muon:
            self.muon.step(self.parameters.muon_learning_rate * scale, self.parameters.weight_decay)
        self.zero_grad()
        self.sync_params()
        return norm

    def zero_grad(self) -> None:
        """Clear every gradient."""
        self.gradient_sum.clear()
        for tensor in (*self.masters, *self.weights):
            tensor.grad = None

    @torch.no_grad()
    def sync_params(self) -> None:
        """Copy the masters into the module."""
        if self.copies:
            torch._foreach_copy_([*self.weights], self.masters)

    @property
    def num_parameters(self) -> int:
        """Return the number of weights."""
        return sum(master.numel() for master in self.masters)

    @property
    def may_leave_step(self) -> bool:
        """Return whether this process may leave a step in its middle."""
        return self.gradient_sum.may_be_left

    @property
    def row_counts(self) -> dict[str, int]:
        """Return nothing: the states hold whole weights."""
        return {}

    def whole(self) -> AbstractContextManager[Any]:
        """Return a context that yields the module, for passes without gradients."""
        return nullcontext(self.module)

    def gather_masters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each float32 parameter by name."""
        yield from self.master_state().items()

    def master_state(self) -> dict[str, Tensor]:
        """Return the float32 parameters by name."""
        return dict(zip(self.names, (master.detach() for master in self.masters), strict=True))

    @torch.no_grad()
    def load_masters(self, state: dict[str, Tensor]) -> None:
        """Load weights of `master_state`; the optimizers' state is unchanged."""
        torch._foreach_copy_(self.masters, [state[name] for name in self.names])
        self.sync_params()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as tensors and plain values."""
        return {
            "masters": [master.detach() for master in self.masters],
            "adam": self.adam.state_dict(),
            "muon": self.muon.buffers if self.muon else [],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the values of `state_dict`, on this process's device."""
        torch._foreach_copy_(self.masters, state["masters"])
        self.adam.load_state_dict(state["adam"])
        if self.muon:
            torch._foreach_copy_(self.muon.buffers, state["muon"])
        self.zero_grad()
        self.sync_params()
