"""The pace of a training, measured on this machine."""

from __future__ import annotations

import pytest

from model.training import throughput
from model.training.lora_config import QUANTIZATIONS, LoRAParameters, Quantization
from tests.model.conftest import small_shape


def test_measure_pace_takes_real_steps() -> None:
    shape = small_shape()
    found = throughput.measure_pace(shape, 4, "cpu", 0.2)
    assert found.steps >= 1 and found.tokens_per_second > 0
    assert throughput.measure_pace(shape, 4, "cpu", 0.0).steps == 1


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_measure_pace_of_adapters_takes_real_steps(quantize: Quantization) -> None:
    lora = LoRAParameters(rank=4, quantize=quantize)
    assert throughput.measure_pace(small_shape(), 4, "cpu", 0.1, lora).tokens_per_second > 0
