"""Trainings that begin from an open model in 16 bits: the type of their results, and what rounding costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from model.data.chat_template import examples_of
from model.data.dataloader import each_row
from model.data.hf_checkpoint import load_model, save_model
from model.data.hf_config import load_architecture
from model.events import Event
from model.inference.scoring import completion_logprobs
from model.nn.transformer import Transformer
from model.training import dpo, ppo, reward, sft
from model.training.base_model import adopt_base
from model.training.dpo_config import DPOConfig
from tests.model.conftest import DEVICE, Language, measured_reference, small_shape

LOOP: dict[str, Any] = {"batch_size": 8, "optimizer": {"learning_rate": 0.002}}
# Rounding to bfloat16 changes a weight by 0.4% at most, to float16 by 0.05%; the relative change of the loss.
COST = {"bfloat16": 2e-3, "float16": 2e-4}


def quiet(event: Event) -> None:
    pass


@pytest.fixture(params=["bfloat16", "float16"])
def base(request: pytest.FixtureRequest, language: Language, tmp_path: Path) -> Path:
    """Return an open model that is stored in 16 bits, as the stage pretrain writes it."""
    folder = tmp_path / "open"
    shape = small_shape(weight_dtype=request.param)
    save_model(Transformer(shape).init_weights(0), language.tokenizer, folder)
    adopt_base({}, str(folder), str(language.tokens), 0, str(tmp_path / "base"), 1, DEVICE, quiet)
    return tmp_path / "base" / "model"


def types(folder: Path) -> set[str]:
    found = {str(value.dtype).split(".")[1] for value in load_file(folder / "model.safetensors").values()}
    assert load_architecture(folder).weight_dtype in found
    return found


def test_trainings_from_open_model_keep_its_type(language: Language, base: Path, tmp_path: Path) -> None:
    wanted = types(base)
    common: dict[str, Any] = {"seed": 5, "device": DEVICE, "on_event": quiet}
    out = {name: tmp_path / name for name in ("sft", "reward", "ppo", "dpo")}
    sft.train_sft({**LOOP, "steps": 40}, str(base), str(language.split), str(out["sft"]), **common)
    assistant = str(out["sft"] / "model")
    reward.train_reward(
        {**LOOP, "steps": 10, "num_reference_samples": 16, "reference_tokens": 12},
        assistant, str(language.labels), str(out["reward"]), **common,
    )  # fmt: skip
    ppo.train_ppo(
        {**LOOP, "steps": 2, "max_new_tokens": 8, "num_eval_prompts": 8},
        assistant, str(out["reward"]), str(language.split), str(out["ppo"]), **common,
    )  # fmt: skip
    reference = measured_reference(Path(assistant), language.labels, tmp_path / "reference", DPOConfig())
    dpo.train_dpo(
        {**LOOP, "steps": 4}, assistant, str(language.labels), str(reference), str(language.split),
        str(out["dpo"]), **common,
    )  # fmt: skip
    for folder in out.values():
        assert types(folder / "model") == wanted
        theirs = AutoModelForCausalLM.from_pretrained(folder / "model", dtype="auto")
        assert {str(theirs.dtype).split(".")[1]} == wanted
    assert reward.load_reward(out["reward"], DEVICE).score_rows([[1, 5, 9]]).isfinite().all()


def held_out_loss(folder: Path, language: Language) -> float:
    """Return the loss on held-out answers, computed in float32 wherever the test runs."""
    model, tokenizer = load_model(folder, device=DEVICE)
    context = model.architecture.context_length
    examples = list(examples_of(each_row(language.split / "valid" / "pairs"), tokenizer, context))
    sums = completion_logprobs(model, examples, tokenizer.end)
    return -sum(sums) / sum(len(example.completion) for example in examples)


def test_train_sft_held_out_loss_survives_rounding(language: Language, base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(base)
    # The same weights, of which a training is stored without rounding.
    save_model(model, tokenizer, tmp_path / "wide", torch.float32)
    kept = {}
    for name, folder in (("rounded", base), ("exact", tmp_path / "wide")):
        sft.train_sft(
            {**LOOP, "steps": 120}, str(folder), str(language.split), str(tmp_path / name), 5, DEVICE, quiet
        )
        kept[name] = tmp_path / name / "model"
    (dtype,) = types(kept["rounded"])
    assert types(kept["exact"]) == {"float32"}
    exact, rounded = (load_file(kept[name] / "model.safetensors") for name in ("exact", "rounded"))
    assert all(torch.equal(exact[name].to(getattr(torch, dtype)), rounded[name]) for name in exact)
    start, before, after = (held_out_loss(one, language) for one in (base, kept["exact"], kept["rounded"]))
    assert before < 0.7 * start
    assert 0 < abs(after - before) < COST[dtype] * before


@pytest.mark.parametrize(("largest", "stored"), [(6e4, "float16"), (7e4, "float32"), (-1e5, "float32")])
def test_save_model_weight_beyond_float16_is_kept(
    language: Language, tmp_path: Path, largest: float, stored: str
) -> None:
    model = Transformer(small_shape(weight_dtype="float16")).init_weights(0)
    with torch.no_grad():
        model.state_dict()["model.norm.weight"][3] = largest
    save_model(model, language.tokenizer, tmp_path)
    assert types(tmp_path) == {stored}
    assert load_model(tmp_path)[0].state_dict()["model.norm.weight"][3] == largest
