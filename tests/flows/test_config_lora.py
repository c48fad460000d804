"""The section `lora` of a preset: trainings that do not set its keys take them from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flows.config import Preset, dump_preset, load_preset, read_preset
from model.errors import UserError
from model.training.lora_config import LoRAParameters
from model.training.sft_config import SFTParameters
from tasks.engine.cache_key import plain_parameters

SMALLEST = "name: mine\ndata: {sources: [{name: tales, files: '*.txt', format: plain}]}\n"


def preset(folder: Path, *changes: str) -> Preset:
    path = folder / "mine.yaml"
    path.write_text(SMALLEST)
    return read_preset(path, changes)


def adapters(found: Preset) -> dict[str, LoRAParameters]:
    trainings = {"sft": found.sft, "reward": found.reward, "rlhf": found.rlhf, "dpo": found.rlhf.dpo}
    return {name: parameters.lora for name, parameters in trainings.items()}


def test_read_preset_without_lora_trains_all_weights(tmp_path: Path) -> None:
    assert {each.rank for each in adapters(preset(tmp_path)).values()} == {0}


def test_read_preset_lora_is_passed_on_to_each_training(tmp_path: Path) -> None:
    found = preset(tmp_path, "lora.rank=16", "sft.steps=7", "lora.target_modules=[v_proj, q_proj]")
    # In the order of the model, whatever the order in the preset.
    wanted = LoRAParameters(rank=16, alpha=32.0, target_modules=("q_proj", "v_proj"))
    assert set(map(str, adapters(found).values())) == {str(wanted)} and found.sft.steps == 7
    assert found.rlhf.ppo.lora == wanted


@pytest.mark.parametrize("name", ["sft", "reward", "rlhf", "rlhf.dpo"])
@pytest.mark.parametrize(("key", "value"), [("rank", 0), ("rank", 4), ("alpha", 5.0)])
def test_read_preset_own_key_of_training_goes_before_lora(
    tmp_path: Path, name: str, key: str, value: float
) -> None:
    found = adapters(preset(tmp_path, "lora={rank: 16, alpha: 20}", f"{name}.lora.{key}={value}"))
    own = found.pop(name.rpartition(".")[2])
    assert own == LoRAParameters(**{"rank": 16, "alpha": 20.0, key: value})
    assert set(map(str, found.values())) == {str(LoRAParameters(rank=16, alpha=20.0))}


@pytest.mark.parametrize(
    "changes", [["lora.rank=16"], ["lora.rank=16", "reward.lora.rank=0"], ["rlhf.dpo.lora.rank=3"]]
)
def test_load_preset_of_dumped_preset_with_lora_is_equal(tmp_path: Path, changes: list[str]) -> None:
    found = preset(tmp_path, *changes)
    assert load_preset(json.loads(json.dumps(dump_preset(found)))) == found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("lora.rank=-1", "lora.rank is -1; it must be at least 0"),
        ("lora.rank=5000", "lora.rank is 5000; it must be at most 4096"),
        ("lora.rank=8.5", "lora.rank is 8.5; expected a whole number"),
        ("lora.alpha=-2", "lora.alpha is -2.0; it must be 0 or more and finite"),
        ("lora.target_modules=[]", "lora.target_modules is empty; name at least one layer"),
        ("lora.target_modules=[qkv]", "lora.target_modules has 'qkv'; expected some of q_proj, k_proj"),
        ("lora=16", "lora is 16; expected a mapping of keys to values"),
        ("lora.r=16", "lora.r: unknown key; expected one of rank, alpha, target_modules"),
        ("lora={rank: 4, quantize: int4}", "lora.quantize: Input should be 'none' or 'nf4' (it is 'int4')"),
        ("lora.quantize=nf4", "lora.quantize is nf4, and rank is 0"),
        ("reward.lora.quantize=nf4", "reward.lora.quantize is nf4, and rank is 0"),
        ("sft.lora.rank=-1", "sft.lora.rank is -1; it must be at least 0"),
        ("rlhf.dpo.lora.rank=-1", "rlhf.dpo.lora.rank is -1; it must be at least 0"),
        ("sft={from_random: true, lora: {rank: 4}}", "sft.lora.rank is 4; it must be 0 with from_random"),
    ],
)
def test_read_preset_wrong_lora_is_named(tmp_path: Path, change: str, says: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(says)}"):
        preset(tmp_path, change)


@pytest.mark.parametrize(
    ("changes", "rank"),
    [
        (["base_model=x", "lora.rank=16", "pretrain.continue_steps=9"], 16),
        (["base_model=x", "lora.rank=16", "pretrain.continue_steps=9", "pretrain.lora.rank=4"], 4),
        (["base_model=x", "lora.rank=16", "pretrain.continue_steps=9", "pretrain.lora.rank=0"], 0),
        # Random weights all learn, and a model that is used as it is has no training.
        (["lora.rank=16", "pretrain.steps=9"], 0),
        (["base_model=x", "lora.rank=16"], 0),
        (["base_model=x", "lora.rank=16", "pretrain.continue_steps=0"], 0),
    ],
)
def test_read_preset_lora_is_passed_on_to_continued_pretraining(
    tmp_path: Path, changes: list[str], rank: int
) -> None:
    found = preset(tmp_path, *changes)
    assert found.pretrain.lora.rank == rank and found.sft.lora.rank == 16
    assert load_preset(json.loads(json.dumps(dump_preset(found)))) == found


def test_read_preset_pretrain_lora_without_continued_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pretrain\.lora\.rank is 4 without continue_steps"):
        preset(tmp_path, "pretrain.lora.rank=4")


NF4 = "lora={rank: 16, quantize: nf4}"


def test_read_preset_quantize_is_passed_on_to_each_training(tmp_path: Path) -> None:
    found = preset(tmp_path, NF4)
    assert {each.quantize for each in adapters(found).values()} == {"nf4"}
    assert found.pretrain.lora.quantize == "none"
    assert found.rlhf.dpo.reference_parameters.quantize == "nf4"
    assert load_preset(json.loads(json.dumps(dump_preset(found)))) == found
    alone = preset(tmp_path, NF4, "reward.lora={rank: 0, quantize: none}")
    assert not alone.reward.lora.is_quantized and alone.sft.lora.is_quantized
    continued = preset(tmp_path, NF4, "base_model=x", "pretrain.continue_steps=9")
    assert continued.pretrain.lora.is_quantized


CONTINUED = [NF4, "base_model=x", "pretrain.continue_steps=9", "sft.lora.quantize=none"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([NF4, "sft.sharding=full"], "sft.lora.quantize is nf4, and sharding is full"),
        ([NF4, "reward.sharding=full"], "reward.lora.quantize is nf4, and sharding is full"),
        ([NF4, "rlhf.sharding=full"], "rlhf.lora.quantize is nf4, and sharding is full"),
        ([NF4, "rlhf.dpo.sharding=full"], "rlhf.dpo.lora.quantize is nf4, and sharding is full"),
        ([NF4, "sft.lora.rank=0"], "sft.lora.quantize is nf4, and rank is 0"),
        (
            [NF4, "rlhf.lora.quantize=none", "rlhf.sharding=full"],
            "reward.lora.quantize is nf4, and rlhf.sharding is full",
        ),
        (
            [NF4, "rlhf.dpo.lora.quantize=none", "rlhf.dpo.sharding=full", "rlhf.method=dpo"],
            "reward.lora.quantize is nf4, and rlhf.dpo.sharding is full",
        ),
        (CONTINUED, "sft.lora.quantize is none between pretrain and reward, for which it is nf4"),
        (
            [*CONTINUED, "reward.lora.quantize=none"],
            "sft.lora.quantize is none between pretrain and rlhf, for which it is nf4",
        ),
    ],
)
def test_read_preset_quantize_where_it_cannot_work_is_refused(
    tmp_path: Path, changes: list[str], says: str
) -> None:
    with pytest.raises(UserError, match=re.escape(says)) as raised:
        preset(tmp_path, *changes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["sft", "reward", "rlhf"])
def test_plain_parameters_quantize_is_in_the_key_when_it_is_set(tmp_path: Path, name: str) -> None:
    plain, none, nf4 = (
        plain_parameters(getattr(preset(tmp_path, "lora.rank=16", f"lora.{key}"), name))
        for key in ("alpha=32", "quantize=none", "quantize=nf4")
    )
    assert plain == none != nf4
    # As before the key was there, so that outputs of earlier versions keep their parameters.
    assert "quantize" not in json.dumps(plain) and nf4["lora"]["quantize"] == "nf4"


def test_plain_parameters_of_reference_have_quantize_when_it_is_set(tmp_path: Path) -> None:
    plain, nf4 = (
        plain_parameters(preset(tmp_path, key).rlhf.dpo.reference_parameters) for key in ("lora.rank=16", NF4)
    )
    assert set(nf4) - set(plain) == {"quantize"}


@pytest.mark.parametrize("quantize", ["int4", "NF4", "", None, 4, True])
def test_lora_parameters_wrong_quantize_is_named(quantize: object) -> None:
    with pytest.raises(UserError, match=r"quantize is .*; expected none or nf4"):
        SFTParameters.read({"lora": {"rank": 4, "quantize": quantize}})
