"""Open models in place of pretraining: the context, the learning rate, and what is measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from model.data.hf_checkpoint import load_model
from model.data.hf_config import load_architecture
from model.events import Event
from model.training.base_model import adopt_base
from model.training.optimizer_config import OptimizerParameters
from model.training.pretrain_config import PretrainParameters
from tests.model.conftest import CONTEXT, DEVICE, Language, small_shape


def adopt(
    language: Language, folder: Path, context_length: int, tokens: Path
) -> tuple[dict[str, float], str]:
    said: list[Event] = []
    metrics = adopt_base(
        asdict(PretrainParameters()), str(language.model(folder / "base")), str(tokens), context_length,
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
