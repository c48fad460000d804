"""PPO on a known reward: learning, the KL limit, undone steps and the best step."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.hf_checkpoint import load_model
from model.training.optimizer_config import OptimizerParameters
from model.training.ppo import MOST_TRIES, PPOTrainer
from model.training.ppo_config import PPOConfig
from model.training.process_group import ProcessGroup
from model.training.right_answers import mean_completion_loss, read_right_answers
from model.training.rollouts import Rollouts
from model.training.trainer import Trainer
from tests.model.conftest import Language

NEW = 10
RIGHT = [{"prompt": "the film", "completion": f"is {word}"} for word in ("good", "bad", "long", "a story")]


def share_of_low_ids(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the reward: the share of a row's last tokens below 150, scaled to -1 to 1."""
    return torch.tensor([2 * sum(t < 150 for t in row[-NEW:]) / NEW - 1 for row in rows])


def ppo_trainer(language: Language, folder: Path, **settings: float) -> PPOTrainer:
    path = language.model(folder)
    policy, tokenizer = load_model(path)
    reference, _ = load_model(path)
    chosen = {
        "steps": 25, "batch_size": 32, "max_new_tokens": NEW, "missing_eos_penalty": 0.0, "kl_target": 0.0,
        "init_kl_coef": 0.0, "max_loss_increase": 1e6,
        "optimizer": OptimizerParameters(learning_rate=2e-3, warmup_ratio=0.0, decay_ratio=0.0), **settings,
    }  # fmt: skip
    prompts = [tokenizer.encode_prompt(text) for text in ("the film", "the story", "this camera", "a")] * 8
    right = read_right_answers(RIGHT, tokenizer, policy.architecture.context_length)
    return PPOTrainer(
        PPOConfig(**chosen), policy, reference, tokenizer, share_of_low_ids, prompts, prompts[:4], 3,
        ProcessGroup(), right_answers=right,
    )  # fmt: skip


# No step is passed over for its divergence, which differs between kinds of CPUs.
UNBOUNDED = {"max_kl": 1000.0, "max_step_kl": 1.5}


@dataclass(frozen=True)
class FreeTraining:
    """A training of 25 steps without a price or a bound on divergence and loss, and what it wrote."""

    figures: dict[str, Any]
    best: dict[str, Any]
    weights: dict[str, torch.Tensor]
    curves: list[dict[str, Any]]

    @property
    def evaluations(self) -> dict[int, dict[str, Any]]:
        """Return the line of each evaluated step."""
        return {line["step"]: line for line in self.curves if "valid_score" in line}


@pytest.fixture(scope="module")
def free_training(language: Language, tmp_path_factory: pytest.TempPathFactory) -> FreeTraining:
    """Train once for all tests that compare with such a training."""
    folder = tmp_path_factory.mktemp("free")
    made = ppo_trainer(language, folder / "model", eval_every=5, **UNBOUNDED)
    figures = Trainer(made, made.parameters, folder, 3, lambda event: None).run_training()
    best = made.take_best()
    # The metrics were kept with the weights: to measure again gives the same.
    assert made.evaluate_policy().items() <= best.items()
    weights = {name: value.clone() for name, value in made.learner.master_state().items()}
    lines = (folder / "curves.jsonl").read_text().splitlines()
    return FreeTraining(figures, best, weights, [json.loads(line) for line in lines])


def test_ppo_trainer_known_reward_rises(free_training: FreeTraining) -> None:
    rewards = [line["reward"] for line in free_training.curves if "reward" in line]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.4


def test_ppo_trainer_kl_price_limits_divergence(
    language: Language, tmp_path: Path, free_training: FreeTraining
) -> None:
    made = ppo_trainer(language, tmp_path / "model", init_kl_coef=5.0)
    Trainer(made, made.parameters, tmp_path, 3, lambda event: None).run_training()
    assert made.evaluate_model()["valid_kl"] < 0.5 * free_training.evaluations[25]["valid_kl"]


def test_adapt_kl_coefficient_follows_target(language: Language, tmp_path: Path) -> None:
    made = ppo_trainer(language, tmp_path, kl_target=6.0, init_kl_coef=0.15, kl_horizon=100.0)
    made._adapt_kl_coefficient(60.0)
    assert made.kl_coefficient == pytest.approx(0.15 * (1 + 0.2 * 32 / 100))
    made._adapt_kl_coefficient(0.0)
    assert made.kl_coefficient == pytest.approx(0.15 * (1 + 0.2 * 0.32) * (1 - 0.2 * 0.32))


def test_ppo_trainer_before_first_step_has_no_divergence(language: Language, tmp_path: Path) -> None:
    made = ppo_trainer(language, tmp_path)
    rollouts = made.roll_out(made.prompts[:8], (0, 1))
    assert rollouts.token_kl().abs().max() == 0
    assert rollouts.values.abs().max() == 0
    advantages = torch.zeros_like(rollouts.mask)
    figures = made._train_minibatch(rollouts, advantages, advantages, rollouts.values, torch.arange(8))
    assert figures["ratio_off"] < 0.02


def test_roll_out_depends_only_on_step_and_seed(language: Language, tmp_path: Path) -> None:
    made = ppo_trainer(language, tmp_path)
    one, same, other = (made.roll_out(made.prompts[:8], (step, 1)) for step in (4, 4, 5))
    assert torch.equal(one.completions, same.completions)
    assert not torch.equal(one.completions, other.completions)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_roll_out_in_small_batches_gives_same_answers(language: Language, tmp_path: Path, size: int) -> None:
    whole, parts = (
        ppo_trainer(language, tmp_path / str(n), sampling_batch_size=n).roll_out(prompts_of(language), (0, 1))
        for n in (0, size)
    )
    assert torch.equal(whole.tokens, parts.tokens) and torch.equal(whole.mask, parts.mask)
    torch.testing.assert_close(whole.logprobs, parts.logprobs, atol=0.05, rtol=0)


def prompts_of(language: Language) -> list[list[int]]:
    texts = ("the film", "a story", "the", "this camera", "it")
    return [language.tokenizer.encode_prompt(text) for text in texts]


def test_token_rewards_put_score_less_penalties_at_end(language: Language, tmp_path: Path) -> None:
    made = ppo_trainer(
        language, tmp_path, missing_eos_penalty=1.0, init_kl_coef=0.5, short_answer_penalty=2.0
    )
    made.reference_length = 4.0
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    rollouts = Rollouts(
        tokens=torch.zeros(2, 8), positions=torch.zeros(2, 4), completions=torch.zeros(2, 4), mask=mask,
        logprobs=torch.full((2, 4), -1.0), reference=torch.full((2, 4), -1.5), values=torch.zeros(2, 4),
        scores=torch.tensor([0.7, 0.3]), ended=torch.tensor([0.0, 1.0]),
    )  # fmt: skip
    rewards = made.token_rewards(rollouts)
    expected = [[-0.25, -0.25, -0.25, -0.25 + 0.7 - 1.0], [-0.25, -0.25 + 0.3 - 2.0 * 0.5, 0, 0]]
    torch.testing.assert_close(rewards, torch.tensor(expected))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", 0.0),
        ("num_mini_batches", 5),
        ("clip_range", -1.0),
        ("gae_lambda", 1.5),
        ("ppo_epochs", 0),
    ],
)
def test_ppo_config_out_of_range_is_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        PPOConfig(**{key: value})


def test_optimizer_step_too_far_is_undone_in_every_bit(language: Language, tmp_path: Path) -> None:
    rates = OptimizerParameters(learning_rate=0.05, warmup_ratio=0.0, decay_ratio=0.0)
    made = ppo_trainer(language, tmp_path, optimizer=rates, max_kl=4.0, max_step_kl=0.5)
    said: list[str] = []
    made.on_event = lambda event: said.append(event.text)
    before = copy.deepcopy(made.learner.state_dict())
    made.limit.max_step_kl = 1e-9
    figures = made.optimizer_step(0)
    assert figures["undone"] == MOST_TRIES and figures["step_kl"] > 0
    after = made.learner.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(before["masters"], after["masters"], strict=True))
    assert not any(count.item() for count in after["adam"]["steps"])
    assert made.limit.rate == 0.5**MOST_TRIES and "it is left out" in said[0]


def test_optimizer_step_too_far_is_repeated_at_lower_rate(language: Language, tmp_path: Path) -> None:
    rates = OptimizerParameters(learning_rate=0.05, warmup_ratio=0.0, decay_ratio=0.0)
    made = ppo_trainer(language, tmp_path, optimizer=rates, max_kl=4.0, max_step_kl=0.5)
    said: list[str] = []
    made.on_event = lambda event: said.append(event.text)
    figures = made.optimizer_step(0)
    assert figures["undone"] >= 1 and figures["step_kl"] <= 0.5, "the step in the end is within its bound"
    assert "step 1 was undone" in said[0] and f"{made.limit.rate:.3g} of what it was" in said[0]
    assert figures["learning_rate"] == 0.05 * made.limit.rate
    for step in range(1, 8):
        assert made.optimizer_step(step)["step_kl"] <= 0.5
    # An estimate from a few sampled answers may be a little below 0.
    assert -0.5 < made.evaluate_policy()["valid_kl"] < 6


def test_optimizer_step_undone_restores_moments(language: Language, tmp_path: Path) -> None:
    made = ppo_trainer(language, tmp_path, max_kl=4.0, max_step_kl=1.0)
    made.optimizer_step(0)
    before = copy.deepcopy(made.learner.state_dict()["adam"])
    made.limit.max_step_kl = 1e-9
    assert made.optimizer_step(1)["undone"] == MOST_TRIES
    after = made.learner.state_dict()["adam"]
    for name, moments in before.items():
        assert moments and all(torch.equal(*pair) for pair in zip(moments, after[name], strict=True))


def test_take_best_returns_best_evaluated_step(free_training: FreeTraining) -> None:
    found = free_training.best
    scores = {step: line["valid_score"] for step, line in free_training.evaluations.items()}
    assert found["best_step"] == max(scores, key=lambda step: (scores[step], -step)) > 0
    assert found["valid_score"] == pytest.approx(max(scores.values()))
    assert found["valid_gain"] == pytest.approx(max(scores.values()) - scores[0])
    assert free_training.figures["steps"] == 25


@pytest.mark.parametrize("share", [1.0, 0.0, 0.5])
def test_take_best_skips_steps_that_lost_right_answers(
    language: Language, tmp_path: Path, free_training: FreeTraining, share: float
) -> None:
    """The bound lies between the increases of the steps, so that some steps exceed it."""
    found = free_training.evaluations
    first = found[0]["valid_completion_loss"]
    increases = {step: line["valid_completion_loss"] / first - 1 for step, line in found.items()}
    assert increases[0] == 0 and max(increases.values()) > 0, "a reward of low ids costs right answers"
    bound = share * max(increases.values()) + 1e-9
    held = ppo_trainer(language, tmp_path / "model", eval_every=5, max_loss_increase=bound, **UNBOUNDED)
    said: list[str] = []
    held.on_event = lambda event: said.append(event.text)
    Trainer(held, held.parameters, tmp_path / "held", 3, lambda event: None).run_training()
    allowed = [step for step, increase in increases.items() if increase <= bound]
    wanted = max(allowed, key=lambda step: (found[step]["valid_score"], -step))
    chosen = held.take_best()
    assert chosen["best_step"] == wanted and chosen["valid_loss_increase"] <= bound + 1e-6
    assert any("skipped" in text for text in said) == bool(held.best.passed_over)
    if share == 1.0:
        # No step exceeds the bound, so the result has the same bits.
        assert free_training.best["best_step"] == wanted
        one, other = free_training.weights, held.learner.master_state()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_mean_completion_loss_weighs_tokens(language: Language, tmp_path: Path) -> None:
    made = ppo_trainer(language, tmp_path)
    alone = [
        mean_completion_loss(made.policy.body, [e], made.tokenizer.end, ProcessGroup())
        for e in made.right_answers
    ]
    tokens = [len(example.completion) for example in made.right_answers]
    whole = sum(loss * count for loss, count in zip(alone, tokens, strict=True)) / sum(tokens)
    assert made.evaluate_policy()["valid_completion_loss"] == pytest.approx(whole, rel=1e-3)
    assert math.isnan(mean_completion_loss(made.policy.body, [], made.tokenizer.end, ProcessGroup()))
    long = [{"prompt": "a " * 200, "completion": "good"}, *RIGHT]
    assert len(read_right_answers(long, made.tokenizer, 32)) == len(RIGHT)


def test_take_best_without_improvement_returns_sft_weights(language: Language, tmp_path: Path) -> None:
    made = ppo_trainer(language, tmp_path / "model", eval_every=5, steps=10)
    calls = count()
    # Falls with each call, so no step is better than SFT.
    made.collector.score = lambda rows: torch.full((len(rows),), -float(next(calls)))
    said: list[str] = []
    made.on_event = lambda event: said.append(event.text)
    Trainer(made, made.parameters, tmp_path, 3, lambda event: None).run_training()
    found = made.take_best()
    assert found["best_step"] == 0 and found["valid_kl"] == 0 and found["valid_gain"] <= 0
    assert "the SFT model's own weights" in said[-1]
    start = load_model(tmp_path / "model")[0].state_dict()
    for name, value in made.learner.master_state().items():
        if name.startswith("body."):
            assert torch.equal(value, start[name.removeprefix("body.")])


def test_take_best_without_held_out_prompts_keeps_last_step(language: Language, tmp_path: Path) -> None:
    made = ppo_trainer(language, tmp_path / "model", steps=3)
    made.held_out = []
    said: list[str] = []
    made.on_event = lambda event: said.append(event.text)
    Trainer(made, made.parameters, tmp_path, 3, lambda event: None).run_training()
    assert made.take_best()["best_step"] == 3 and "no held-out prompts" in said[-1]


@pytest.mark.parametrize(("off", "says"), [(0.0, 0), (0.0005, 0), (0.2, 1)])
def test_check_first_ratio_beyond_rounding_is_reported_once(
    language: Language, tmp_path: Path, off: float, says: int
) -> None:
    made = ppo_trainer(language, tmp_path)
    said: list[str] = []
    made.on_event = lambda event: said.append(event.text)
    for _ in range(3):
        made._check_first_ratio(off)
    assert len(said) == says and made.ratio_off == off


def test_check_first_ratio_far_off_is_refused(language: Language, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="do not compute the same probabilities"):
        ppo_trainer(language, tmp_path)._check_first_ratio(0.7)
