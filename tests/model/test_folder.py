"""Model folders: what is broken in one is said in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from model.errors import UserError
from model.folder import load_architecture, load_model, save_model
from model.tokenizer import Tokenizer
from model.transformer import Architecture, Transformer
from tests.model.conftest import Language


@pytest.fixture
def folder(language: Language, tmp_path: Path) -> Path:
    return language.model(tmp_path / "model")


def test_saved_and_loaded_are_the_same_bits(folder: Path, language: Language, tmp_path: Path) -> None:
    model, tokenizer = load_model(folder)
    save_model(model, tokenizer, tmp_path / "again")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert load_architecture(folder) == model.architecture


def test_a_truncated_file_is_said_to_be_so(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors is not whole"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model_type", "gpt2", "must be llama"),
        ("rope_parameters", {"rope_type": "llama3", "rope_theta": 1e4}, "rope_type"),
        ("hidden_act", "gelu", "silu"),
        ("attention_bias", True, "biases"),
        ("head_dim", 7, "head_dim"),
        ("intermediate_size", 64, "do not fit"),
    ],
)
def test_what_is_not_supported_is_named(folder: Path, key: str, value: Any, said: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=said):
        load_model(folder)


def test_shards_outside_the_folder_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    index = {"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="not a file of this folder"):
        load_model(folder)


def test_a_foreign_tokenizer_gets_the_chats_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Rules
    from tokenizers import decoders, models, pre_tokenizers, trainers

    rules = Rules(models.BPE(unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    rules.decoder = decoders.Metaspace()
    rules.train_from_iterator(
        ["one two three four"] * 9, trainers.BpeTrainer(vocab_size=40, special_tokens=["<unk>"])
    )
    own = rules.get_vocab_size()
    tokenizer = Tokenizer(rules)
    save_model(
        Transformer(Architecture(vocabulary=own, width=32, layers=1)).initialise(0), tokenizer, tmp_path
    )
    model, tokenizer = load_model(tmp_path)
    assert tokenizer.vocabulary == own + 3
    table = model.model.embed_tokens.weight
    torch.testing.assert_close(table[tokenizer.end], table[:own].mean(0))
    assert tokenizer.decode(tokenizer.encode("two three")).strip() == "two three"
