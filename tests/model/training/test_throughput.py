"""The pace of a training, measured on this machine."""

from __future__ import annotations

import torch

from model.training import throughput
from tests.model.conftest import small_shape


def test_on_one_thread_measures_only_on_cpu_with_several_threads() -> None:
    shape = small_shape()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert throughput.on_one_thread(shape, 4, "cpu", 0.1) > 0 and torch.get_num_threads() == 2
    assert throughput.on_one_thread(shape, 4, "cuda", 0.1) == 0
    torch.set_num_threads(1)
    assert throughput.on_one_thread(shape, 4, "cpu", 0.1) == 0
    torch.set_num_threads(threads)


def test_measure_pace_takes_real_steps() -> None:
    shape = small_shape()
    found = throughput.measure_pace(shape, 4, "cpu", 0.2)
    assert found.steps >= 1 and found.tokens_per_second > 0
    assert throughput.measure_pace(shape, 4, "cpu", 0.0).steps == 1
    assert throughput.device_memory("cpu") > 0
