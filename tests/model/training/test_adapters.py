"""Trainings with low-rank adapters: they learn, resume, share one copy of the weights, and fit PEFT."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from model.data.hf_checkpoint import load_model
from model.data.peft_adapter import SavedAdapter, load_adapter, save_adapter
from model.errors import UserError
from model.events import EventCallback
from model.training import ppo
from model.training.adapters import same_weights
from model.training.reward import load_reward, shares_backbone
from tests.model.conftest import Killed, Language
from tests.model.training.test_training_tasks import curve, digest, quiet, stage

ADAPTED = {"lora": {"rank": 4}}
FASTER = {"optimizer": {"learning_rate": 0.02}}


def chain_settings(adapted: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings of each stage after the base, all with the same adapters."""
    return {
        "sft": {**adapted, **FASTER},
        "reward": {**adapted, **FASTER},
        "rlhf": adapted,
        "dpo": {**adapted, "optimizer": {"learning_rate": 0.01}, "max_loss_increase": 9.0},
    }


def train_chain(language: Language, root: Path, settings: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """Train a base with all weights, and each later stage with adapters; return the folders."""
    folders = {name: root / name for name in ("pretrain", *settings)}
    for name, folder in folders.items():
        stage(name, language, folders, **settings.get(name, {}))(folder, quiet)
    return folders


SETTINGS = chain_settings(ADAPTED)


@pytest.fixture(scope="module")
def chain(language: Language, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return train_chain(language, tmp_path_factory.mktemp("adapted"), SETTINGS)


def logits_of_peft(base: Path, adapter: Path, tokens: torch.Tensor) -> torch.Tensor:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    with torch.no_grad():
        logits: torch.Tensor = model(tokens).logits
    return logits


def logits_of(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    model, _ = load_model(folder)
    with torch.no_grad():
        return model.compute_logits(model(tokens))


def random_tokens() -> torch.Tensor:
    return torch.randint(300, (3, 20), generator=torch.Generator().manual_seed(1))


def test_training_with_adapter_learns(chain: dict[str, Path]) -> None:
    losses = curve(chain["sft"], "valid_loss")
    assert losses[-1] < 0.6 * losses[0]
    assert curve(chain["reward"], "pair_accuracy")[-1] > 0.95
    assert curve(chain["dpo"], "valid_accuracy")[-1] > 0.9
    assert curve(chain["rlhf"], "valid_score")[-1] > curve(chain["rlhf"], "valid_score")[0]


@pytest.mark.parametrize("name", ["sft", "dpo", "rlhf"])
def test_adapter_of_each_stage_equals_its_model_on_base(chain: dict[str, Path], name: str) -> None:
    x = random_tokens()
    found = logits_of_peft(chain["pretrain"] / "model", chain[name] / "adapter", x)
    torch.testing.assert_close(found, logits_of(chain[name] / "model", x), atol=1e-4, rtol=0)
    assert (found - logits_of(chain["pretrain"] / "model", x)).abs().max() > 0.1


def test_reward_adapter_scores_as_peft(chain: dict[str, Path]) -> None:
    reward, x = load_reward(chain["reward"], "cpu"), random_tokens()
    body = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(chain["sft"] / "model"), chain["reward"] / "adapter"
    ).eval()
    with torch.no_grad():
        hidden = body(x, output_hidden_states=True).hidden_states[-1][:, -1]
        wanted = (reward.head(hidden).squeeze(-1) - reward.mean) / reward.deviation
    torch.testing.assert_close(reward.score_rows(x.tolist()), wanted, atol=1e-4, rtol=1e-4)


def test_reward_model_shares_files_and_weights_with_assistant(chain: dict[str, Path]) -> None:
    files = [chain[name] / "model" / "model.safetensors" for name in ("sft", "reward")]
    assert files[0].samefile(files[1])
    assert shares_backbone(chain["reward"], chain["sft"] / "model")
    assert not shares_backbone(chain["reward"], chain["dpo"] / "model")
    assistant, _ = load_model(chain["sft"] / "model")
    x, alone = random_tokens(), load_reward(chain["reward"], "cpu")
    before = assistant(x)
    shared = load_reward(chain["reward"], "cpu", body=assistant)
    assert torch.equal(shared.score_rows(x.tolist()), alone.score_rows(x.tolist()))
    assert sum(p.numel() for p in shared.body.parameters()) == sum(p.numel() for p in assistant.parameters())
    assert not torch.equal(assistant(x), before) and shared.body.body is assistant


def check_adapter_resumes(
    train: Callable[[Path, EventCallback], object], folder: Path, killed: EventCallback
) -> None:
    """Kill a training, look at what its checkpoints hold, and let it end."""
    with pytest.raises(Killed):
        train(folder, killed)
    [*checkpoints] = (folder / "checkpoints").glob("*.pt")
    # The adapter alone, with the optimizer's moments and the best step's copy.
    assert checkpoints and max(path.stat().st_size for path in checkpoints) < 400_000
    train(folder, quiet)


@pytest.mark.parametrize("name", ["sft", "reward", "rlhf", "dpo"])
def test_training_with_adapter_killed_and_resumed_ends_in_same_bits(
    name: str,
    language: Language,
    chain: dict[str, Path],
    tmp_path: Path,
    killed_at: Callable[[int], EventCallback],
) -> None:
    train = stage(name, language, chain, **SETTINGS[name])
    check_adapter_resumes(train, tmp_path / name, killed_at(4))
    assert digest(tmp_path / name) == digest(chain[name])


@pytest.mark.parametrize(("reward_rank", "policy_rank"), [(0, 4), (4, 0), (2, 8)])
def test_train_ppo_with_and_without_adapters_mixed(
    language: Language, chain: dict[str, Path], tmp_path: Path, reward_rank: int, policy_rank: int
) -> None:
    made = {**chain, "reward": tmp_path / "reward"}
    stage("reward", language, made, lora={"rank": reward_rank}, steps=4)(made["reward"], quiet)
    assert (made["reward"] / "adapter").is_dir() is bool(reward_rank)
    metrics = stage("rlhf", language, made, lora={"rank": policy_rank}, steps=2)(tmp_path / "rlhf", quiet)
    assert metrics["steps"] == 2
    # The policy that answers is the policy that learns, but for rounding in bfloat16.
    assert curve(tmp_path / "rlhf", "first_ratio_off")[0] < ppo.RATIO_NOISE_BFLOAT16
    assert (tmp_path / "rlhf" / "adapter").is_dir() is bool(policy_rank)


def test_train_sft_learns_rows_of_tokens_that_base_lacks(language: Language, tmp_path: Path) -> None:
    base = language.model(tmp_path / "pretrain" / "model")
    config = json.loads((base / "config.json").read_text())
    # As `load_model` writes the tokens that it adds to an open model.
    (base / "config.json").write_text(json.dumps({**config, "open_model": True, "new_tokens": [260, 299]}))
    made = {"pretrain": base.parent}
    stage("sft", language, made, **SETTINGS["sft"])(tmp_path / "sft", quiet)
    adapter = load_adapter(tmp_path / "sft" / "adapter")
    assert adapter.new_tokens == (260, 299) and list(adapter.rows) == ["embed_tokens"]
    before, after = (
        load_model(folder)[0].model.embed_tokens.weight for folder in (base, tmp_path / "sft" / "model")
    )
    changed = (before != after).any(1).nonzero().flatten().tolist()
    assert changed == [260, 299]
    x = random_tokens()
    x[0, 4] = 260
    found = logits_of_peft(base, tmp_path / "sft" / "adapter", x)
    torch.testing.assert_close(found, logits_of(tmp_path / "sft" / "model", x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("numbers", ["x", [1.5], [-1], [300], [True], {"a": 1}])
def test_load_model_wrong_new_tokens_are_refused(language: Language, tmp_path: Path, numbers: Any) -> None:
    folder = language.model(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "new_tokens": numbers}))
    with pytest.raises(UserError, match=r"config.json: new_tokens must be a list of token numbers"):
        load_model(folder)


def saved(folder: Path, rank: int, layers: tuple[str, ...], seed: int) -> SavedAdapter:
    random = torch.Generator().manual_seed(seed)
    matrices = {
        f"model.layers.{number}.{name}": (
            torch.randn(rank, 32, generator=random), torch.randn(32, rank, generator=random)
        )
        for number in range(2)
        for name in layers
    }  # fmt: skip
    adapter = SavedAdapter(rank, 3.0 * rank, matrices)
    save_adapter(adapter, folder)
    return adapter


@pytest.mark.parametrize(
    "layers",
    [
        (("self_attn.q_proj",), ("self_attn.q_proj",)),
        (("self_attn.q_proj", "self_attn.o_proj"), ("self_attn.v_proj",)),
        (("self_attn.k_proj",), ("self_attn.q_proj", "self_attn.k_proj")),
    ],
)
def test_stacked_on_adds_what_both_adapters_add(
    language: Language, tmp_path: Path, layers: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    first, second = (saved(tmp_path / str(i), 2 + i, layers[i], seed=i) for i in range(2))
    base = language.model(tmp_path / "model")
    one, both = load_model(base)[0], load_model(base)[0]
    second.stacked_on(load_adapter(tmp_path / "0")).merge_into(one)
    for adapter in (first, second):
        adapter.merge_into(both)
    for name, value in both.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value, atol=1e-4, rtol=1e-4)


def test_load_adapter_damaged_folder_is_one_sentence(tmp_path: Path) -> None:
    layers = ("self_attn.q_proj",)
    for number, (name, content) in enumerate(
        [
            ("adapter_config.json", b"{"), ("adapter_config.json", b"[]"), ("adapter_config.json", b"{}"),
            ("adapter_model.safetensors", b""), ("adapter_model.safetensors", b"\x08" + bytes(30)),
            ("adapter_model.safetensors", None), ("adapter_config.json", None),
        ]
    ):  # fmt: skip
        folder = tmp_path / str(number)
        saved(folder, 2, layers, seed=1)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(UserError, match=r"does not contain a complete adapter .* retrain it"):
            load_adapter(folder)


def test_same_weights_compares_bytes(language: Language, tmp_path: Path) -> None:
    base, other = language.model(tmp_path / "base"), language.model(tmp_path / "other", seed=1)
    again = language.model(tmp_path / "again")
    assert same_weights(base, base) and same_weights(base, again) and not same_weights(base, other)
