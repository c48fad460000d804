"""The transformer, compared with transformers' Llama and with other layouts of the same rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.data.hf_checkpoint import load_model, save_model
from model.data.tokenizer import Tokenizer
from model.nn.losses import next_token_loss
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from tests.model.conftest import Language

SHAPES = {
    "tied": ModelConfig(vocab_size=300, num_layers=2, hidden_size=48, num_heads=4, context_length=32),
    "grouped": ModelConfig(
        vocab_size=300,
        num_layers=3,
        hidden_size=64,
        num_heads=8,
        num_kv_heads=2,
        context_length=32,
        tie_embeddings=False,
    ),
    "one key head": ModelConfig(
        vocab_size=300,
        num_layers=2,
        hidden_size=64,
        num_heads=4,
        num_kv_heads=1,
        intermediate_size=96,
        rope_theta=5e5,
        context_length=32,
    ),
}


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(300, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tokenizer(language: Language) -> Tokenizer:
    return language.tokenizer


@pytest.mark.parametrize("shape", SHAPES)
def test_compute_logits_equal_transformers_llama(shape: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    ours = Transformer(SHAPES[shape]).init_weights(1)
    save_model(ours, tokenizer, tmp_path)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    x = tokens(3, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.compute_logits(ours(x)), theirs(x).logits, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_load_model_reads_folder_of_transformers(shape: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    a = SHAPES[shape]
    torch.manual_seed(2)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=a.vocab_size, hidden_size=a.hidden_size, intermediate_size=a.intermediate_size,
            num_hidden_layers=a.num_layers, num_attention_heads=a.num_heads,
            num_key_value_heads=a.num_kv_heads,
            max_position_embeddings=a.context_length, rms_norm_eps=a.rms_norm_eps,
            tie_word_embeddings=a.tie_embeddings,
            rope_parameters={"rope_type": "default", "rope_theta": a.rope_theta},
        )
    ).eval()  # fmt: skip
    theirs.save_pretrained(tmp_path, max_shard_size="100KB")
    tokenizer.save(tmp_path)
    ours, _ = load_model(tmp_path)
    x = tokens(2, 20)
    with torch.no_grad():
        torch.testing.assert_close(ours.compute_logits(ours(x)), theirs(x).logits, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_equal_transformers_llama(dtype: torch.dtype, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Compare the hand-written derivatives of the norm and the rotation with autograd."""
    from transformers import LlamaForCausalLM

    ours = Transformer(SHAPES["grouped"]).init_weights(1)
    save_model(ours, tokenizer, tmp_path)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path)
    ours = ours.to(dtype)
    x, y = tokens(4, 32), tokens(4, 32, seed=1)
    next_token_loss(ours.compute_logits(ours(x)).flatten(0, 1), y.flatten()).backward()
    next_token_loss(theirs(x).logits.flatten(0, 1), y.flatten()).backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        reference = expected[name].grad
        error = (parameter.grad.float() - reference).norm() / reference.norm()
        assert error < (1e-4 if dtype == torch.float32 else 0.05), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_packed_documents_are_independent(dtype: torch.dtype) -> None:
    model = Transformer(SHAPES["grouped"]).init_weights(1).to(dtype)
    first, second = tokens(1, 12), tokens(1, 20, seed=1)
    documents = torch.tensor([[0] * 12 + [1] * 20])
    with torch.no_grad():
        packed = model(torch.cat([first, second], 1), documents=documents)
        alone = torch.cat([model(first), model(second)], 1)
        other = model(torch.cat([tokens(1, 12, seed=9), second], 1), documents=documents)
    # Rotary positions are relative, so the place of a document in the row does not matter.
    torch.testing.assert_close(packed, alone, atol=1e-5 if dtype == torch.float32 else 0.06, rtol=0.02)
    assert torch.equal(packed[:, 12:], other[:, 12:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_right_padding_changes_nothing(dtype: torch.dtype) -> None:
    model = Transformer(SHAPES["tied"]).init_weights(1).to(dtype)
    x = tokens(2, 20)
    padded = torch.cat([x[:1, :12], torch.zeros(1, 8, dtype=torch.int64)], 1)
    with torch.no_grad():
        whole, short = model(torch.cat([padded, x[1:]])), model(x[:1, :12])
    torch.testing.assert_close(
        whole[:1, :12], short, atol=1e-5 if dtype == torch.float32 else 0.05, rtol=0.02
    )


def test_init_weights_depend_only_on_seed() -> None:
    one, same, other = (Transformer(SHAPES["tied"]).init_weights(seed) for seed in (1, 1, 2))
    name = "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(one.state_dict()[name], same.state_dict()[name])
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize("shape", SHAPES)
def test_num_parameters_equals_weight_count(shape: str) -> None:
    model = Transformer(SHAPES[shape])
    assert SHAPES[shape].num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("num_heads", {"hidden_size": 100, "num_heads": 3}),
        ("num_kv_heads", {"num_heads": 4, "num_kv_heads": 3}),
        ("num_layers", {"num_layers": 0}),
    ],
)
def test_model_config_impossible_shape_is_refused_by_name(key: str, values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=key):
        ModelConfig(vocab_size=300, **values)


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_off_the_cpu_shares_keys_without_copies(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(*_: object) -> None:
        raise AssertionError("keys are copied for each head")

    monkeypatch.setattr(torch.Tensor, "repeat_interleave", copied)
    # The meta device takes the way of a GPU and computes nothing.
    with torch.device("meta"):
        hidden = Transformer(SHAPES[shape])(torch.zeros(2, 32, dtype=torch.int64))
    assert hidden.shape == (2, 32, SHAPES[shape].hidden_size)
