"""Open models in place of pretraining: the context, the learning rate, and what is measured."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from model.data.hf_checkpoint import copy_model, load_model
from model.data.hf_config import load_architecture
from model.data.weights_header import weight_files
from model.events import Event
from model.training.base_model import adopt_base
from model.training.optimizer_config import OptimizerParameters
from model.training.pretrain_config import PretrainParameters
from tests.model.conftest import CONTEXT, DEVICE, Language, small_shape


def adopt(
    language: Language, folder: Path, context_length: int, tokens: Path, base: Path | None = None
) -> tuple[dict[str, float], str]:
    said: list[Event] = []
    base = base or language.model(folder / "base")
    metrics = adopt_base(
        asdict(PretrainParameters()), str(base), str(tokens), context_length,
        str(folder / "out"), 0, DEVICE, said.append,
    )  # fmt: skip
    return metrics, " ".join(getattr(event, "text", "") for event in said)


@pytest.mark.parametrize(("wanted", "found"), [(0, CONTEXT), (16, 16), (CONTEXT, CONTEXT), (4096, CONTEXT)])
def test_adopt_base_caps_context_and_keeps_that_of_export(
    language: Language, tmp_path: Path, wanted: int, found: int
) -> None:
    metrics, said = adopt(language, tmp_path, wanted, language.tokens)
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    model, _ = load_model(tmp_path / "out" / "model")
    assert metrics["context_length"] == model.architecture.context_length == len(model.cosines) == found
    assert config["max_position_embeddings"] == CONTEXT and config["open_model"] is True
    assert ("of the base model's 48 tokens" in said) == (found < CONTEXT)
    assert metrics["bits_per_byte"] > 1 and metrics["parameters"] == model.architecture.num_parameters


@pytest.mark.parametrize("size", [0, 10, 2 * CONTEXT])
def test_adopt_base_measures_no_text_that_is_shorter_than_context(
    language: Language, tmp_path: Path, size: int
) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "tokens.json").write_bytes((language.tokens / "tokens.json").read_bytes())
    # Two bytes a token.
    (tokens / "valid.bin").write_bytes((language.tokens / "valid.bin").read_bytes()[:size])
    metrics, said = adopt(language, tmp_path, 0, tokens)
    assert "bits_per_byte" not in metrics and "does not fill a context" in said


def test_for_model_open_model_gets_lower_rate(tmp_path: Path, language: Language) -> None:
    own = OptimizerParameters().for_model(small_shape())
    wide = [
        OptimizerParameters().for_model(small_shape(hidden_size=width, open_model=True)).learning_rate
        for width in (576, 2048, 4096)
    ]
    assert own.learning_rate == 3e-3 and wide == [1.4e-4, 3.9e-5, 2e-5]
    given = OptimizerParameters(learning_rate=0.5)
    assert given.for_model(small_shape(open_model=True)) == given
    adopt(language, tmp_path, 0, language.tokens)
    assert load_architecture(tmp_path / "out" / "model").open_model


def store(folder: Path, dtype: torch.dtype, shards: int) -> dict[str, torch.Tensor]:
    """Store a model folder's weights in a type and a number of files, as open models come."""
    state = {name: value.to(dtype) for name, value in load_file(folder / "model.safetensors").items()}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": str(dtype).split(".")[1]}))
    (folder / "model.safetensors").unlink()
    names = [f"model-{number % shards + 1:05}-of-{shards:05}.safetensors" for number in range(len(state))]
    for name in set(names):
        chosen = {key: state[key] for key, file in zip(state, names, strict=True) if file == name}
        save_file(chosen, folder / name, {"format": "pt"})
    index = {"metadata": {}, "weight_map": dict(zip(state, names, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return state


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in weight_files(folder) for name, value in load_file(path).items()}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_adopt_base_links_weights_of_any_type(
    language: Language, tmp_path: Path, dtype: torch.dtype, shards: int
) -> None:
    base = language.model(tmp_path / "base")
    state = store(base, dtype, shards)
    adopt(language, tmp_path, 0, language.tokens, base)
    out = tmp_path / "out" / "model"
    assert {path.name for path in weight_files(out)} == {path.name for path in weight_files(base)}
    for path in weight_files(base):
        assert path.samefile(out / path.name)
    found = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert found.dtype == dtype
    assert all(torch.equal(found.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_adopt_base_writes_grown_tables_in_own_type(
    language: Language, tmp_path: Path, dtype: torch.dtype
) -> None:
    base = language.model(tmp_path / "base")
    # Without the chat's tokens, so that they are added and the tables grow.
    rules = json.loads((base / "tokenizer.json").read_text())
    dropped = {token["id"] for token in rules["added_tokens"]}
    least = min(dropped)
    rules["added_tokens"] = []
    words = sorted(
        ((word, number) for word, number in rules["model"]["vocab"].items() if number not in dropped),
        key=lambda entry: entry[1],
    )
    rules["model"]["vocab"] = {word: number - len(dropped) for word, number in words}
    assert least == 0
    (base / "tokenizer.json").write_text(json.dumps(rules))
    (base / "tokenizer_config.json").unlink()
    state = store(base, dtype, 3)
    adopt(language, tmp_path, 0, language.tokens, base)
    out = tmp_path / "out" / "model"
    table, found = "model.embed_tokens.weight", stored(out)
    holder = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"][table]
    for path in weight_files(base):
        assert path.samefile(out / path.name) == (path.name != holder)
    assert {value.dtype for value in found.values()} == {dtype}
    assert torch.equal(found[table][:297], state[table][:297])
    assert torch.equal(found[table][297], state[table][:297].float().mean(0).to(dtype))
    assert all(torch.equal(found[name], state[name]) for name in state if name != table)
    # What was written is what the trainings read: nothing is added once more.
    model, tokenizer = load_model(out)
    assert not tokenizer.added and model.architecture == load_architecture(out)


def test_adopt_base_copies_weights_where_links_are_impossible(language: Language, tmp_path: Path) -> None:
    base = language.model(tmp_path / "base")
    other = Path(tempfile.mkdtemp(dir="/dev/shm"))
    if other.stat().st_dev == base.stat().st_dev:
        pytest.skip("no second file system")
    try:
        copy_model(base, *load_model(base), other / "model")
        assert stored(other / "model").keys() == stored(base).keys()
        assert (other / "model" / "model.safetensors").read_bytes() == (
            base / "model.safetensors"
        ).read_bytes()
    finally:
        shutil.rmtree(other)


def test_adopt_base_resumes_over_remains_of_killed_attempt(language: Language, tmp_path: Path) -> None:
    base = language.model(tmp_path / "base")
    state = store(base, torch.bfloat16, 1)
    part = tmp_path / "out" / "model" / f"{weight_files(base)[0].name}.part"
    part.parent.mkdir(parents=True)
    os.link(weight_files(base)[0], part)
    adopt(language, tmp_path, 0, language.tokens, base)
    assert all(torch.equal(stored(base)[name], value) for name, value in state.items())
    assert not part.exists()
