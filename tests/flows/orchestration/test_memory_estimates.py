"""The estimates of memory that a project keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.config import read_preset
from flows.orchestration.memory_estimates import estimate_stages
from model.data.hf_checkpoint import save_model
from model.data.tokenizer import train_tokenizer
from model.nn.transformer import Transformer
from tasks.project.dry_run import forbid_writes
from tasks.project.paths import MEMORY_ESTIMATES, RECORDS
from tests.model.conftest import small_shape

SMOKE = Path(__file__).parents[3] / "configs" / "smoke.yaml"
# Prints the stages and whether PyTorch was imported for them.
PROGRAM = """
import sys
from pathlib import Path
from flows.config import read_preset
from flows.orchestration.memory_estimates import estimate_stages
stages = estimate_stages(read_preset(Path(sys.argv[1])), Path(sys.argv[2]), "cpu")
print([(stage.section, stage.needed, stage.least) for stage in stages], "torch" in sys.modules)
"""


def estimate_elsewhere(root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SMOKE), str(root)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_estimate_stages_again_is_the_same_without_pytorch(tmp_path: Path) -> None:
    first, second = estimate_elsewhere(tmp_path), estimate_elsewhere(tmp_path)
    assert first.endswith("True\n")
    assert second == first.replace("] True", "] False")


@pytest.mark.parametrize(
    "change",
    ["sft.batch_size=7", "architecture.num_layers=3", "tokenizer.vocab_size=777", "rlhf.method=dpo",
     "num_processes=1"],
)  # fmt: skip
def test_estimate_stages_of_a_changed_preset_is_not_the_kept_one(tmp_path: Path, change: str) -> None:
    estimate_stages(read_preset(SMOKE), tmp_path, "cpu")
    preset = read_preset(SMOKE, [change])
    assert estimate_stages(preset, tmp_path, "cpu") == estimate_stages(preset, tmp_path / "new", "cpu")
    assert len(json.loads((tmp_path / MEMORY_ESTIMATES).read_text())) == 2


@pytest.mark.parametrize(
    "damage", ["", "[]", "{", '{"KEY": 3}', '{"KEY": {"sft": [1]}}', '{"KEY": {"x": 1}}']
)
def test_estimate_stages_damaged_file_is_estimated_again(tmp_path: Path, damage: str) -> None:
    preset, path = read_preset(SMOKE), tmp_path / MEMORY_ESTIMATES
    before = estimate_stages(preset, tmp_path, "cpu")
    (key,) = json.loads(path.read_text())
    path.write_text(damage.replace("KEY", key))
    assert estimate_stages(preset, tmp_path, "cpu") == before
    assert key in json.loads(path.read_text())


@pytest.fixture(autouse=True)
def _project(tmp_path: Path) -> None:
    (tmp_path / RECORDS).mkdir()


def test_estimate_stages_outside_a_project_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert estimate_stages(read_preset(SMOKE), folder, "cpu")
    assert not [*folder.iterdir()]


def test_estimate_stages_in_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    with forbid_writes():
        assert estimate_stages(read_preset(SMOKE), tmp_path, "cpu")
    assert not [*(tmp_path / RECORDS).iterdir()]


def test_estimate_stages_keeps_the_newest_hundred(tmp_path: Path) -> None:
    path = tmp_path / MEMORY_ESTIMATES
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({str(number): {} for number in range(150)}))
    estimate_stages(read_preset(SMOKE), tmp_path, "cpu")
    kept = [*json.loads(path.read_text())]
    assert len(kept) == 100
    assert kept[:-1] == [str(number) for number in range(51, 150)]


def test_estimate_stages_of_another_base_is_not_the_kept_one(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([f"a text of {number} words" for number in range(200)], 300)
    preset = read_preset(SMOKE, [f"base_model={tmp_path / 'base'}"])
    needed = []
    for layers in (2, 3):
        model = Transformer(small_shape(num_layers=layers)).init_weights(0)
        save_model(model, tokenizer, tmp_path / "base")
        needed.append([stage.needed for stage in estimate_stages(preset, tmp_path, "cpu")])
    assert needed[0] < needed[1]
