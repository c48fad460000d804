"""The plan of a run that starts from an open model is lowered until its trainings fit the memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import Preset, load_preset
from flows.orchestration.base_proposal import fit_memory, least_memory, propose_base_plan
from flows.orchestration.memory_check import MemoryCheck
from flows.orchestration.open_base import find_open_base
from model.data.hf_checkpoint import save_model
from model.data.tokenizer import train_tokenizer
from model.errors import UserError
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.available_memory import DeviceMemory
from model.training.lora_config import QUANTIZATIONS, LoRAParameters
from tasks.onboarding.base_sizing import BasePlan, plan_base_run
from tasks.onboarding.model_sizing import Amount
from tests.model.conftest import small_shape
from tests.tasks.event_sink import ignore_event

AMOUNT = Amount(
    300, 400_000, 20_000, pairs=4000, prompts=3800, prompt=15, completion=15, answer=12.0,
    rated={"tone/film": 500}, compared={"helpfulness/chat": 600}, scores=(1.0, 5.0),
)  # fmt: skip
THERE = DeviceMemory(10**12, 10**12)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BasePlan:
    """Return a plan for a small open model in the project's folder, which is entered."""
    monkeypatch.chdir(tmp_path)
    tokenizer = train_tokenizer([f"a text of {number} words" for number in range(200)], 300)
    save_model(Transformer(small_shape()).init_weights(0), tokenizer, tmp_path / "base")
    return plan_base_run(AMOUNT, small_shape(open_model=True), 50_000.0, 60)


def preset_of(plan: BasePlan) -> Preset:
    return load_preset(
        {
            "name": "mine", "base_model": "base", "lora": {"rank": plan.lora.rank},
            "data": {"sources": [{"name": "tales", "files": "*.txt"}]}, **plan.sections,
        }
    )  # fmt: skip


def needed(plan: BasePlan) -> dict[str, int]:
    return {
        stage.section: stage.needed for stage in MemoryCheck(preset_of(plan), Path(), "cpu", THERE).stages
    }


def test_fit_memory_with_enough_changes_nothing(plan: BasePlan) -> None:
    assert fit_memory(plan, lambda: preset_of(plan), Path(), "cpu", THERE) == []
    assert plan.sections["sft"]["micro_batch_size"] == 0


def test_fit_memory_lowers_the_trainings_that_are_too_large(plan: BasePlan) -> None:
    before = needed(plan)
    largest = max(before, key=lambda name: before[name])
    limit = before[largest] - 1
    assert fit_memory(plan, lambda: preset_of(plan), Path(), "cpu", DeviceMemory(10**12, limit)) == []
    after = needed(plan)
    assert after[largest] < before[largest] and max(after.values()) <= limit


def test_fit_memory_of_far_too_little_ends_at_the_smallest_passes(plan: BasePlan) -> None:
    found = fit_memory(plan, lambda: preset_of(plan), Path(), "cpu", DeviceMemory(10**12, 1))
    assert {"pretrain", "sft", "reward", "rlhf"} <= set(found)
    assert all(plan.sections[name]["activation_checkpointing"] for name in ("pretrain", "sft", "rlhf"))


@pytest.mark.parametrize("total", [10**6, 2 * 10**8])
def test_propose_base_plan_model_larger_than_the_memory_is_refused_untimed(
    plan: BasePlan, total: int
) -> None:
    base = find_open_base("base", Path.cwd(), ignore_event)

    def measure(shape: ModelConfig, batch: int, lora: LoRAParameters) -> float:
        raise AssertionError("a model that does not fit was timed")

    with pytest.raises(UserError, match=r"--base base: the model has .* weights; .* choose a smaller model"):
        propose_base_plan(base, AMOUNT, "cpu", 60, measure, DeviceMemory(total, total))
    found = propose_base_plan(base, AMOUNT, "cpu", 60, lambda shape, batch, lora: 5000.0, THERE)
    assert found.tokens_per_second == 5000.0 and found.architecture.open_model


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_propose_base_plan_keeps_weights_in_4_bits_where_16_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shape = small_shape(hidden_size=256, num_layers=4)
    tokenizer = train_tokenizer([f"a text of {number} words" for number in range(200)], 300)
    save_model(Transformer(shape).init_weights(0), tokenizer, tmp_path / "base")
    base = find_open_base("base", tmp_path, ignore_event)
    timed: list[str] = []

    def propose(total: int) -> BasePlan:
        def measure(shape: ModelConfig, batch: int, lora: LoRAParameters) -> float:
            timed.append(lora.quantize)
            return 5000.0

        return propose_base_plan(base, AMOUNT, device, 60, measure, DeviceMemory(total, total))

    trained = propose(10**12).architecture
    whole, quantized = (least_memory(trained, quantize, device) for quantize in QUANTIZATIONS)
    assert quantized < whole
    for total, expected in ((whole, "none"), (whole - 1, "nf4"), (quantized, "nf4")):
        assert propose(total).lora.quantize == timed[-1] == expected
    with pytest.raises(UserError, match="with these weights in 4 bits"):
        propose(quantized - 1)
