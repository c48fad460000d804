"""Low-rank adapters: the same numbers as the library PEFT, one active at a time, no copy of the weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from model.data.hf_checkpoint import load_model
from model.inference.generate import generate_tokens
from model.nn.adapter_view import AdapterView
from model.nn.lora import active_adapter, adapted_layers, attach_adapter, effective_weight
from model.nn.losses import linear_next_token_loss, next_token_loss
from model.nn.model_config import ModelConfig
from model.nn.transformer import KVCache, Transformer
from tests.model.conftest import Language, small_shape

EVERY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGETS = [EVERY, ("q_proj", "v_proj"), ("k_proj", "down_proj"), ("gate_proj",)]


def adapted_model(targets: tuple[str, ...] = EVERY, **shape: Any) -> Transformer:
    """Return a random model with an adapter, of which no matrix is zero."""
    model = Transformer(small_shape(**shape)).init_weights(3)
    attach_adapter(model, "first", 4, 6.0, targets, seed=1)
    randomise(model)
    return model.eval()


def randomise(model: Transformer) -> None:
    torch.manual_seed(5)
    for _, layer in adapted_layers(model):
        assert layer.adapter is not None
        torch.nn.init.normal_(layer.adapter.lora_B.weight, std=0.2)


def random_tokens(rows: int = 3, length: int = 20) -> torch.Tensor:
    return torch.randint(300, (rows, length), generator=torch.Generator().manual_seed(1))


def test_attach_adapter_new_one_changes_nothing_and_freezes_model() -> None:
    model = Transformer(small_shape()).init_weights(3)
    x = random_tokens()
    before = model(x)
    attach_adapter(model, "first", 4, 8.0, EVERY, seed=1)
    torch.testing.assert_close(model(x), before, atol=0, rtol=0)
    learned = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(learned) == 2 * len(EVERY) * 2 and all(".adapters.first.lora_" in name for name in learned)


@pytest.mark.parametrize("targets", TARGETS)
def test_adapter_logits_and_gradients_equal_peft(
    language: Language, tmp_path: Any, targets: tuple[str, ...]
) -> None:
    language.model(tmp_path)
    ours, _ = load_model(tmp_path)
    theirs = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager"),
        LoraConfig(r=4, lora_alpha=6, target_modules=list(targets)),
    )
    attach_adapter(ours, "first", 4, 6.0, targets, seed=1)
    randomise(ours)
    parameters = dict(theirs.named_parameters())

    def of_peft(name: str, matrix: str) -> torch.Tensor:
        found: torch.Tensor = parameters[f"base_model.model.{name}.{matrix}.default.weight"]
        return found

    for name, layer in adapted_layers(ours):
        assert layer.adapter is not None
        with torch.no_grad():
            of_peft(name, "lora_A").copy_(layer.adapter.lora_A.weight)
            of_peft(name, "lora_B").copy_(layer.adapter.lora_B.weight)
    x = random_tokens()
    y = x.roll(1, 0)
    wanted = theirs(x).logits
    torch.testing.assert_close(ours.compute_logits(ours(x)), wanted, atol=1e-4, rtol=0)
    linear_next_token_loss(ours(x).flatten(0, 1), ours.output_weight, y.flatten()).backward()
    next_token_loss(wanted.flatten(0, 1), y.flatten()).backward()
    for name, layer in adapted_layers(ours):
        assert layer.adapter is not None and layer.weight.grad is None
        for matrix in ("lora_A", "lora_B"):
            found = layer.adapter.get_parameter(f"{matrix}.weight").grad
            torch.testing.assert_close(found, of_peft(name, matrix).grad, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("shape", [{}, {"num_kv_heads": 1}, {"qkv_bias": True}, {"qk_norm": "head"}])
def test_generate_tokens_with_adapter_equal_model_with_merged_weights(
    targets: tuple[str, ...], shape: dict[str, Any]
) -> None:
    model = adapted_model(targets, **shape)
    merged = Transformer(small_shape(**shape)).eval()
    state = {name: value for name, value in model.state_dict().items() if ".adapters." not in name}
    for name, layer in adapted_layers(model):
        state[f"{name}.weight"] = effective_weight(layer)
    merged.load_state_dict(state)
    prompts = [row[: 5 + 3 * i] for i, row in enumerate(random_tokens().tolist())]
    found, wanted = (generate_tokens(each, prompts, 12, end=0, seed=2) for each in (model, merged))
    assert torch.equal(found.tokens, wanted.tokens)
    torch.testing.assert_close(found.logprobs, wanted.logprobs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("targets", TARGETS)
def test_generate_tokens_without_copies_of_weights_equal_those_with(
    targets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted_model(targets, qkv_bias=True)
    prompts = [row[: 5 + 3 * i] for i, row in enumerate(random_tokens().tolist())]
    wanted = generate_tokens(model, prompts, 12, end=0, seed=2)
    # As on a GPU.
    monkeypatch.setattr("model.nn.transformer._joins_weights", lambda model: False)
    found = generate_tokens(model, prompts, 12, end=0, seed=2)
    assert not KVCache(model, 1, 4).attention
    assert torch.equal(found.tokens, wanted.tokens)
    torch.testing.assert_close(found.logprobs, wanted.logprobs, atol=1e-4, rtol=0)


def test_adapter_view_shows_model_without_adapter_and_with_another() -> None:
    plain = Transformer(small_shape()).init_weights(3)
    x = random_tokens()
    bare = plain(x)
    attach_adapter(plain, "first", 4, 6.0, EVERY, seed=1)
    randomise(plain)
    first = plain(x)
    attach_adapter(plain, "second", 2, 2.0, ("q_proj",), seed=2)
    assert torch.equal(plain(x), bare) and not torch.equal(first, bare)
    assert torch.equal(AdapterView(plain, "first")(x), first)
    assert torch.equal(AdapterView(plain)(x), bare)
    with active_adapter(plain, "first"):
        assert torch.equal(plain(x), first)
    assert torch.equal(plain(x), bare)
    learned = [name for name, parameter in plain.named_parameters() if parameter.requires_grad]
    assert learned and all(".adapters.second." in name for name in learned)


@pytest.mark.parametrize("tied", [True, False])
def test_train_new_rows_learns_rows_of_added_tokens_only(tied: bool) -> None:
    shape = ModelConfig(**{**vars(small_shape(tie_embeddings=tied)), "new_tokens": (7, 250)})
    model = Transformer(shape).init_weights(3)
    x = random_tokens()
    before = model.compute_logits(model(x))
    attach_adapter(model, "first", 4, 6.0, EVERY, seed=1)
    model.train_new_rows()
    torch.testing.assert_close(model.compute_logits(model(x)), before, atol=0, rtol=0)
    x[0, 3] = 250
    linear_next_token_loss(model(x).flatten(0, 1), model.output_weight, x.roll(1, 0).flatten()).backward()
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    rows = {name for name in names if name.startswith("new_rows.")}
    assert rows == {"new_rows.embed_tokens.rows", *([] if tied else ["new_rows.lm_head.rows"])}
    for name in rows:
        gradient = model.get_parameter(name).grad
        assert gradient is not None and gradient.shape == (2, 32) and bool(gradient[1].abs().sum() > 0)
