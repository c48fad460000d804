"""The memory that a run states at its start, and the trainings that it refuses or warns of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flows.cli.init import _state_memory
from flows.common.terminal import Console
from flows.config import Preset, read_preset
from flows.orchestration.memory_check import FLOW_BYTES, MemoryCheck, StageMemory
from flows.orchestration.memory_estimates import estimate_stages
from model.data.hf_checkpoint import save_model
from model.data.tokenizer import train_tokenizer
from model.errors import UserError
from model.nn.transformer import Transformer
from model.training.available_memory import DeviceMemory
from tests.model.conftest import small_shape

SMOKE = Path(__file__).parents[3] / "configs" / "smoke.yaml"
GB = 10**9


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def preset_with(*changes: str) -> Preset:
    return read_preset(SMOKE, changes)


def check(memory: DeviceMemory, *changes: str, device: str = "cpu") -> MemoryCheck:
    return MemoryCheck(preset_with(*changes), Path(), device, memory)


def needs(found: MemoryCheck) -> dict[str, StageMemory]:
    return {stage.section: stage for stage in found.stages}


def test_describe_names_the_training_that_needs_the_most() -> None:
    found = check(DeviceMemory(8 * GB, 5 * GB))
    largest = max(found.stages, key=lambda stage: stage.needed)
    up_to = "" if largest.section in ("pretrain", "sft") else "up to "
    assert found.describe() == (
        f"memory: {largest.section} needs the most, {up_to}{largest.needed / 1e9:.1f} GB; "
        "5.0 GB of 8.0 GB on this machine are free"
    )
    assert [*needs(found)] == ["pretrain", "sft", "reward", "rlhf", "evaluate"]
    assert [*needs(check(DeviceMemory(0, 0), "rlhf.method=dpo"))] == [
        "pretrain", "sft", "reward", "rlhf.dpo", "evaluate",
    ]  # fmt: skip
    assert "an unknown amount" in check(DeviceMemory(0, 0)).describe()


def test_memory_check_of_a_cpu_counts_the_flow_beside_the_training() -> None:
    memory = DeviceMemory(8 * GB, 8 * GB)
    trainings = {stage.section: stage for stage in estimate_stages(preset_with(), Path(), "cpu")}
    for section, stage in needs(check(memory)).items():
        assert (
            stage.needed - trainings[section].needed == FLOW_BYTES == stage.least - trainings[section].least
        )
    # A GPU's memory holds the training alone.
    assert check(memory, device="cuda").stages == estimate_stages(preset_with(), Path(), "cuda")


def test_find_shortages_with_enough_memory_are_none() -> None:
    for memory in (DeviceMemory(8 * GB, 5 * GB), DeviceMemory(8 * GB, 0), DeviceMemory(0, 0)):
        found = check(memory)
        assert found.find_shortages(labels=False) == found.find_shortages(labels=True) == []


@pytest.mark.parametrize("section", ["pretrain", "sft"])
def test_find_shortages_training_beyond_the_machine_is_refused(section: str) -> None:
    key = f"{section}.batch_size=2048"
    needed = needs(check(DeviceMemory(0, 0), key))[section].needed
    total = needed - 1
    with pytest.raises(UserError) as error:
        check(DeviceMemory(total, total), key).find_shortages(labels=False)
    said = str(error.value)
    assert said.startswith(f"{section} needs {needed / 1e9:.1f} GB of memory, and this machine has ")
    assert f"lower {section}.micro_batch_size (now 0: the whole batch of 2048" in said
    assert f"{section}.activation_checkpointing: true" in said and "context_length" in said
    assert "\n" not in said
    # The machine can move a part to its disk.
    [warned] = check(DeviceMemory(total, total, swap=needed), key).find_shortages(labels=False)
    assert "are free now" in warned


def test_find_shortages_of_rows_that_may_be_short_are_warnings() -> None:
    key = "reward.batch_size=512"
    stage = needs(check(DeviceMemory(0, 0), key))["reward"]
    assert stage.least < stage.needed
    found = check(DeviceMemory(stage.needed - 1, stage.needed - 1), key)
    assert found.find_shortages(labels=False) == []
    [said] = found.find_shortages(labels=True)
    assert said.startswith("reward may need, if its texts fill the context, ")
    # What no data can lower is refused.
    with pytest.raises(UserError, match=r"reward needs .* lora\.rank"):
        check(DeviceMemory(stage.least - 1, 1), key).find_shortages(labels=True)


@pytest.mark.parametrize(
    ("changes", "named", "not_named"),
    [
        ((), ("rlhf.sampling_batch_size (now 0", "rlhf.micro_batch_size"), "lora"),
        (("rlhf.sampling_batch_size=4",), ("rlhf.sampling_batch_size (now 4",), "lora"),
        (
            ("rlhf.micro_batch_size=1", "rlhf.activation_checkpointing=true"),
            ("context_length",),
            "micro_batch",
        ),
    ],
)
def test_find_shortages_name_the_keys_that_help(
    changes: tuple[str, ...], named: tuple[str, ...], not_named: str
) -> None:
    batch = ("rlhf.batch_size=1024", *changes)
    stage = needs(check(DeviceMemory(0, 0), *batch))["rlhf"]
    there = DeviceMemory(stage.needed + GB, stage.needed - 1)
    [said] = [one for one in check(there, *batch).find_shortages(labels=True) if one.startswith("rlhf")]
    assert "end other programs" in said and not_named not in said
    assert all(each in said for each in named)


def test_find_shortages_of_a_gpu_name_it() -> None:
    changes = ("architecture.hidden_size=4096", "architecture.num_heads=32", "num_processes=1")
    found = check(DeviceMemory(GB, GB), *changes, device="cuda")
    assert "on this machine" not in found.describe() and "of each GPU" in found.describe()
    with pytest.raises(
        UserError, match=r"pretrain needs .*, and the GPU has 1.0 GB: .*pretrain.sharding: full"
    ):
        found.find_shortages(labels=False)


@pytest.mark.parametrize("section", ["pretrain", "sft"])
def test_find_shortages_of_compiled_passes_are_warnings(section: str) -> None:
    key = f"{section}.batch_size=2048"
    preset = preset_with(key, "num_processes=1")
    stage = needs(MemoryCheck(preset, Path(), "cuda", DeviceMemory(0, 0)))[section]
    there = DeviceMemory(stage.needed - 1, stage.needed - 1)
    [said] = MemoryCheck(preset, Path(), "cuda", there).find_shortages(labels=False)
    assert said.startswith(f"{section} may need {stage.needed / 1e9:.1f} GB of memory, and ")
    with pytest.raises(UserError, match=r"needs .*: .*take a smaller model"):
        MemoryCheck(preset, Path(), "cuda", DeviceMemory(stage.least - 1, 1)).find_shortages(labels=False)


def test_memory_check_of_a_work_pool_is_empty() -> None:
    found = check(
        DeviceMemory(1, 1), "execution.gpu_work_pool=gpus", "data.remote=/srv/data",
        "remote_cache.enabled=true",
    )  # fmt: skip
    assert found.describe() == "" and found.find_shortages(labels=False) == []


def test_memory_check_of_an_open_model_reads_its_shape(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([f"a text of {number} words" for number in range(200)], 300)
    save_model(Transformer(small_shape()).init_weights(0), tokenizer, tmp_path / "base")
    preset = preset_with("base_model=base", "lora.rank=4")
    found = MemoryCheck(preset, tmp_path, "cpu", DeviceMemory(8 * GB, 8 * GB))
    assert [*needs(found)] == ["sft", "reward", "rlhf", "evaluate"]
    assert found.find_shortages(labels=False) == []
    trained = MemoryCheck(
        preset_with("base_model=base", "pretrain.continue_steps=5"), tmp_path, "cpu", found.memory
    )
    assert "pretrain" in needs(trained)


def test_memory_check_names_4_bits_for_frozen_weights_that_do_not_fit(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([f"a text of {number} words" for number in range(200)], 300)
    shape = small_shape(hidden_size=512, num_layers=8, num_heads=8)
    save_model(Transformer(shape).init_weights(0), tokenizer, tmp_path / "base", torch.bfloat16)
    small = ("base_model=base", "lora.rank=1", "sft.micro_batch_size=1", "sft.activation_checkpointing=true")
    whole = needs(MemoryCheck(preset_with(*small), tmp_path, "cuda", DeviceMemory(GB, GB)))
    packed = [*small, "lora.quantize=nf4"]
    fewer = needs(MemoryCheck(preset_with(*packed), tmp_path, "cuda", DeviceMemory(GB, GB)))
    for name in ("sft", "reward", "rlhf"):
        assert fewer[name].least < 0.6 * whole[name].least
    between = DeviceMemory((fewer["sft"].least + whole["sft"].least) // 2, 0)
    with pytest.raises(UserError, match=r"^sft needs .*: set lora.quantize: nf4, which keeps"):
        MemoryCheck(preset_with(*small), tmp_path, "cuda", between).find_shortages(labels=False)
    MemoryCheck(preset_with(*packed), tmp_path, "cuda", between).find_shortages(labels=False)


def test_init_states_the_memory_and_why_a_run_would_stop(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(highlight=False)
    assert _state_memory(preset_with(), Path(), "cpu", console, None) == ""
    assert capsys.readouterr().out.startswith("memory: ")
    # 200 billion weights, more than any machine of a test has.
    huge = preset_with(
        "architecture.hidden_size=131072", "architecture.num_heads=64", "architecture.num_layers=1"
    )  # fmt: skip
    said = _state_memory(huge, Path(), "cpu", console, ("pretrain",))
    assert said.startswith("pretrain needs ") and "lora.rank" not in said and "smaller model" in said


def test_memory_check_evaluation_holds_one_model(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([f"a text of {number} words" for number in range(200)], 300)
    shape = small_shape(hidden_size=512, num_layers=8, num_heads=8)
    save_model(Transformer(shape).init_weights(0), tokenizer, tmp_path / "base")
    changes = ("base_model=base", "lora.rank=4", "evaluate.num_prompts=512")
    found = MemoryCheck(preset_with(*changes), tmp_path, "cuda", DeviceMemory(8 * GB, 8 * GB))
    evaluation = needs(found)["evaluate"]
    # 2 bytes a weight, or 4 where the GPU's arithmetic is float32; and the tables of positions.
    assert evaluation.least / shape.num_parameters in (pytest.approx(2, rel=0.01), pytest.approx(4, rel=0.01))
    short = DeviceMemory(8 * GB, evaluation.needed - 1)
    said = MemoryCheck(preset_with(*changes), tmp_path, "cuda", short).find_shortages(labels=True)
    assert any(
        sentence.startswith("evaluate may need") and "evaluate.num_prompts" in sentence for sentence in said
    )
