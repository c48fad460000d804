"""The estimate of a training's memory: values computed by hand, and how they change with a preset's keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.hf_checkpoint import load_model, save_model
from model.nn.model_config import ModelConfig
from model.nn.peak_memory import tensor_bytes
from model.nn.transformer import Transformer
from model.training.dpo_config import DPOConfig
from model.training.loop_config import LoopParameters
from model.training.lora_config import LoRAParameters
from model.training.memory_estimate import (
    HEAP_SHARE,
    PROCESS_BYTES,
    MemoryEstimate,
    Training,
    estimate_memory,
)
from model.training.optimizer_config import OptimizerParameters
from model.training.ppo_config import PPOConfig
from model.training.pretrain_config import PretrainParameters
from model.training.reward_config import RewardParameters
from model.training.sft_config import SFTParameters
from tests.model.conftest import Language, small_shape

CLASSES: tuple[type[LoopParameters], ...] = (
    PretrainParameters, SFTParameters, RewardParameters, PPOConfig, DPOConfig,
)  # fmt: skip
ADAPTER = LoRAParameters(rank=4)
# A model whose passes are small beside its weights.
WIDE = small_shape(vocab_size=300, num_layers=2, hidden_size=256, num_heads=2, context_length=4)


def estimate(
    parameters: LoopParameters,
    shape: ModelConfig = WIDE,
    device: str = "cuda",
    processes: int = 1,
    dtype: torch.dtype = torch.bfloat16,
    **others: Any,
) -> MemoryEstimate:
    return estimate_memory(Training(parameters, shape, device, processes, dtype, **others))


def test_estimate_memory_of_full_training_is_that_computed_by_hand() -> None:
    found = estimate(SFTParameters(batch_size=2))
    numel, table = WIDE.num_parameters, 2 * WIDE.context_length * WIDE.head_dim // 2
    # Weights and the tables of positions in bfloat16; float32 masters, two moments and a count a weight.
    assert found.weights == 2 * numel + 2 * table
    assert found.optimizer == 12 * numel + 4 * len(WIDE.weight_shapes())
    assert found.gradients == 4 * numel
    assert (found.process, found.sampling, found.writing, found.shared) == (0, 0, 0, 0)
    assert found.total == found.weights + found.optimizer + found.gradients + found.activations


def test_estimate_memory_of_adapters_counts_the_small_matrices() -> None:
    found = estimate(SFTParameters(batch_size=2, lora=ADAPTER))
    width, inner = WIDE.hidden_size, WIDE.intermediate_size
    adapter = 2 * 4 * (4 * (width + width) + 3 * (width + inner))
    assert found.gradients == 4 * adapter
    assert found.optimizer == 12 * adapter + 4 * 2 * 2 * 7
    assert found.weights - 2 * (WIDE.num_parameters + adapter) < 10_000


@pytest.mark.parametrize("width", [256, 192, 64])
def test_estimate_memory_of_weights_in_4_bits_is_that_of_a_loaded_model(
    language: Language, tmp_path: Path, width: int
) -> None:
    shape = replace(WIDE, hidden_size=width, intermediate_size=3 * width)
    save_model(Transformer(shape).init_weights(1), language.tokenizer, tmp_path)
    model, _ = load_model(tmp_path, torch.bfloat16, quantize=True)
    loaded = tensor_bytes([*model.parameters(), *model.buffers()])
    full, found = (
        estimate(SFTParameters(batch_size=2, lora=replace(ADAPTER, quantize=kind)), shape)
        for kind in ("none", "nf4")
    )
    adapter = found.gradients // 2
    assert found.weights == loaded + adapter
    # By hand: half a byte, a byte for 64 weights, and the pairs of levels and the mean of each matrix.
    matrices = [shape for name, shape in shape.weight_shapes().items() if name.endswith("_proj.weight")]
    blocks = sum(rows * columns for rows, columns in matrices)
    assert full.weights - found.weights == pytest.approx(
        2 * blocks - blocks / 2 - blocks / 64 - 14 * 2052, abs=blocks / 64 / 256 * 4 + 14 * 4
    )
    assert (full.optimizer, full.gradients) == (found.optimizer, found.gradients)


@pytest.mark.parametrize("kind", CLASSES[1:])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_estimate_memory_of_4_bits_is_lower_in_each_training(kind: type[LoopParameters], device: str) -> None:
    large = replace(WIDE, hidden_size=512, intermediate_size=2048, num_layers=8, weight_dtype="bfloat16")
    full, found = (
        estimate(kind(batch_size=4, lora=replace(ADAPTER, quantize=quantize)), large, device)  # type: ignore[call-arg]
        for quantize in ("none", "nf4")
    )
    assert found.weights < 0.5 * full.weights
    assert found.total < full.total
    assert found.reading <= full.reading and found.writing <= full.writing


def test_estimate_memory_of_ppo_counts_its_models_and_the_undone_step() -> None:
    settings = PPOConfig(batch_size=4, num_mini_batches=2, max_new_tokens=2)
    numel = WIDE.num_parameters
    full, plain = estimate(settings), estimate(SFTParameters(batch_size=4))
    assert full.weights - plain.weights == pytest.approx(2 * 2 * numel, rel=0.01)
    assert full.optimizer == pytest.approx(24 * numel, rel=0.01)
    adapted = replace(settings, lora=ADAPTER)
    shared, alone = (estimate(adapted, shares_scorer=shares) for shares in (True, False))
    # One copy of the weights serves as policy, reference and reward model.
    assert alone.weights - shared.weights == pytest.approx(2 * numel, rel=0.1)


def test_estimate_memory_of_cpu_counts_files_processes_and_shared_sums() -> None:
    one, two = (estimate(SFTParameters(batch_size=4), device="cpu", processes=count) for count in (1, 2))
    numel = WIDE.num_parameters
    assert one.process == PROCESS_BYTES and one.shared == 0
    # Two sets of one float32 vector for each of the two parts.
    assert two.shared == 2 * 2 * 4 * numel
    assert two.gradients == two.shared + 4 * numel
    # A file is mapped while its weights are copied: in bfloat16 if they are frozen.
    assert estimate(SFTParameters(batch_size=4, lora=ADAPTER), device="cpu").reading == 6 * numel
    stored = replace(WIDE, weight_dtype="bfloat16")
    reading = estimate(SFTParameters(batch_size=4, lora=ADAPTER), stored, "cpu")
    assert reading.reading == max(4 * numel, reading.weights + reading.optimizer)
    # The export reads the base in float32, and writes it in its own type.
    assert estimate(SFTParameters(batch_size=4, lora=ADAPTER), stored, "cpu").writing == 6 * numel
    assert two.machine_total(2) == PROCESS_BYTES + 2 * (two.total - two.shared) + two.shared


def test_estimate_memory_of_keys_and_values_is_that_computed_by_hand() -> None:
    shape = small_shape(context_length=512, num_layers=48)
    settings = PPOConfig(batch_size=4, num_mini_batches=2, max_new_tokens=510, lora=ADAPTER)
    few, many = (estimate(replace(settings, sampling_batch_size=rows), shape).sampling for rows in (1, 3))
    # Keys and values in bfloat16 of 48 layers; what else grows is one layer's attention and the logits.
    assert many - few == pytest.approx(2 * 2 * 2 * 48 * 512 * shape.hidden_size, rel=0.1)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_estimate_memory_grows_with_the_rows_of_a_pass(kind: type[LoopParameters], device: str) -> None:
    shape = small_shape()
    sizes = [estimate(kind(batch_size=batch), shape, device).activations for batch in (16, 32, 64)]
    assert sizes[0] < sizes[1] < sizes[2]
    bounded = estimate(kind(batch_size=64, micro_batch_size=4), shape, device).activations
    assert bounded < sizes[2]
    longer = estimate(kind(batch_size=64), replace(shape, context_length=96), device).activations
    assert longer > sizes[2]
    recomputed = estimate(kind(batch_size=64, activation_checkpointing=True), shape, device).activations
    assert recomputed <= sizes[2]


@pytest.mark.parametrize("kind", CLASSES)
def test_estimate_memory_halves_with_weights_shared_by_two_devices(kind: type[LoopParameters]) -> None:
    shape = small_shape(num_layers=16, hidden_size=64)
    one, two = (
        estimate(kind(batch_size=16, micro_batch_size=1, sharding="full"), shape, processes=count)
        for count in (1, 2)
    )
    assert two.optimizer == pytest.approx(one.optimizer / 2, rel=0.02)
    assert two.weights == pytest.approx(one.weights / 2, rel=0.02)
    assert two.total < one.total


def test_estimate_memory_of_muon_has_one_moment() -> None:
    adam = estimate(PretrainParameters(batch_size=2), reads_model=False)
    parameters = PretrainParameters(batch_size=2, optimizer=OptimizerParameters(muon_learning_rate=0.02))
    matrices = sum(
        shape[0] * shape[1]
        for name, shape in WIDE.weight_shapes().items()
        if ".layers." in name and len(shape) == 2
    )
    muon = estimate(parameters, reads_model=False)
    assert adam.optimizer - muon.optimizer == pytest.approx(4 * matrices, rel=0.001)


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_estimate_memory_of_8_bit_moments_takes_6_bytes_less_a_weight(sharding: str) -> None:
    whole, short = (
        estimate(
            SFTParameters(batch_size=2, sharding=sharding, optimizer=OptimizerParameters(adamw_bits=bits))
        )
        for bits in (32, 8)
    )
    assert whole.optimizer - short.optimizer == pytest.approx(6 * WIDE.num_parameters, rel=0.02)
    assert whole.total - short.total == whole.optimizer - short.optimizer


def test_estimate_memory_of_float32_has_no_second_copy() -> None:
    found = estimate(SFTParameters(batch_size=2), dtype=torch.float32)
    assert found.weights == pytest.approx(4 * WIDE.num_parameters, rel=0.01)
    assert found.optimizer == pytest.approx(8 * WIDE.num_parameters, rel=0.01)


def test_estimate_memory_of_cpu_adds_the_holes_of_the_heap() -> None:
    assert 1 < HEAP_SHARE < 2
    parameters = RewardParameters(batch_size=4, micro_batch_size=1)
    found = estimate(parameters, device="cpu")
    assert found.least < found.total
    assert found.least >= PROCESS_BYTES + found.weights + found.optimizer


@pytest.mark.parametrize("kind", CLASSES)
def test_estimate_memory_allocates_no_weights(kind: type[LoopParameters]) -> None:
    # 140 billion weights.
    huge = ModelConfig(
        num_layers=3, hidden_size=65_536, num_heads=64, context_length=64, vocab_size=128_256
    )  # fmt: skip
    lora = {} if kind is PretrainParameters else {"lora": LoRAParameters(rank=8)}
    found = estimate(kind(batch_size=4, **lora), huge)
    assert found.total > 2 * huge.num_parameters
