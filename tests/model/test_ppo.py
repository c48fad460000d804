"""PPO on a reward that is known: it rises, and the price of divergence holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from model.device import World
from model.folder import load_model
from model.loop import Loop
from model.optimizer import OptimizerParameters
from model.ppo import Aligning, PPOParameters
from model.rollouts import Rollouts
from tests.model.conftest import Language

NEW = 10


def share_of_low_ids(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """The reward: the share of a row's last tokens below 150, between -1 and 1."""
    return torch.tensor([2 * sum(t < 150 for t in row[-NEW:]) / NEW - 1 for row in rows])


def recipe(language: Language, folder: Path, **settings: float) -> Aligning:
    path = language.model(folder)
    policy, tokenizer = load_model(path)
    reference, _ = load_model(path)
    chosen = {
        "steps": 25, "batch": 32, "new_tokens": NEW, "missing_end": 0.0, "kl_target": 0.0,
        "kl_coefficient": 0.0,
        "optimizer": OptimizerParameters(learning_rate=2e-3, warmup=0.0, decay=0.0), **settings,
    }  # fmt: skip
    prompts = [tokenizer.prompt(text) for text in ("the film", "the story", "this camera", "a")] * 8
    return Aligning(
        PPOParameters(**chosen), policy, reference, tokenizer, share_of_low_ids, prompts, prompts[:4], 3,
        World(),
    )  # fmt: skip


def rewards_of(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    return [line["reward"] for line in lines if "reward" in line]


def test_a_known_reward_rises(language: Language, tmp_path: Path) -> None:
    made = recipe(language, tmp_path / "model")
    Loop(made, made.parameters, tmp_path, 3, lambda event: None).run()
    rewards = rewards_of(tmp_path)
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.4


def test_the_price_of_divergence_holds_the_policy(language: Language, tmp_path: Path) -> None:
    kl = {}
    for price in (0.0, 5.0):
        made = recipe(language, tmp_path / f"model{price}", kl_coefficient=price)
        Loop(made, made.parameters, tmp_path / str(price), 3, lambda event: None).run()
        kl[price] = made.evaluate()["valid_kl"]
    assert kl[5.0] < 0.5 * kl[0.0]


def test_the_coefficient_follows_the_target(language: Language, tmp_path: Path) -> None:
    made = recipe(language, tmp_path, kl_target=6.0, kl_coefficient=0.15, kl_horizon=100.0)
    made._adapt(60.0)
    assert made.kl_coefficient == pytest.approx(0.15 * (1 + 0.2 * 32 / 100))
    made._adapt(0.0)
    assert made.kl_coefficient == pytest.approx(0.15 * (1 + 0.2 * 0.32) * (1 - 0.2 * 0.32))


def test_before_the_first_step_nothing_diverges_and_values_are_zero(
    language: Language, tmp_path: Path
) -> None:
    made = recipe(language, tmp_path)
    rollouts = made.roll_out(made.prompts[:8], (0, 1))
    assert rollouts.divergence().abs().max() == 0
    assert rollouts.values.abs().max() == 0
    advantages = torch.zeros_like(rollouts.mask)
    figures = made._learn(rollouts, advantages, advantages, rollouts.values, torch.arange(8))
    assert figures["ratio_off"] < 0.02


def test_rollouts_depend_on_their_place_alone(language: Language, tmp_path: Path) -> None:
    made = recipe(language, tmp_path)
    one, same, other = (made.roll_out(made.prompts[:8], (step, 1)) for step in (4, 4, 5))
    assert torch.equal(one.completions, same.completions)
    assert not torch.equal(one.completions, other.completions)


def test_the_score_stands_at_the_end_less_what_is_missing(language: Language, tmp_path: Path) -> None:
    made = recipe(language, tmp_path, missing_end=1.0, kl_coefficient=0.5, length_weight=2.0)
    made.reference_length = 4.0
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    rollouts = Rollouts(
        tokens=torch.zeros(2, 8), positions=torch.zeros(2, 4), completions=torch.zeros(2, 4), mask=mask,
        logprobs=torch.full((2, 4), -1.0), reference=torch.full((2, 4), -1.5), values=torch.zeros(2, 4),
        scores=torch.tensor([0.7, 0.3]), ended=torch.tensor([0.0, 1.0]),
    )  # fmt: skip
    rewards = made.rewards(rollouts)
    expected = [[-0.25, -0.25, -0.25, -0.25 + 0.7 - 1.0], [-0.25, -0.25 + 0.3 - 2.0 * 0.5, 0, 0]]
    torch.testing.assert_close(rewards, torch.tensor(expected))


@pytest.mark.parametrize(
    ("key", "value"),
    [("temperature", 0.0), ("minibatches", 5), ("clip", -1.0), ("trace", 1.5), ("epochs", 0)],
)
def test_values_out_of_range_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        PPOParameters(**{key: value})
