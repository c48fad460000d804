"""Tokenizers of GGUF files: the ids equal those that transformers gives for the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import Tokenizer as Rules
from tokenizers import models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from model.data.checkpoint_check import check_model
from model.data.hf_checkpoint import load_model
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from tasks.data.base_models.base_model import base_folder
from tests.tasks.data.base_models import test_base_model
from tests.tasks.data.base_models.test_base_model import CHAT, write_gguf

TEXTS = [
    "The old sea captain told a story, and the children listened.", "It rained on the 12th of May, 1850.",
    "  two spaces,\ttabs\n\nand lines ", "naïve café, 日本語 and 🙂", "", " ", "x",
    "of the sea and the sea and the",
]  # fmt: skip
NAMED = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{number:02X}>" for number in range(256)]


def pieces() -> list[str]:
    """Return the pieces of a small SentencePiece vocabulary, the best first."""
    rules = Rules(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    rules.train_from_iterator(TEXTS * 20, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    vocabulary = rules.get_vocab()
    return [piece for piece in sorted(vocabulary, key=vocabulary.__getitem__) if piece not in BYTES]


def sentencepiece(**changes: Any) -> Any:
    """Return a function that writes such a vocabulary, with some settings changed."""

    def write(writer: gguf.GGUFWriter, *_: Any) -> None:
        own = pieces()
        tokens = [*NAMED, *BYTES, *own, "<|user|>", "<think>"]
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        # Merged pieces have their rank as the score; letters come last, as SentencePiece writes them.
        writer.add_token_scores([0.0] * 259 + [float(-number) for number in range(len(own))] + [0.0, 0.0])
        writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(own) + [3, 4])
        writer.add_unk_token_id(0)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_chat_template(changes.get("template", CHAT.replace("<|end|>", "</s>")))
        for name, value in changes.items():
            if name != "template":
                getattr(writer, name)(value)

    return write


def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[Tokenizer, Any, Path]:
    size = 259 + len(pieces()) + 2
    monkeypatch.setattr(test_base_model, "write_tokenizer", sentencepiece(**changes))
    monkeypatch.setattr(test_base_model, "VOCABULARY", size)
    write_gguf(tmp_path / "small.gguf", "llama", gguf.GGMLQuantizationType.F32)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="small.gguf")
    folder = base_folder("small.gguf", tmp_path)
    check_model(folder)
    return load_model(folder)[1], theirs, folder


def test_write_tokenizer_of_sentencepiece_equals_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, folder = convert(tmp_path, monkeypatch)
    rules = Rules.from_file(str(folder / "tokenizer.json"))
    for text in [*TEXTS, "a <think> b", "<|user|>hi</s>", "日本語 🙂 ß"]:
        assert rules.encode(text).ids == theirs(text)["input_ids"]
        assert rules.decode(rules.encode(text).ids) == theirs.decode(
            theirs(text)["input_ids"], skip_special_tokens=True
        )
    again = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert again(text)["input_ids"] == theirs(text)["input_ids"]
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
        # As in transformers, a space at the beginning is taken for the one that is put before a text.
        assert ours.decode(ours.encode(text)).lstrip(" ") == text.lstrip(" ")
        if text.strip():
            turns = [{"role": "user", "content": text}]
            asked = theirs.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)[
                "input_ids"
            ]
            assert ours.encode_prompt(text) == asked
    assert ours.begin == [1] and ours.end == 2
    assert any(number > 258 for number in ours.encode(TEXTS[0])) and max(ours.encode("🙂")) <= 400


@pytest.mark.parametrize("text", ["<s>", "</s> x", "a<unk>b", "<0x41>", "<|user|>"])
def test_write_tokenizer_of_sentencepiece_keeps_spelled_special_tokens_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    ours, _, _ = convert(tmp_path, monkeypatch)
    ids = ours.encode(text)
    assert ours.decode(ids) == text and not {0, 1, 2, ours.rules.token_to_id("<|user|>")} & set(ids)
    assert len(b"".join(map(ours.piece_bytes, ids))) in (len(text), len(text) + 1)


@pytest.mark.parametrize(("prefix", "begin"), [(False, True), (True, False), (False, False)])
def test_write_tokenizer_of_sentencepiece_follows_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: bool, begin: bool
) -> None:
    ours, _, folder = convert(tmp_path, monkeypatch, add_add_space_prefix=prefix, add_add_bos_token=begin)
    rules = Rules.from_file(str(folder / "tokenizer.json"))
    ids = rules.encode("the sea").ids
    assert (ids[0] == 1) == begin and ours.begin == ([1] if begin else [])
    assert rules.id_to_token(ids[begin]).startswith("\u2581") == prefix
    assert rules.decode(ids) == "the sea"
    assert rules.decode(rules.encode(" the").ids) == ("the" if prefix else " the")


@pytest.mark.parametrize("begin", [True, False])
def test_write_tokenizer_of_byte_level_follows_begin_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: bool
) -> None:
    write = test_base_model.write_tokenizer

    def flagged(writer: gguf.GGUFWriter, rules: Rules, split: str) -> None:
        write(writer, rules, split)
        writer.add_bos_token_id(rules.token_to_id("<|user|>"))
        writer.add_add_bos_token(begin)

    monkeypatch.setattr(test_base_model, "write_tokenizer", flagged)
    write_gguf(tmp_path / "small.gguf", "llama", gguf.GGMLQuantizationType.F32, "llama-bpe")
    ours = load_model(base_folder("small.gguf", tmp_path))[1]
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="small.gguf")
    assert (ours.begin == [theirs.bos_token_id]) == begin
    assert ours.encode_opening("the film") == theirs("the film")["input_ids"]


@pytest.mark.parametrize("kind", ["bert", "t5", "rwkv"])
def test_write_tokenizer_of_other_kind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(test_base_model, "write_tokenizer", sentencepiece())
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_tokenizer_model", lambda self, _: self.add_string("tokenizer.ggml.model", kind)
    )
    write_gguf(tmp_path / "small.gguf", "llama", gguf.GGMLQuantizationType.F32)
    with pytest.raises(UserError, match=f"has the tokenizer '{kind}'"):
        base_folder("small.gguf", tmp_path)
