"""The optimizer: float32 masters, bfloat16 copies, and steps that happen completely or not at all."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys

import pytest
import torch
from torch import nn

from model.training.optimizer import MixedPrecisionOptimizer, orthogonalize_matrices
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup


class Layered(nn.Module):
    """A model with two matrices in place of the transformer's blocks, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.model = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])})
        self.head = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.model["layers"].children():
            x = torch.tanh(layer(x))
        return self.head(x)


MUON = OptimizerParameters(learning_rate=0.01, muon_learning_rate=0.02)
EIGHT = OptimizerParameters(learning_rate=0.01, adamw_bits=8)


def train(learner: MixedPrecisionOptimizer, steps: int, first: int = 0) -> float:
    dtype = learner.weights[0].dtype
    value = 0.0
    for step in range(first, first + steps):
        x = torch.randn(32, 8, generator=torch.Generator().manual_seed(step))
        loss = ((learner.module(x.to(dtype)).float() - x.sum(1, keepdim=True)) ** 2).mean()
        loss.backward()
        learner.accumulate_grads()
        learner.step(1.0)
        value = loss.item()
    return value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("parameters", [OptimizerParameters(learning_rate=0.01), MUON, EIGHT])
def test_optimizer_steps_lower_loss(dtype: torch.dtype, parameters: OptimizerParameters) -> None:
    learner = MixedPrecisionOptimizer(Layered(), parameters, dtype, ProcessGroup())
    assert train(learner, 200) < 0.5 * train(
        MixedPrecisionOptimizer(Layered(), parameters, dtype, ProcessGroup()), 1
    )


def test_optimizer_masters_stay_float32_and_weights_follow() -> None:
    learner = MixedPrecisionOptimizer(Layered(), MUON, torch.bfloat16, ProcessGroup())
    train(learner, 3)
    for master, weight in zip(learner.masters, learner.weights, strict=True):
        assert master.dtype == torch.float32 and weight.dtype == torch.bfloat16
        assert torch.equal(master.bfloat16(), weight)
        assert weight.grad is None and master.grad is None


def test_optimizer_does_not_import_compiler() -> None:
    program = (
        "import sys, torch; from torch import nn\n"
        "from model.training.optimizer import MixedPrecisionOptimizer as M, OptimizerParameters as P\n"
        "from model.training.process_group import ProcessGroup as G\n"
        "m = M(nn.Linear(2, 2), P(), torch.float32, G())\n"
        "m.module(torch.ones(1, 2)).sum().backward(); m.step(1.0)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("parameters", [MUON, EIGHT])
def test_optimizer_restored_state_continues_in_same_bits(
    dtype: torch.dtype, parameters: OptimizerParameters
) -> None:
    whole = MixedPrecisionOptimizer(Layered(), parameters, dtype, ProcessGroup())
    train(whole, 3)
    state = copy.deepcopy(whole.state_dict())
    train(whole, 3, first=3)
    resumed = MixedPrecisionOptimizer(Layered(), parameters, dtype, ProcessGroup())
    resumed.load_state_dict(state)
    train(resumed, 3, first=3)
    for one, other in zip(whole.masters, resumed.masters, strict=True):
        assert torch.equal(one, other)


def test_optimizer_infinite_gradient_changes_nothing() -> None:
    learner = MixedPrecisionOptimizer(Layered(), MUON, torch.float32, ProcessGroup())
    train(learner, 1)
    before = [master.detach().clone() for master in learner.masters]
    (learner.module(torch.ones(1, 8)) * float("inf")).sum().backward()
    with pytest.raises(FloatingPointError):
        learner.step(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.masters, strict=True))
    assert all(master.grad is None for master in learner.masters)


@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 8, 32), (1, 32, 8)])
def test_orthogonalize_matrices_gives_singular_values_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize_matrices(matrices))
    assert values.min() > 0.4 and values.max() < 1.3


def test_lr_scale_warms_up_holds_and_decays() -> None:
    parameters = OptimizerParameters(warmup_ratio=0.1, decay_ratio=0.5, final_lr_ratio=0.1)
    scales = [parameters.lr_scale(step, 100) for step in range(100)]
    assert scales[0] == pytest.approx(0.1)
    assert scales[9:50] == [1.0] * 41
    assert all(a > b for a, b in itertools.pairwise(scales[51:]))
    assert scales[99] == pytest.approx(0.1 + 0.9 / 50)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_grad_norm", 0),
        ("learning_rate", -1.0),
        ("warmup_ratio", 1.5),
        ("beta2", 2.0),
        ("decay_ratio", 0.99),
    ],
)
def test_optimizer_parameters_out_of_range_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        OptimizerParameters(**{key: value})
