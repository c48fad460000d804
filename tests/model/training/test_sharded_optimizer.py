"""The optimizer of shared weights: steps, frozen weights, and gradients that are not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.events import EventCallback
from model.nn.losses import linear_next_token_loss
from model.nn.transformer import Transformer
from model.training.launcher import launch_training
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.sharded_optimizer import ShardedOptimizer
from tests.model.conftest import small_shape

MUON = OptimizerParameters(learning_rate=0.01, muon_learning_rate=0.02)
TOKENS = torch.randint(0, 300, (6, 17), generator=torch.Generator().manual_seed(1))


def take_step(learner: Any, model: Transformer, rows: slice) -> float:
    tokens = TOKENS[rows]
    hidden = model(tokens[:, :-1]).flatten(0, 1)
    (linear_next_token_loss(hidden, model.output_weight, tokens[:, 1:].flatten()) / 96).backward()
    learner.accumulate_grads()
    norm: float = learner.step(1.0)
    return norm


def gathered(learner: Any) -> dict[str, Tensor]:
    return {name: value.float().clone() for name, value in learner.gather_masters()}


def check_learner(tied: bool, on_event: EventCallback) -> dict[str, float]:
    """Compare shared weights with whole ones, as a process of a group."""
    torch.set_num_threads(1)
    world = ProcessGroup.join_group("cpu", sharded=True)
    shape = small_shape(tie_embeddings=tied, num_layers=3)
    alone, shared = (Transformer(shape).init_weights(2) for _ in range(2))
    one = MixedPrecisionOptimizer(alone, MUON, torch.float32, ProcessGroup())
    other = ShardedOptimizer(shared, MUON, torch.float32, world)
    assert other.num_parameters == one.num_parameters
    for _ in range(3):
        norms = take_step(one, alone, slice(0, 6)), take_step(other, shared, world.shard_rows(6))
        assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    expected = one.master_state()
    for name, value in gathered(other).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=name)
    with other.whole() as module:
        torch.testing.assert_close(module(TOKENS), alone(TOKENS), rtol=1e-4, atol=1e-4)
    _check_not_finite(other, shared, world)
    _check_frozen(shape, world)
    return {}


def _check_not_finite(learner: Any, model: Transformer, world: ProcessGroup) -> None:
    """Check that a gradient that is not finite on one process changes nothing on any."""
    before, state = gathered(learner), learner.state_dict()
    moments = {name: value.clone() for name, value in state["first"].items()}
    hidden = model(TOKENS[:, :-1])
    (hidden.sum() * (float("inf") if world.rank == world.size - 1 else 1.0)).backward()
    with pytest.raises(FloatingPointError):
        learner.step(1.0)
    assert all(torch.equal(value, before[name]) for name, value in gathered(learner).items())
    assert all(torch.equal(value, moments[name]) for name, value in learner.state_dict()["first"].items())
    assert all(weight.grad is None for weight in model.parameters())


def _check_frozen(shape: Any, world: ProcessGroup) -> None:
    """Check that weights that do not learn stay as they are, in the type of the arithmetic."""
    model = Transformer(shape).init_weights(3)
    for name, weight in model.named_parameters():
        weight.requires_grad_("q_proj" in name or name == "model.norm.weight")
    learner = ShardedOptimizer(model, MUON, torch.bfloat16, world)
    assert set(learner.row_counts) == set(learner.master_state())
    assert len(learner.row_counts) == shape.num_layers + 1
    assert all(rows.dtype == torch.bfloat16 for rows in learner.frozen.values())
    assert all(rows.dtype == torch.float32 for rows in learner.masters.values())
    before = {name: rows.clone() for name, rows in (learner.frozen | learner.masters).items()}
    take_step(learner, model, world.shard_rows(6))
    for name, rows in (learner.frozen | learner.masters).items():
        learned = name in learner.row_counts and rows.numel() > 0
        assert torch.equal(rows, before[name]) != learned, name


@pytest.mark.parametrize(("processes", "tied"), [(1, False), (3, True)])
def test_sharded_optimizer_steps_as_whole_weights_do(processes: int, tied: bool, tmp_path: Path) -> None:
    launch_training(check_learner, {"tied": tied}, processes=processes, log=tmp_path / "log")
