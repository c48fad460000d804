"""Trainings with adapters on weights in 4 bits: they learn, resume, and write the model that was trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.data.hf_checkpoint import load_model, save_model
from model.data.nf4_checkpoint import NF4_WEIGHTS
from model.data.peft_adapter import load_adapter
from model.errors import UserError
from model.events import EventCallback
from model.nn.nf4 import packed_weights
from model.nn.transformer import Transformer
from model.training import ppo
from model.training.reward import load_reward, shares_backbone
from tests.model.conftest import Language
from tests.model.training.test_adapters import (
    FASTER,
    chain_settings,
    check_adapter_resumes,
    logits_of,
    logits_of_peft,
    random_tokens,
    train_chain,
)
from tests.model.training.test_training_tasks import curve, digest, quiet, stage

QUANTIZED = {"lora": {"rank": 4, "quantize": "nf4"}}
SETTINGS = chain_settings(QUANTIZED)


@pytest.fixture(scope="module")
def chain(language: Language, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return train_chain(language, tmp_path_factory.mktemp("quantized"), SETTINGS)


def write_rounded(source: Path, folder: Path) -> Path:
    """Write a model with the weights that its 4 bits stand for."""
    model, tokenizer = load_model(source, quantize=True)
    matrices = {f"{name}.weight": each.dequantize() for name, each in packed_weights(model)}
    save_model(
        Transformer.from_weights(model.architecture, {**model.state_dict(), **matrices}), tokenizer, folder
    )
    return folder


def test_training_on_4_bits_learns(chain: dict[str, Path]) -> None:
    losses = curve(chain["sft"], "valid_loss")
    assert losses[-1] < 0.6 * losses[0]
    assert curve(chain["reward"], "pair_accuracy")[-1] > 0.95
    assert curve(chain["dpo"], "valid_accuracy")[-1] > 0.9
    assert curve(chain["rlhf"], "valid_score")[-1] > curve(chain["rlhf"], "valid_score")[0]


@pytest.mark.parametrize("name", ["sft", "dpo", "rlhf"])
def test_adapter_of_each_stage_equals_its_model_on_rounded_base(
    chain: dict[str, Path], tmp_path: Path, name: str
) -> None:
    x, rounded = random_tokens(), write_rounded(chain["pretrain"] / "model", tmp_path / "rounded")
    found = logits_of_peft(rounded, chain[name] / "adapter", x)
    torch.testing.assert_close(found, logits_of(chain[name] / "model", x), atol=1e-4, rtol=0)
    assert (found - logits_of(rounded, x)).abs().max() > 0.1
    # The rounding itself is no small change, so the full base is another model.
    full = logits_of_peft(chain["pretrain"] / "model", chain[name] / "adapter", x)
    assert (found - full).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["sft", "dpo", "rlhf"])
def test_4_bits_beside_model_are_that_model(chain: dict[str, Path], name: str) -> None:
    x = random_tokens()
    model, _ = load_model(chain[name] / "model", quantize=True)
    with torch.no_grad():
        found = model.compute_logits(model(x))
    assert len(dict(packed_weights(model))) == 14
    torch.testing.assert_close(found, logits_of(chain[name] / "model", x), atol=1e-4, rtol=0)


def test_last_loss_of_training_is_that_of_its_model(
    language: Language, chain: dict[str, Path], tmp_path: Path
) -> None:
    # A training that starts from the result measures it before its first step.
    again = {"pretrain": chain["sft"]}
    for quantize in ("nf4", "none"):
        train = stage("sft", language, again, lora={"rank": 4, "quantize": quantize}, steps=1)
        train(tmp_path / quantize, quiet)
        first, last = curve(tmp_path / quantize, "valid_loss")[0], curve(chain["sft"], "valid_loss")[-1]
        # Computed in bfloat16 where the CPU has instructions for it.
        assert first == pytest.approx(last, abs=2e-3)


def test_later_stage_starts_as_earlier_one_ended(chain: dict[str, Path]) -> None:
    # The reference is the policy without its adapter.
    assert curve(chain["dpo"], "valid_margin")[0] == pytest.approx(0, abs=1e-4)
    assert curve(chain["rlhf"], "valid_kl")[0] == pytest.approx(0, abs=1e-4)
    for name in ("dpo", "rlhf"):
        before = load_file(chain["sft"] / NF4_WEIGHTS)
        after = load_file(chain[name] / NF4_WEIGHTS)
        rounded = [key for key in before if key.endswith((".codes", ".scales", ".steps", ".mean"))]
        assert rounded and all(torch.equal(before[key], after[key]) for key in rounded)
        # What both learned is added, not rounded.
        assert load_adapter(chain[name] / "adapter").rank == 8


@pytest.mark.parametrize("name", ["sft", "reward", "rlhf", "dpo"])
def test_training_on_4_bits_killed_and_resumed_ends_in_same_bits(
    name: str,
    language: Language,
    chain: dict[str, Path],
    tmp_path: Path,
    killed_at: Callable[[int], EventCallback],
) -> None:
    train = stage(name, language, chain, **SETTINGS[name])
    check_adapter_resumes(train, tmp_path / name, killed_at(4))
    assert digest(tmp_path / name) == digest(chain[name])


def test_reward_model_on_4_bits_shares_them_with_policy(chain: dict[str, Path]) -> None:
    files = [chain[name] / NF4_WEIGHTS for name in ("sft", "reward")]
    assert files[0].samefile(files[1])
    model = chain["sft"] / "model"
    assert shares_backbone(chain["reward"], model, quantize=True)
    assert not shares_backbone(chain["reward"], model)
    policy, _ = load_model(model, quantize=True)
    x, alone = random_tokens(), load_reward(chain["reward"], "cpu")
    shared = load_reward(chain["reward"], "cpu", body=policy)
    assert torch.equal(shared.score_rows(x.tolist()), alone.score_rows(x.tolist()))
    assert len(dict(packed_weights(alone.body))) == 14


@pytest.mark.parametrize(("scorer", "policy"), [("none", "nf4"), ("nf4", "none")])
def test_train_ppo_on_4_bits_and_full_weights_mixed(
    language: Language, chain: dict[str, Path], tmp_path: Path, scorer: str, policy: str
) -> None:
    made = {**chain, "reward": tmp_path / "reward"}
    stage("reward", language, made, lora={"rank": 4, "quantize": scorer}, steps=4)(made["reward"], quiet)
    assert (made["reward"] / NF4_WEIGHTS).exists() is (scorer == "nf4")
    stage("rlhf", language, made, lora={"rank": 4, "quantize": policy}, steps=2)(tmp_path / "rlhf", quiet)
    assert curve(tmp_path / "rlhf", "first_ratio_off")[0] < ppo.RATIO_NOISE_BFLOAT16
    assert (tmp_path / "rlhf" / NF4_WEIGHTS).exists() is (policy == "nf4")


def test_train_sft_on_4_bits_after_adapter_on_full_weights(language: Language, tmp_path: Path) -> None:
    # The first adapter belongs to the full weights, so the second one does not add what that one adds.
    made = {"pretrain": tmp_path / "open"}
    language.model(tmp_path / "open" / "model")
    stage("sft", language, made, lora={"rank": 4}, **FASTER)(tmp_path / "first", quiet)
    again = {"pretrain": tmp_path / "first"}
    stage("sft", language, again, **SETTINGS["sft"])(tmp_path / "second", quiet)
    assert load_adapter(tmp_path / "second" / "adapter").rank == 4
    x, rounded = random_tokens(), write_rounded(tmp_path / "first" / "model", tmp_path / "rounded")
    found = logits_of_peft(rounded, tmp_path / "second" / "adapter", x)
    torch.testing.assert_close(found, logits_of(tmp_path / "second" / "model", x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_train_sft_on_4_bits_writes_type_of_its_base(language: Language, tmp_path: Path, dtype: str) -> None:
    model, tokenizer = load_model(language.model(tmp_path / "made"))
    model.architecture = replace(model.architecture, weight_dtype=dtype)
    save_model(model, tokenizer, tmp_path / "open" / "model")
    stage("sft", language, {"pretrain": tmp_path / "open"}, **SETTINGS["sft"])(tmp_path / "sft", quiet)
    stored = load_file(tmp_path / "sft" / "model" / "model.safetensors")
    assert {str(value.dtype) for value in stored.values()} == {f"torch.{dtype}"}
    x = random_tokens()
    packed, _ = load_model(tmp_path / "sft" / "model", quantize=True)
    with torch.no_grad():
        found = packed.compute_logits(packed(x))
    # The file in 4 bits is exact; the model is rounded to its type.
    tolerance = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}[dtype]
    torch.testing.assert_close(found, logits_of(tmp_path / "sft" / "model", x), atol=tolerance, rtol=0)


@pytest.mark.parametrize("steps", [0.0, 0.003, 0.03])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_load_model_rounded_before_is_not_rounded_again(
    language: Language, tmp_path: Path, steps: float, dtype: torch.dtype
) -> None:
    rounded = write_rounded(language.model(tmp_path / "open"), tmp_path / "rounded")
    model, tokenizer = load_model(rounded)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            # What is learned is small beside the distance between levels.
            weight += steps * weight.std(correction=0) * torch.randn(weight.shape, generator=random)
    save_model(model, tokenizer, tmp_path / "alone" / "model", dtype)
    with pytest.raises(UserError, match=r"alone/model: lora.quantize is nf4, and the weights were rounded"):
        load_model(tmp_path / "alone" / "model", quantize=True)


@pytest.mark.parametrize("damage", ["short", "no codes", "rank", "shape", "type", "layer"])
def test_load_model_damaged_4_bits_are_one_sentence(
    chain: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    shutil.copytree(chain["sft"] / "model", tmp_path / "model")
    path = tmp_path / NF4_WEIGHTS
    state, name = load_file(chain["sft"] / NF4_WEIGHTS), "model.layers.0.self_attn.q_proj"
    if damage == "no codes":
        del state[f"{name}.scales"]
    elif damage == "rank":
        state[f"{name}.first"] = state[f"{name}.first"][:1].clone()
    elif damage == "shape":
        state[f"{name}.codes"] = state[f"{name}.codes"][1:].clone()
    elif damage == "type":
        state[f"{name}.steps"] = state[f"{name}.steps"].float()
    elif damage == "layer":
        state = {key.replace("layers.0", "layers.7"): value for key, value in state.items()}
    save_file(state, path)
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"is incomplete .*retrain the model|do not fit config.json"):
        load_model(tmp_path / "model", quantize=True)
