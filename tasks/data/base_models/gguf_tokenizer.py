"""The tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json, byte-level or SentencePiece.

A SentencePiece vocabulary has scores in place of merges (Kudo & Richardson, 2018, arXiv:1808.06226).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from model.errors import UserError

_WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How a text is split into words, by the name of the tokenizer in the file.
_SPLITS = {"llama-bpe": _WORD + r"\p{N}{1,3}" + _REST, "qwen2": _WORD + r"\p{N}" + _REST}
_PLAIN = ("default", "gpt-2", "smollm")
_BYTE_LEVEL, _SENTENCEPIECE = "gpt2", "llama"
# Types of tokens in the file: pieces of text, special tokens, and ordinary ones that are added to the
# vocabulary. Others are the unknown token, unused ones and single bytes.
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
# SentencePiece writes a space as this letter.
_SPACE = "\u2581"
_NAMES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


def write_tokenizer(path: Path, fields: dict[str, Any], folder: Path) -> None:
    """Write the tokenizer of a GGUF file.

    Args:
        path: The GGUF file, for messages.
        fields: Its fields by name.
        folder: The folder to write to.

    Raises:
        UserError: The kind of tokenizer is not supported.
        KeyError: A field is missing.
    """
    kind, split = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.pre", "default")
    known = split in (*_PLAIN, *_SPLITS) if kind == _BYTE_LEVEL else kind == _SENTENCEPIECE
    if not known:
        raise UserError(
            f"{path} has the tokenizer {kind!r} with the rule {split!r}, which is not supported as GGUF; "
            "name the model's folder with tokenizer.json instead"
        )
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    named = {
        name: tokens[fields[key]]
        for short, name in _NAMES.items()
        if fields.get(key := f"tokenizer.ggml.{short}_token_id") is not None
    }
    if kind == _BYTE_LEVEL:
        rules = _byte_level_rules(fields, split)
    else:
        rules = _sentencepiece_rules(fields, named.get("unk_token"))
    for number, token in enumerate(tokens):
        if types[number] in (_CONTROL, _USER_DEFINED):
            special = types[number] == _CONTROL
            rules.add_tokens([AddedToken(token, special=special, normalized=False)])
    begin = named.get("bos_token")
    # llama.cpp begins a text with this token if a file with a SentencePiece vocabulary says nothing.
    if begin and fields.get("tokenizer.ggml.add_bos_token", kind == _SENTENCEPIECE):
        rules.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1",
            special_tokens=[(begin, rules.token_to_id(begin))],
        )  # fmt: skip
    rules.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **named,
    }
    if template := fields.get("tokenizer.chat_template"):
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


def _byte_level_rules(fields: dict[str, Any], split: str) -> Tokenizer:
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    rules = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    parts: list[Any] = []
    if split == "smollm":
        parts.append(pre_tokenizers.Digits(individual_digits=True))
    if split in _SPLITS:
        parts.append(pre_tokenizers.Split(Regex(_SPLITS[split]), "isolated"))
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in _PLAIN))
    rules.pre_tokenizer = pre_tokenizers.Sequence(parts)
    rules.decoder = decoders.ByteLevel()
    return rules


def _sentencepiece_rules(fields: dict[str, Any], unknown: str | None) -> Tokenizer:
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = derive_merges(tokens, types, fields["tokenizer.ggml.scores"])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    rules = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefixed = fields.get("tokenizer.ggml.add_space_prefix", True)
    rules.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=_SPACE, prepend_scheme="first" if prefixed else "never", split=False
    )
    parts: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefixed:
        parts.append(decoders.Strip(" ", 1, 0))
    rules.decoder = decoders.Sequence(parts)
    return rules


def derive_merges(
    tokens: Sequence[str], types: Sequence[int], scores: Sequence[float]
) -> list[tuple[str, str]]:
    """Return the merges of a SentencePiece vocabulary: the pairs that make a piece, the best score first.

    Args:
        tokens: The tokens by number.
        types: Their types in the file.
        scores: Their scores.
    """
    # Special tokens, and those of bytes, are no result of a merge: a text that spells one stays a text.
    pieces = {
        token: number for number, token in enumerate(tokens) if types[number] in (_NORMAL, _USER_DEFINED)
    }
    found: list[tuple[float, str, str]] = []
    for piece, number in pieces.items():
        halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        pairs = [(left, right) for left, right in halves if left in pieces and right in pieces]
        pairs.sort(key=lambda pair: (pieces[pair[0]], pieces[pair[1]]))
        found += [(scores[number], left, right) for left, right in pairs]
    # Equal ones keep the order of the vocabulary, as in transformers.
    found.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [(left, right) for _, left, right in found]
