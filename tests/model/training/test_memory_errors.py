"""A lack of memory reaches the user as one sentence with the keys to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model.errors import UserError
from model.training import dpo, ppo, pretrain, reward, sft
from model.training.launcher import launch_training
from model.training.memory_errors import describe_lack_of_memory
from tests.model.conftest import Language
from tests.model.training.test_training_tasks import pretraining

ON_GPU = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 1.2 GiB is free."
)


@pytest.mark.parametrize(
    ("function", "section"),
    [
        (pretrain.train_base, "pretrain"), (sft.train_sft, "sft"), (reward.train_reward, "reward"),
        (ppo.train_ppo, "rlhf"), (dpo.train_dpo, "rlhf.dpo"),
    ],
)  # fmt: skip
def test_describe_lack_of_memory_names_the_keys_of_the_stage(function: Any, section: str) -> None:
    settings = {"micro_batch_size": 32, "batch_size": 64}
    job = {
        "function": f"{function.__module__}:{function.__qualname__}",
        "arguments": {"parameters": settings},
    }
    said = describe_lack_of_memory(ON_GPU, job)
    assert said.startswith(f"{section}: there is too little GPU memory (it asked for 2.50 GiB more)")
    assert f"lower {section}.micro_batch_size (now 32" in said
    assert f"{section}.activation_checkpointing: true" in said and "architecture.context_length" in said
    assert "\n" not in said


def test_describe_lack_of_memory_leaves_out_what_is_done_already() -> None:
    job: dict[str, Any] = {
        "function": "model.training.sft:train_sft",
        "arguments": {"parameters": {"micro_batch_size": 1, "activation_checkpointing": True}},
    }
    said = describe_lack_of_memory(ON_GPU, job)
    assert "micro_batch_size" not in said and "activation" not in said and "context_length" in said
    job["arguments"]["parameters"] = {"micro_batch_size": 0, "batch_size": 16}
    assert "now 0: the whole batch of 16" in describe_lack_of_memory(ON_GPU, job)


def test_describe_lack_of_memory_finds_the_cause_of_another_error() -> None:
    job = {"function": "model.training.throughput:time_steps", "arguments": {}}
    try:
        try:
            torch.empty(1 << 50)
        except RuntimeError as error:
            raise ValueError("a step failed") from error
    except ValueError as error:
        assert "too little memory (it asked for 4,503,599.6 GB more)" in describe_lack_of_memory(error, job)
    assert "too little memory" in describe_lack_of_memory(MemoryError(), job)
    for other in (RuntimeError("shapes differ"), OSError(12, "Cannot allocate"), None):
        assert describe_lack_of_memory(other, job) == ""


def test_launch_training_without_memory_is_a_user_error_with_a_log(
    language: Language, tmp_path: Path
) -> None:
    inputs = pretraining(language, steps=1, batch_size=4, prompts=[])
    # One of its weights takes two petabytes.
    inputs["architecture"] |= {"intermediate_size": 1 << 44}
    log = tmp_path / "log"
    with pytest.raises(UserError, match=r"pretrain: there is too little memory .*pretrain\.micro_batch_size"):
        launch_training(pretrain.train_base, {**inputs, "folder": str(tmp_path / "out")}, log=log)
    assert "Traceback" in log.read_text()
