"""Model families: logits, gradients, generation and exports, compared with transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from model.data.hf_checkpoint import load_model, save_model
from model.data.hf_families import FAMILIES
from model.inference.generate import generate_tokens
from model.nn.losses import linear_next_token_loss, next_token_loss
from model.nn.transformer import Transformer
from tests.model.conftest import Language

LENGTH = 40
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16, "rope_theta": 5e5,
}  # fmt: skip
# Each changes what the one before it does not; a window is shorter than the rows.
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "llama 2": {"model_type": "llama"},
    "llama 3.1": {"model_type": "llama", "rope_parameters": LLAMA3, "num_key_value_heads": 2},
    "llama with linear positions": {
        "model_type": "llama", "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
    },
    "llama with biases and wide heads": {"model_type": "llama", "attention_bias": True, "head_dim": 24},
    "smollm2": {"model_type": "llama", "num_key_value_heads": 1, "tie_word_embeddings": True},
    "smollm3": {"model_type": "smollm3", "num_hidden_layers": 4, "num_key_value_heads": 2},
    "smollm3 with windows": {
        "model_type": "smollm3", "no_rope_layers": [1, 0, 0], "num_key_value_heads": 2,
        "use_sliding_window": True, "sliding_window": 9, "tie_word_embeddings": False,
    },
    "mistral": {"model_type": "mistral", "sliding_window": 7, "num_key_value_heads": 2, "head_dim": 24},
    "mistral without a window": {"model_type": "mistral", "sliding_window": None},
    "qwen 2.5": {"model_type": "qwen2", "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen 2 with windows": {
        "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1
    },
    "qwen 3": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 32},
    "qwen 3 with biases": {"model_type": "qwen3", "attention_bias": True, "head_dim": 8},
    "olmo 2": {"model_type": "olmo2", "num_key_value_heads": 2, "rms_norm_eps": 1e-6},
    "gemma 3": {
        "model_type": "gemma3_text", "num_hidden_layers": 7, "head_dim": 24, "sliding_window": 6,
        "query_pre_attn_scalar": 31, "num_key_value_heads": 2,
    },
    "gemma 3 with linear positions": {
        "model_type": "gemma3_text", "head_dim": 8, "sliding_window": 11, "num_key_value_heads": 1,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
}  # fmt: skip


@pytest.fixture(params=CHECKPOINTS)
def their_model(request: pytest.FixtureRequest, language: Language, tmp_path: Path) -> Any:
    """Save a small random model of transformers to `tmp_path`, in shards; return it."""
    shape = {
        "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 64,
        "bos_token_id": None, "eos_token_id": 0, "pad_token_id": None,
    }  # fmt: skip
    values = {**shape, **CHECKPOINTS[request.param]}
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(values.pop("model_type"), **values), attn_implementation="eager"
    ).eval()
    # Random gains and biases: their usual first values, 1 and 0, would hide a mistake.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    language.tokenizer.save(tmp_path)
    return model


def random_tokens(rows: int, length: int) -> torch.Tensor:
    return torch.randint(300, (rows, length), generator=torch.Generator().manual_seed(1))


def test_checkpoints_cover_each_family() -> None:
    assert {checkpoint["model_type"] for checkpoint in CHECKPOINTS.values()} == set(FAMILIES)


def test_compute_logits_equal_transformers(their_model: Any, tmp_path: Path) -> None:
    ours, _ = load_model(tmp_path)
    x = random_tokens(3, LENGTH)
    with torch.no_grad():
        wanted = their_model(x).logits
        torch.testing.assert_close(ours.compute_logits(ours(x)), wanted, atol=1e-4, rtol=0)


def test_save_model_is_read_by_transformers(their_model: Any, tmp_path: Path) -> None:
    ours, tokenizer = load_model(tmp_path)
    save_model(ours, tokenizer, tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
    x = random_tokens(2, LENGTH)
    with torch.no_grad():
        torch.testing.assert_close(again(x).logits, their_model(x).logits, atol=1e-4, rtol=0)
    assert type(again) is type(their_model)
    assert load_model(tmp_path / "again")[0].architecture == ours.architecture


def test_linear_next_token_loss_gradients_equal_transformers(their_model: Any, tmp_path: Path) -> None:
    ours, _ = load_model(tmp_path)
    x, y = random_tokens(4, LENGTH), random_tokens(4, LENGTH).roll(1, 0)
    linear_next_token_loss(ours(x).flatten(0, 1), ours.output_weight, y.flatten()).backward()
    next_token_loss(their_model(x).logits.flatten(0, 1), y.flatten()).backward()
    wanted = dict(their_model.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name].grad, atol=2e-3, rtol=1e-3)


def test_generate_tokens_equal_transformers(their_model: Any, tmp_path: Path) -> None:
    ours, _ = load_model(tmp_path)
    prompts = [row[: 12 + 3 * i] for i, row in enumerate(random_tokens(2, 15).tolist())]
    found = generate_tokens(ours, prompts, 20, end=0, temperature=0.0)
    for prompt, ids, length in zip(prompts, found.tokens.tolist(), found.lengths.tolist(), strict=True):
        wanted = their_model.generate(
            torch.tensor([prompt]), max_new_tokens=20, do_sample=False, pad_token_id=0, eos_token_id=0
        )
        assert ids[:length] == wanted[0, len(prompt) :].tolist()


def test_load_model_in_bfloat16_is_near_transformers(their_model: Any, tmp_path: Path) -> None:
    ours, _ = load_model(tmp_path, torch.bfloat16)
    x = random_tokens(2, LENGTH)
    with torch.no_grad():
        wanted = their_model(x).logits
        found = ours.compute_logits(ours(x)).float()
    assert (found - wanted).norm() / wanted.norm() < 0.05


def test_init_weights_of_each_family_start_near_uniform(their_model: Any, tmp_path: Path) -> None:
    architecture = load_model(tmp_path)[0].architecture
    model = Transformer(architecture).init_weights(5)
    x = random_tokens(2, LENGTH)
    with torch.no_grad():
        logprobs = model.compute_logits(model(x)).log_softmax(-1)
    assert logprobs.isfinite().all() and abs(logprobs.mean().item() + 5.7) < 1.0
