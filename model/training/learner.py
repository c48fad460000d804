"""The choice of how a training's weights are stored: whole on each process, or shared among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model.data.hf_checkpoint import load_model
from model.data.stored_weights import StoredWeights
from model.data.tokenizer import Tokenizer
from model.nn.fresh_weights import seeded_rows
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.shared_weights import FrozenModule
from model.training.stopping import StopRequest


class Learner(Protocol):
    """A module with its optimizers: `MixedPrecisionOptimizer`, which is documented, or `ShardedOptimizer`."""

    module: nn.Module
    parameters: OptimizerParameters
    world: ProcessGroup
    copies: bool
    stop: StopRequest

    @property
    def may_leave_step(self) -> bool: ...
    @property
    def num_parameters(self) -> int: ...
    @property
    def row_counts(self) -> dict[str, int]: ...
    def accumulate_grads(self) -> None: ...
    def finish_part(self) -> None: ...
    def step(self, scale: float) -> float: ...
    def zero_grad(self) -> None: ...
    def whole(self) -> AbstractContextManager[Any]: ...
    def gather_masters(self) -> Iterator[tuple[str, Tensor]]: ...
    def master_state(self) -> dict[str, Tensor]: ...
    def load_masters(self, state: dict[str, Tensor]) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Frozen(Protocol):
    """A module that does not learn."""

    def whole(self) -> AbstractContextManager[Any]:
        """Yield the module with all its weights; all processes enter and leave it together."""


class _Resident:
    """A module that each process stores whole."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def whole(self) -> AbstractContextManager[Any]:
        return nullcontext(self.module)


def make_learner(
    module: nn.Module,
    parameters: OptimizerParameters,
    dtype: torch.dtype,
    world: ProcessGroup,
    compiled: bool = False,
) -> Learner:
    """Return the learner of a module.

    Args:
        module: The module.
        parameters: The optimizers' parameters.
        dtype: The type of the arithmetic.
        world: The processes; `world.sharded` decides.
        compiled: Whether to compile the blocks of a shared module. The caller compiles any other.
    """
    if not world.sharded:
        return MixedPrecisionOptimizer(module, parameters, dtype, world)
    # Its libraries take a second to import.
    from model.training.sharded_optimizer import ShardedOptimizer

    return ShardedOptimizer(module, parameters, dtype, world, compiled)


def freeze_module(module: nn.Module, dtype: torch.dtype, world: ProcessGroup) -> Frozen:
    """Return a module that does not learn, in the type of the arithmetic, on the device of the processes."""
    if world.sharded:
        return FrozenModule(module, dtype, world)
    return _Resident(module.to(world.device, dtype))


def load_for_training(
    folder: Path,
    world: ProcessGroup,
    context_length: int = 0,
    frozen: bool = False,
    quantize: bool = False,
) -> tuple[Transformer, Tokenizer]:
    """Return a folder's model and tokenizer for `make_learner` or `freeze_module`.

    If the processes share the weights, the model has none yet: each process reads its own rows of them later.

    Args:
        folder: The model folder.
        world: The processes.
        context_length: The longest context, in tokens; 0: the model's own.
        frozen: Whether none of these weights learns. They are then read in the type of the arithmetic, and
            not in float32.
        quantize: Whether the blocks' matrices are kept in 4 bits, for `frozen` weights that are not shared.
    """
    if not world.sharded:
        dtype = compute_dtype(world.device) if frozen else torch.float32
        return load_model(folder, dtype, context_length=context_length, quantize=quantize)
    stored = StoredWeights(folder, context_length)
    return Transformer.without_weights(stored.architecture, stored.read_rows), stored.tokenizer


def new_model(architecture: ModelConfig, seed: int, world: ProcessGroup) -> Transformer:
    """Return a model with fresh weights for `make_learner`; see `load_for_training`."""
    if not world.sharded:
        return Transformer(architecture).init_weights(seed)
    return Transformer.without_weights(architecture, seeded_rows(architecture, seed))
