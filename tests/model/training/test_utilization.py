"""Model FLOPs utilization: the formula, compared with a count of a real pass, and the peaks of devices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.nn.transformer import Transformer
from model.training.utilization import flops_per_token, flops_utilization, peak_flops
from tests.model.conftest import small_shape


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_embeddings": False},
        {"num_kv_heads": 1, "num_layers": 3},
        {"head_dim": 32, "context_length": 20},
    ],
)
def test_flops_per_token_equal_count_of_forward_and_backward(changes: dict[str, Any]) -> None:
    architecture = small_shape(**changes)
    # On the meta device the products are counted and not computed; the CPU's own operations are not used.
    with torch.device("meta"):
        model = Transformer(architecture)
        tokens = torch.zeros(2, architecture.context_length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model.compute_logits(model(tokens)).sum().backward()
    assert counter.get_total_flops() == flops_per_token(architecture) * tokens.numel()


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce GTX 1080", 0.0),
        ("", 0.0),
    ],
)
def test_peak_flops_by_name(name: str, peak: float) -> None:
    assert peak_flops(name) == peak


def test_flops_utilization_is_share_of_peak() -> None:
    assert flops_utilization(989e12 / 4, "NVIDIA H100") == pytest.approx(0.25)
    assert flops_utilization(1e12, "a CPU") is None
