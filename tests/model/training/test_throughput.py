"""The pace of a training, measured on this machine."""

from __future__ import annotations

import torch

from model.training import throughput
from tests.model.conftest import small_shape


def test_measure_pace_takes_real_steps() -> None:
    shape = small_shape()
    found = throughput.measure_pace(shape, 4, "cpu", 0.2)
    assert found.steps >= 1 and found.tokens_per_second > 0
    assert throughput.measure_pace(shape, 4, "cpu", 0.0).steps == 1
    assert throughput.device_memory("cpu") > 0


def test_measure_pace_leaves_number_of_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        throughput.measure_pace(small_shape(), 4, "cpu", 0.0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
