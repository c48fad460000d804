"""Weights read by rows are those of a loaded model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.data.hf_checkpoint import load_model, save_model
from model.data.stored_weights import StoredWeights
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.nn.fresh_weights import seeded_rows
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from tests.model.conftest import Language, small_shape


def split_files(folder: Path) -> None:
    """Divide the weights among two files."""
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    files = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
    for file, inside in files.items():
        save_file({name: state[name] for name in inside}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, inside in files.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def store_table_twice(folder: Path) -> None:
    """Store the table of a tied model as its output layer too."""
    state = load_file(folder / "model.safetensors")
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, folder / "model.safetensors")


def store_other_table(folder: Path) -> None:
    """Store another output layer, although config.json says that the tables are tied."""
    state = load_file(folder / "model.safetensors")
    state["lm_head.weight"] = state["model.embed_tokens.weight"] + 1
    save_file(state, folder / "model.safetensors")


def add_tokens(folder: Path) -> None:
    """Give the folder a tokenizer that lacks the chat's tokens."""
    from tokenizers import Tokenizer as Rules
    from tokenizers import models, pre_tokenizers, trainers

    rules = Rules(models.BPE(unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=40, special_tokens=["<unk>"])
    rules.train_from_iterator(["one two three four"] * 9, trainer)
    shape = ModelConfig(vocab_size=rules.get_vocab_size(), hidden_size=32, num_layers=2)
    save_model(Transformer(shape).init_weights(0), Tokenizer(rules), folder)


@pytest.mark.parametrize(
    "change", [lambda folder: None, split_files, store_table_twice, store_other_table, add_tokens]
)
def test_stored_weights_rows_are_those_of_load_model(
    change: object, language: Language, tmp_path: Path
) -> None:
    folder = language.model(tmp_path / "model")
    assert callable(change)
    change(folder)
    model, tokenizer = load_model(folder)
    stored = StoredWeights(folder)
    assert stored.architecture == model.architecture
    assert stored.tokenizer.vocab_size == tokenizer.vocab_size
    assert [name for name, _ in model.named_parameters()]
    for name, value in model.named_parameters():
        for rows in (slice(0, 3), slice(3, len(value)), slice(1, 1)):
            assert torch.equal(stored.read_rows(name, rows).float(), value[rows]), name


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.norm.weight"])
def test_stored_weights_not_finite_is_named(name: str, language: Language, tmp_path: Path) -> None:
    folder = language.model(tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    state[name].view(-1)[2] = float("nan")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(UserError, match=f"{name} has a weight that is not finite"):
        StoredWeights(folder).read_rows(name, slice(0, 8))


@pytest.mark.parametrize("tied", [True, False])
def test_seeded_rows_are_those_of_init_weights(tied: bool) -> None:
    shape = small_shape(tie_embeddings=tied)
    model = Transformer(shape).init_weights(4)
    read_rows = seeded_rows(shape, 4)
    for name, value in model.named_parameters():
        assert torch.equal(read_rows(name, slice(1, 9)), value[1:9]), name
