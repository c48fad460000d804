"""Test the numbers for a preset that starts from an open model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model.evaluation.evaluate_config import EvaluateParameters
from model.nn.model_config import ModelConfig
from model.training.dpo_config import DPOConfig
from model.training.lora_config import LoRAParameters
from model.training.ppo_config import PPOConfig
from model.training.pretrain_config import PretrainParameters
from model.training.reward_config import RewardParameters
from model.training.sft_config import SFTParameters
from tasks.onboarding.base_sizing import (
    FEWEST_STEPS,
    MOST_RATE,
    base_adapter,
    base_context,
    lower_memory,
    plan_base_run,
)
from tasks.onboarding.model_sizing import LEAST_ANSWERS, Amount

SHAPE = ModelConfig(
    vocab_size=49_152, num_layers=30, hidden_size=576, num_heads=9, num_kv_heads=3, context_length=128,
    open_model=True,
)  # fmt: skip
ALL = Amount(
    49_152, 400_000, 20_000, pairs=2000, prompts=1800, prompt=40, completion=60, answer=30.0,
    rated={"tone/film": 500}, compared={"helpfulness/chat": 600}, scores=(1.0, 5.0),
)  # fmt: skip
PAIRS = replace(ALL, text_tokens=0, valid_tokens=1, compared={})
FEW = Amount(
    300, 900, 100, pairs=12, prompts=12, prompt=10, completion=12, answer=8.0, compared={"tone/chat": 6}
)
TEXT = Amount(49_152, 90_000, 6000)


def read_section(name: str, section: dict[str, Any], rank: int) -> None:
    """Make the parameters of a stage, which checks them."""
    values = {key: value for key, value in section.items() if key != "learning_rate"}
    lora = LoRAParameters(rank=rank)
    if values.pop("method", "") == "dpo":
        DPOConfig(**values["dpo"], lora=lora)
    elif name == "pretrain":
        PretrainParameters(**values)
    elif name == "evaluate":
        EvaluateParameters(**values)
    else:
        {"sft": SFTParameters, "reward": RewardParameters, "rlhf": PPOConfig}[name](**values, lora=lora)


@pytest.mark.parametrize("amount", [ALL, PAIRS, FEW, TEXT])
@pytest.mark.parametrize(("pace", "minutes"), [(20.0, 10), (400.0, 30), (90_000.0, 600)])
def test_plan_base_run_sections_are_accepted_by_stages(amount: Amount, pace: float, minutes: float) -> None:
    plan = plan_base_run(amount, SHAPE, pace, minutes)
    for name, section in plan.sections.items():
        read_section(name, section, plan.lora.rank)
    assert ("sft" in plan.sections) is bool(amount.pairs)
    assert plan.continues is (amount.text_tokens > 10_000)
    assert bool(plan.why_no_text) is not plan.continues


@pytest.mark.parametrize(("pace", "minutes"), [(400.0, 60), (3000.0, 20), (90_000.0, 600)])
@pytest.mark.parametrize("amount", [ALL, PAIRS, TEXT])
def test_plan_base_run_keeps_the_time(amount: Amount, pace: float, minutes: float) -> None:
    assert plan_base_run(amount, SHAPE, pace, minutes).minutes <= minutes


def test_plan_base_run_a_larger_model_takes_longer() -> None:
    small, large = (plan_base_run(ALL, SHAPE, pace, 60) for pace in (4000.0, 40.0))
    assert small.sections["sft"]["steps"] * small.sections["sft"]["batch_size"] > 4 * (
        large.sections["sft"]["steps"] * large.sections["sft"]["batch_size"]
    )
    # The shortest plan of a model that is too slow says more than was asked for.
    assert plan_base_run(ALL, SHAPE, 2.0, 10).minutes > 10


def test_plan_base_run_little_time_aligns_by_comparisons_if_there_are_some() -> None:
    slow = plan_base_run(ALL, SHAPE, 60.0, 15)
    assert slow.sections["rlhf"]["method"] == "dpo" and slow.why_method.startswith("DPO")
    fast = plan_base_run(ALL, SHAPE, 3000.0, 60)
    answers = fast.sections["rlhf"]["steps"] * fast.sections["rlhf"]["batch_size"]
    assert answers >= FEWEST_STEPS * LEAST_ANSWERS and fast.why_method.startswith("PPO")
    # Ratings of single answers hold no pairs for DPO.
    assert "method" not in plan_base_run(PAIRS, SHAPE, 60.0, 15).sections["rlhf"]


def test_plan_base_run_batches_leave_several_steps_of_the_data() -> None:
    plan = plan_base_run(FEW, SHAPE, 90_000.0, 60)
    assert plan.sections["sft"]["batch_size"] == 1
    assert plan.sections["reward"]["batch_size"] == 1 and plan.sections["reward"]["group_size"] == 2
    assert "judge" not in plan.seconds
    much = plan_base_run(ALL, SHAPE, 90_000.0, 60)
    assert much.sections["sft"]["batch_size"] > 4 and much.seconds["judge"] == much.seconds["reward"]


def test_plan_base_run_rate_of_a_model_that_answers_is_bounded() -> None:
    assert "learning_rate" not in plan_base_run(ALL, SHAPE, 400.0, 60).sections["sft"]
    assert plan_base_run(ALL, SHAPE, 400.0, 60, answers=True).sections["sft"]["learning_rate"] == MOST_RATE
    wide = replace(SHAPE, hidden_size=4608)
    assert "learning_rate" not in plan_base_run(ALL, wide, 400.0, 60, answers=True).sections["sft"]


@pytest.mark.parametrize(
    ("amount", "longest", "device", "context"),
    [
        (ALL, 8192, "cpu", 128),
        (ALL, 96, "cpu", 96),
        (replace(ALL, prompt=300, completion=400), 8192, "cpu", 1024),
        (PAIRS, 8192, "cuda", 128),
        (replace(PAIRS, prompt=9, completion=9), 8192, "cpu", 64),
        (TEXT, 8192, "cuda", 1024),
        (replace(TEXT, text_tokens=3000), 8192, "cuda", 64),
    ],
)
def test_base_context_holds_the_rows_of_the_data(
    amount: Amount, longest: int, device: str, context: int
) -> None:
    assert base_context(amount, longest, device) == context


@pytest.mark.parametrize(("width", "rank"), [(4, 1), (32, 8), (64, 16), (4096, 16)])
def test_base_adapter_rank_is_small_beside_the_width(width: int, rank: int) -> None:
    assert base_adapter(width).rank == rank


def test_lower_memory_halves_until_nothing_is_left() -> None:
    sections = plan_base_run(ALL, SHAPE, 3000.0, 60).sections
    batch, minibatches = sections["rlhf"]["batch_size"], sections["rlhf"]["num_mini_batches"]
    assert lower_memory(sections, "rlhf")
    assert sections["rlhf"]["micro_batch_size"] == batch // minibatches // 2
    assert sections["rlhf"]["sampling_batch_size"] == batch // 2
    for name in ("pretrain", "sft", "reward", "rlhf"):
        assert sum(lower_memory(sections, name) for _ in range(20)) < 20
        assert sections[name]["micro_batch_size"] <= 1 and sections[name]["activation_checkpointing"] is True
    by_labels = plan_base_run(ALL, SHAPE, 60.0, 15).sections
    assert lower_memory(by_labels, "rlhf.dpo") and not lower_memory(by_labels, "evaluate")
