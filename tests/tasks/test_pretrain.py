"""Test the stage `pretrain` with an imported base model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from model.errors import UserError
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.pretrain import BaseParameters, pretrain
from tasks.tokenizer import TokenizerParameters, tokenizer
from tests.model.conftest import Language, language
from tests.tasks.event_sink import ignore_event
from tests.tasks.test_tokenizer import split

__all__ = ["language", "split"]


def test_pretrain_base_model_keeps_tokenizer_and_weights(
    tmp_path: Path, split: Path, language: Language
) -> None:
    language.model(tmp_path / "base")
    tokens, out = tmp_path / "tokens", tmp_path / "out"
    tokens.mkdir(), out.mkdir()
    asked = TokenizerParameters(base_model="base")
    assert (
        tokenizer(asked, split=split, out=tokens, on_event=ignore_event, root=tmp_path)["vocabulary"] == 300
    )
    figures = pretrain(
        BaseParameters(base_model="base"), tokenizer=tokens, out=out, on_event=ignore_event,
        root=tmp_path, seed=1,
        device="cpu", processes=1,
    )  # fmt: skip
    assert 1 < figures["bits_per_byte"] < 20
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "base", out / "model"))
    assert all((before[name] == after[name]).all() for name in before)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_pretrain_key_content_of_base_changes_it(tmp_path: Path, language: Language, file: str) -> None:
    language.model(tmp_path / "base")
    inputs = {"tokenizer": StageOutput("tokenizer", "k", "/p", "d", False, 1.0, {})}

    def key() -> str:
        return pretrain.key(BaseParameters(base_model="base"), inputs, StageContext(tmp_path))

    before = key()
    content = (tmp_path / "base" / file).read_bytes()
    (tmp_path / "base" / file).write_bytes(content + b" ")
    assert key() != before


@pytest.mark.parametrize(
    "file", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"]
)
def test_tokenizer_external_inputs_name_the_changed_file_of_base(
    tmp_path: Path, language: Language, file: str
) -> None:
    language.model(tmp_path / "base")
    path = tmp_path / "base" / file
    if not path.exists():
        path.write_text("{}")
    digests = tokenizer.declaration.external_inputs
    assert digests is not None
    asked = TokenizerParameters(base_model="base")
    before = digests(asked, tmp_path)
    path.write_bytes(path.read_bytes() + b" ")
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    after = digests(asked, tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == {f"base_model/{file}"}


def test_stage_key_missing_base_is_refused(tmp_path: Path) -> None:
    context = StageContext(tmp_path)
    with pytest.raises(UserError, match="nowhere is neither a model folder nor"):
        tokenizer.key(replace(TokenizerParameters(), base_model="nowhere"), {}, context)
    with pytest.raises(UserError, match="nowhere is neither a model folder nor"):
        pretrain.key(BaseParameters(base_model="nowhere"), {}, context)
