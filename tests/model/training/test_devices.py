"""Too few units, GPUs or memory for a training are refused before it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flows.config import read_preset
from model.errors import UserError
from model.training import pretrain
from model.training.devices import check_memory, check_processes, find_device
from model.training.launcher import launch_training
from tests.model.conftest import Language
from tests.model.training.test_training_tasks import pretraining

SMOKE = Path(__file__).parents[3] / "configs" / "smoke.yaml"


@pytest.mark.parametrize(
    "changes, says",
    [
        (["num_processes=2", "sft.batch_size=1"], "sft.batch_size is 1, and num_processes is 2"),
        (["num_processes=3", "pretrain.batch_size=2"], "pretrain.batch_size is 2, and num_processes is 3"),
        (["num_processes=8"], "reward.batch_size is 4, and num_processes is 8"),
        (
            ["num_processes=4", "rlhf.batch_size=6"],
            "rlhf.batch_size / rlhf.num_mini_batches is 3, and num_processes is 4",
        ),
        (
            ["num_processes=4", "rlhf.num_eval_prompts=3"],
            "rlhf.num_eval_prompts is 3, and num_processes is 4",
        ),
    ],
)
def test_read_preset_batch_below_processes_is_refused(changes: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_preset(SMOKE, changes)


def test_read_preset_batch_equal_to_processes_is_accepted() -> None:
    assert read_preset(SMOKE, ["num_processes=4"]).num_processes == 4
    assert read_preset(SMOKE, ["num_processes=4", "rlhf.num_eval_prompts=0"]).rlhf.num_eval_prompts == 0


def test_train_base_batch_below_processes_is_refused(language: Language, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size is 1, and num_processes is 2"):
        launch_training(
            pretrain.train_base, {**pretraining(language, batch_size=1), "folder": str(tmp_path / "out")},
            processes=2, log=tmp_path / "log",
        )  # fmt: skip


def test_check_processes_beyond_gpus_is_refused() -> None:
    check_processes("cpu", 99)
    count = torch.cuda.device_count()
    with pytest.raises(UserError, match=rf"processes is {count + 1}, and torch sees {count} GPU"):
        check_processes("cuda", count + 1)


def test_check_memory_model_beyond_machine_is_refused() -> None:
    check_memory(1_000_000, "cpu")
    for weights in (10**12, 10**15, 10**30):
        with pytest.raises(UserError, match=r"architecture: a model of .* weights needs .* GB .* lower"):
            check_memory(weights, "cpu")


@pytest.mark.parametrize("setting", ["", "avx2", "default"])
def test_describe_processor_instruction_set_is_torchs(setting: str) -> None:
    code = (
        "from model.training.devices import describe_processor; text = describe_processor(); import torch; "
        "print([text.rpartition(', ')[2], torch.backends.cpu.get_cpu_capability()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SMOKE.parents[1], capture_output=True, text=True, check=True,
        env={**os.environ, "ATEN_CPU_CAPABILITY": setting},
    )  # fmt: skip
    mine, torchs = json.loads(done.stdout.replace("'", '"'))
    assert mine == torchs


def test_find_device_is_torchs() -> None:
    assert find_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert find_device("cpu") == "cpu"
    for wanted in ("gpu", "cuda:0", ""):
        with pytest.raises(UserError, match="expected auto, cpu or cuda"):
            find_device(wanted)
