"""Derived settings, the KL estimate, the step limit and the best step."""

from __future__ import annotations

import math

import pytest
import torch

from model.training.kl_controller import BestStep, StepLimit, describe_increase, estimate_kl
from model.training.optimizer_config import OptimizerParameters
from model.training.ppo_config import PPOConfig
from model.training.ppo_derivation import derive_learning_rate, derive_steps


@pytest.mark.parametrize(
    ("width", "answers", "rate"), [(128, 64, 8e-4), (768, 64, 3e-5), (2048, 512, 3e-5), (64, 2, 1.4e-4)]
)
def test_derive_learning_rate_equals_known_values(width: int, answers: float, rate: float) -> None:
    assert derive_learning_rate(width, answers) == pytest.approx(rate, rel=0.02)


def test_derive_learning_rate_falls_with_width_and_rises_with_answers() -> None:
    by_width = [derive_learning_rate(width, 64) for width in (96, 192, 384, 576, 1024)]
    by_answers = [derive_learning_rate(256, answers) for answers in (1, 4, 16, 64, 256)]
    assert by_width == sorted(by_width, reverse=True) and by_answers == sorted(by_answers)


@pytest.mark.parametrize(("prompts", "batch", "steps"), [(24, 8, 20), (1000, 64, 63), (10**6, 64, 300)])
def test_derive_steps_follows_prompts(prompts: int, batch: int, steps: int) -> None:
    assert derive_steps(prompts, batch) == steps


@pytest.mark.parametrize(("batch", "prompts"), [(8, 20), (64, 900), (256, 50_000)])
def test_with_derived_values_fills_open_settings(batch: int, prompts: int) -> None:
    found = PPOConfig(batch_size=batch).with_derived_values(96, prompts)
    answers = found.steps * batch
    assert found.kl_horizon < answers, "the price can move within the run"
    assert found.max_kl == 2 * found.kl_target and found.max_step_kl < found.kl_target
    assert 0 < found.optimizer.learning_rate < 1e-3 and 0 < found.eval_every < found.steps
    assert found.with_derived_values(96, prompts) == found


def test_with_derived_values_keeps_given_settings() -> None:
    given = PPOConfig(
        steps=7, eval_every=3, kl_horizon=5.0, max_kl=4.0, max_step_kl=2.0,
        optimizer=OptimizerParameters(learning_rate=0.01),
    )  # fmt: skip
    assert given.with_derived_values(96, 100) == given


@pytest.mark.parametrize(("key", "value"), [("max_kl", -1.0), ("max_step_kl", -0.1), ("steps", -1)])
def test_ppo_config_negative_value_is_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        PPOConfig(**{key: value})


@pytest.mark.parametrize("p", [(0.5, 0.25, 0.125, 0.125), (0.125, 0.125, 0.25, 0.5), (0.7, 0.1, 0.1, 0.1)])
def test_estimate_kl_is_unbiased_under_other_sampler(p: tuple[float, ...]) -> None:
    # One row for each eighth of the sampler's probability, so the mean is the expectation.
    sampler = torch.tensor([0.5, 0.25, 0.125, 0.125])
    tokens = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])
    policy, reference = torch.tensor(p), torch.tensor([0.1, 0.2, 0.3, 0.4])
    exact = (policy * (policy / reference).log()).sum().item()
    found = estimate_kl(
        policy.log()[tokens].unsqueeze(1), reference.log()[tokens].unsqueeze(1),
        (policy / sampler)[tokens].unsqueeze(1), torch.ones(8, 1),
    )  # fmt: skip
    assert found == pytest.approx(exact, abs=1e-6)


def test_estimate_kl_sums_over_answer_and_ignores_padding() -> None:
    logprobs, other = torch.full((2, 3), -1.0), torch.full((2, 3), -1.5)
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    token = math.exp(-0.5) - 1 + 0.5
    assert estimate_kl(logprobs, other, torch.ones(2, 3), mask) == pytest.approx(2 * token)
    assert estimate_kl(logprobs, logprobs, torch.ones(2, 3), mask) == 0


@pytest.mark.parametrize(
    ("before", "after", "moved", "too_far"),
    [
        (0.0, 0.5, 0.5, False),
        (0.0, 9.9, 9.9, True),
        (11.9, 12.1, 0.2, True),
        (14.0, 13.0, 0.2, False),  # it leads back
        (3.0, math.nan, 0.1, True),
        (3.0, 4.0, math.inf, True),
    ],
)
def test_is_too_far_bounds_kl_and_step(before: float, after: float, moved: float, too_far: bool) -> None:
    assert StepLimit(12.0, 1.5).is_too_far(before, after, moved) is too_far


def test_slow_down_halves_rate_each_time() -> None:
    brake = StepLimit(12.0, 1.5)
    for _ in range(3):
        brake.slow_down()
    assert (brake.undone, brake.rate) == (3, 0.125)


def test_best_step_is_highest_score_within_kl_bound() -> None:
    best = BestStep(6.0)
    weight = torch.zeros(2)
    for step, (score, kl) in enumerate([(0.0, 0.0), (0.4, 2.0), (0.9, 6.5), (0.3, 1.0), (math.nan, 1.0)]):
        best.keep_if_best(step, score, kl, {"w": weight})
        weight += 1
    assert (best.step, best.score, best.first) == (1, 0.4, 0.0)
    assert best.weights is not None and best.weights["w"].tolist() == [1.0, 1.0]
    other = BestStep(6.0)
    other.load_state_dict(best.state_dict())
    assert other == best


@pytest.mark.parametrize(
    ("losses", "best", "passed_over"),
    [
        ([2.0, 2.2, 2.25, 2.29], 3, 0),  # all within
        ([2.0, 2.1, 2.4, 9.0], 1, 2),
        ([2.0, 2.31, 2.4, 9.0], 0, 3),
        ([2.0, 3.0, 2.1, 1.0], 3, 1),  # one that came back is a result again
        ([math.nan, math.nan, math.nan, math.nan], 3, 0),  # there are no right answers
    ],
)
def test_best_step_with_higher_completion_loss_is_passed_over(
    losses: list[float], best: int, passed_over: int
) -> None:
    found = BestStep(6.0, 0.15)
    for step, loss in enumerate(losses):
        found.keep_if_best(step, 0.1 * step, 1.0, {"w": torch.full((1,), float(step))}, loss)
    assert (found.step, found.passed_over) == (best, passed_over)
    other = BestStep(6.0, 0.15)
    other.load_state_dict(found.state_dict())
    assert other.state_dict() == found.state_dict() or math.isnan(other.first_loss)


def test_best_step_unbeaten_start_stays_best() -> None:
    best = BestStep(6.0)
    for step, score in enumerate([0.1, 0.1, -0.5]):
        best.keep_if_best(step, score, 1.0 * step, {"w": torch.full((1,), float(step))})
    assert best.step == 0 and best.weights is not None and best.weights["w"].item() == 0


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0% above"), (0.15, "15% above"), (9.5, "950% above"), (39.0, "40 times"), (1e9, "1e+09 times")],
)
def test_describe_increase_large_bounds_are_multiples(share: float, words: str) -> None:
    assert describe_increase(share) == words
