"""Test an imported base model: its tokenizer, its weights, and its content as a part of the key."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from model.data.tokenizer import Tokenizer
from model.errors import UserError
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.pretrain import BaseParameters, pretrain
from tasks.tokenizer import TokenizerParameters, tokenizer
from tests.model.conftest import Language, language

__all__ = ["language"]
SPLITS = ("train", "valid", "test")


def quiet(event: dict[str, object]) -> None:
    pass


@pytest.fixture
def split(tmp_path: Path) -> Path:
    folder = tmp_path / "split"
    for name in SPLITS:
        for kind in ("text", "pairs"):
            (folder / name / kind).mkdir(parents=True)
        rows = [
            {"id": f"{i}", "text": f"the {name} film number {i} is good", "source": "x", "group": ""}
            for i in range(40)
        ]
        (folder / name / "text" / "00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / name / "pairs" / "00000.jsonl").write_text("")
    return folder


def test_tokenizer_tokens_of_each_split_are_its_text(tmp_path: Path, split: Path) -> None:
    out = tmp_path / "tokens"
    out.mkdir()
    figures = tokenizer(TokenizerParameters(280), split=split, out=out, on_event=quiet, root=tmp_path)
    encoder, described = Tokenizer.load(out), json.loads((out / "tokens.json").read_text())
    assert figures["vocabulary"] == encoder.vocabulary == 280
    for name in SPLITS:
        ids = np.fromfile(out / f"{name}.bin", dtype=described["dtype"])
        assert len(ids) == described[name]["tokens"] and described[name]["documents"] == 40
        documents = encoder.decode(ids.tolist()).count(f"the {name} film number")
        assert (ids == encoder.end).sum() == documents == 40


def test_tokenizer_unfillable_vocabulary_is_refused(tmp_path: Path, split: Path) -> None:
    with pytest.raises(UserError, match="vocabulary"):
        tokenizer(TokenizerParameters(4000), split=split, out=tmp_path, on_event=quiet, root=tmp_path)


def test_pretrain_base_model_keeps_tokenizer_and_weights(
    tmp_path: Path, split: Path, language: Language
) -> None:
    language.model(tmp_path / "base")
    tokens, out = tmp_path / "tokens", tmp_path / "out"
    tokens.mkdir(), out.mkdir()
    asked = TokenizerParameters(base="base")
    assert tokenizer(asked, split=split, out=tokens, on_event=quiet, root=tmp_path)["vocabulary"] == 300
    figures = pretrain(
        BaseParameters(base="base"), tokenizer=tokens, out=out, on_event=quiet, root=tmp_path, seed=1,
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
        return pretrain.key(BaseParameters(base="base"), inputs, StageContext(tmp_path))

    before = key()
    content = (tmp_path / "base" / file).read_bytes()
    (tmp_path / "base" / file).write_bytes(content + b" ")
    assert key() != before


def test_stage_key_missing_base_is_refused(tmp_path: Path) -> None:
    context = StageContext(tmp_path)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        tokenizer.key(replace(TokenizerParameters(), base="nowhere"), {}, context)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        pretrain.key(BaseParameters(base="nowhere"), {}, context)
