"""Direct preference optimization: it learns the order of answers, and keeps what SFT had."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.hf_checkpoint import load_model
from model.errors import UserError
from model.events import Event
from model.training.dpo import train_dpo
from model.training.dpo_config import DPOConfig
from tests.model.conftest import DEVICE, Language, small_shape, write_rows


@pytest.fixture(scope="module")
def policy(language: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language.model(tmp_path_factory.mktemp("policy") / "model")


def align(
    language: Language, policy: Path, folder: Path, labels: Path | None = None, **settings: Any
) -> tuple[dict[str, float], str]:
    said: list[Event] = []
    parameters = asdict(DPOConfig(**{"steps": 25, "batch_size": 8, "max_loss_increase": 9.0, **settings}))
    parameters["optimizer"]["learning_rate"] = 3e-3
    metrics = train_dpo(
        parameters, str(policy), str(labels or language.labels), str(language.split), str(folder), 3, DEVICE,
        said.append,
    )  # fmt: skip
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
