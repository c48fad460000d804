"""Direct preference optimization: it learns the order of answers, and keeps what SFT had."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.answer_pairs import read_answer_pairs
from model.data.dataloader import read_rows
from model.data.hf_checkpoint import load_model
from model.errors import UserError
from model.events import Event
from model.inference.scoring import completion_logprobs
from model.training.dpo import train_dpo
from model.training.dpo_config import DPOConfig
from model.training.reference_margins import read_margins
from tests.model.conftest import DEVICE, Language, measured_reference, small_shape, write_rows


@pytest.fixture(scope="module")
def policy(language: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language.model(tmp_path_factory.mktemp("policy") / "model")


def align(
    language: Language, policy: Path, folder: Path, labels: Path | None = None, **settings: Any
) -> tuple[dict[str, float], str]:
    said: list[Event] = []
    chosen = DPOConfig(**{"steps": 25, "batch_size": 8, "max_loss_increase": 9.0, **settings})
    labels = labels or language.labels
    reference = measured_reference(policy, labels, folder.with_name("reference"), chosen)
    parameters = asdict(chosen)
    parameters["optimizer"]["learning_rate"] = 3e-3
    inputs = (str(path) for path in (policy, labels, reference, language.split))
    metrics = train_dpo(parameters, *inputs, folder=str(folder), seed=3, device=DEVICE, on_event=said.append)
    return metrics, " ".join(getattr(event, "text", "") for event in said)


@pytest.mark.parametrize(
    "settings", [{}, {"loss": "ipo"}, {"label_smoothing": 0.2}, {"beta": 0.5}, {"micro_batch_size": 2}]
)
def test_train_dpo_learns_order_of_answers(
    language: Language, policy: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    metrics, _ = align(language, policy, tmp_path, **settings)
    curve = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    first = next(point for point in curve if "valid_loss" in point)
    # Before the first step the policy is its own reference.
    assert first["valid_margin"] == 0 and first["valid_accuracy"] == 0.5
    assert metrics["valid_accuracy"] > 0.9 and metrics["valid_loss"] < first["valid_loss"]
    assert metrics["best_step"] > 0 and metrics["valid_pairs"] > 20
    assert load_model(tmp_path / "model")[0].architecture == small_shape()


def test_train_dpo_step_that_loses_right_answers_is_no_result(
    language: Language, policy: Path, tmp_path: Path
) -> None:
    metrics, said = align(language, policy, tmp_path, max_loss_increase=0.0)
    before, after = load_model(policy)[0].state_dict(), load_model(tmp_path / "model")[0].state_dict()
    if metrics["best_step"] == 0:
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert "steps with a lower loss were skipped" in said
    assert metrics["valid_loss_increase"] <= 0


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_train_dpo_doubtful_pairs_move_the_policy_less(
    language: Language, policy: Path, tmp_path: Path, loss: str
) -> None:
    margins = {}
    for probability in (1.0, 0.6):
        labels = tmp_path / f"{probability}" / "labels"
        for split in ("train", "valid"):
            rows = read_rows(language.labels / f"{split}.comparisons.jsonl")
            # A tie has no better answer, so DPO leaves it out.
            tie = {**rows[0], "probability": 0.5}
            compared = [*({**row, "probability": probability} for row in rows), tie]
            write_rows(labels / f"{split}.comparisons.jsonl", compared)
            write_rows(labels / f"{split}.ratings.jsonl", [])
        metrics, _ = align(language, policy, labels.parent / "out", labels, loss=loss)
        margins[probability] = metrics["valid_margin"]
        assert metrics["valid_pairs"] == len(rows)
    assert 0 < margins[0.6] < 0.8 * margins[1.0]


# The loss `ipo` is of squared margins, so its gradients are larger.
@pytest.mark.parametrize(
    ("settings", "weight"), [({}, 0.5), ({"loss": "ipo"}, 20.0), ({"micro_batch_size": 2}, 0.5)]
)
def test_train_dpo_loss_on_chosen_answers_keeps_them_likely(
    language: Language, policy: Path, tmp_path: Path, settings: dict[str, Any], weight: float
) -> None:
    nats = {}
    for coefficient in (0.0, weight):
        out = tmp_path / f"{coefficient}" / "out"
        metrics, _ = align(language, policy, out, chosen_loss_coef=coefficient, **settings)
        assert metrics["valid_accuracy"] > 0.9
        model, tokenizer = load_model(out / "model")
        pairs = read_answer_pairs(language.labels, "valid", tokenizer, 64, 1.0, lambda event: None)
        nats[coefficient] = sum(completion_logprobs(model, [pair.chosen for pair in pairs], tokenizer.end))
    assert nats[weight] > 0.9 * nats[0.0]


def test_dpo_config_takes_no_bound_on_the_loss_increase() -> None:
    assert DPOConfig(max_loss_increase=math.inf).max_loss_increase == math.inf


@pytest.mark.parametrize(("count", "batch"), [(0, 8), (3, 8), (7, 8)])
def test_train_dpo_fewer_pairs_than_batch_are_refused(
    language: Language, policy: Path, tmp_path: Path, count: int, batch: int
) -> None:
    rows = [
        {"prompt": "a", "chosen": f"b{i}", "rejected": "c", "aspect": "x", "source": "y"}
        for i in range(count)
    ]
    for split in ("train", "valid"):
        write_rows(tmp_path / f"{split}.comparisons.jsonl", rows)
        write_rows(tmp_path / f"{split}.ratings.jsonl", [])
    with pytest.raises(UserError, match=f"have {count} pairs of answers .* one batch of {batch}"):
        align(language, policy, tmp_path / "out", tmp_path)


def test_train_dpo_reference_of_other_pairs_is_refused(
    language: Language, policy: Path, tmp_path: Path
) -> None:
    other = [{"prompt": "a", "chosen": "b", "rejected": "c", "aspect": "x", "source": "y"}]
    for split in ("train", "valid"):
        write_rows(tmp_path / f"{split}.comparisons.jsonl", other)
        write_rows(tmp_path / f"{split}.ratings.jsonl", [])
    few = measured_reference(policy, tmp_path, tmp_path / "few", DPOConfig())
    broken, missing = tmp_path / "broken", tmp_path / "missing"
    broken.mkdir()
    (broken / "margins.safetensors").write_bytes(b"{")
    for reference, said in ((few, "has 1 margins .train. for"), (broken, "broken"), (missing, "is missing")):
        inputs = (str(path) for path in (policy, language.labels, reference, language.split))
        with pytest.raises(UserError, match=f"{said}.*recompute the stage reference"):
            train_dpo(
                asdict(DPOConfig()),
                *inputs,
                folder=str(tmp_path / "out"),
                seed=3,
                device=DEVICE,
                on_event=print,
            )


def test_measure_reference_is_the_models_own_margin(language: Language, policy: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(policy)
    context = model.architecture.context_length
    folder = measured_reference(policy, language.labels, tmp_path, DPOConfig())
    for split in ("train", "valid"):
        pairs = read_answer_pairs(language.labels, split, tokenizer, context, 1.0, lambda event: None)
        margins = read_margins(folder, split, pairs)
        sums = [
            completion_logprobs(model, [getattr(pair, side) for pair in pairs], tokenizer.end)
            for side in ("chosen", "rejected")
        ]
        expected = torch.tensor(sums[0], dtype=torch.float64) - torch.tensor(sums[1], dtype=torch.float64)
        assert len(margins) > 20 and torch.allclose(margins, expected, atol=0.2), "bfloat16 rounds"
        assert margins.abs().max() > 0.05


def test_train_dpo_without_held_out_pairs_keeps_last_step(
    language: Language, policy: Path, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "a", "chosen": f"b{i}", "rejected": "c", "aspect": "x", "source": "y"} for i in range(9)
    ]
    write_rows(tmp_path / "train.comparisons.jsonl", rows)
    for name in ("train.ratings", "valid.comparisons", "valid.ratings"):
        write_rows(tmp_path / f"{name}.jsonl", [])
    metrics, said = align(language, policy, tmp_path / "out", tmp_path)
    assert metrics["best_step"] == 25 and "no held-out pairs" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"beta": 0.0}, "beta is 0"),
        ({"beta": math.nan}, "beta is nan"),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"margin": -1.0}, "margin is -1"),
        ({"early_stopping_patience": 2}, "early_stopping_patience is 2"),
        ({"max_loss_increase": math.nan}, "max_loss_increase is nan"),
        ({"chosen_loss_coef": -0.1}, "chosen_loss_coef is -0.1"),
        ({"chosen_loss_coef": math.inf}, "chosen_loss_coef is inf"),
    ],
)
def test_dpo_config_invalid_value_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DPOConfig(**values)


@pytest.mark.parametrize(("pairs", "steps"), [(8, 10), (800, 100), (10**6, 1000)])
def test_with_derived_values_follows_number_of_pairs(pairs: int, steps: int) -> None:
    own = DPOConfig().with_derived_values(small_shape(), pairs)
    assert own.steps == steps and own.eval_every == max(1, steps // 5)
    assert own.optimizer.learning_rate == 3e-4
    wide = DPOConfig().with_derived_values(small_shape(hidden_size=4096, open_model=True), pairs)
    assert wide.optimizer.learning_rate == 2e-6
