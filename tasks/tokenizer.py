"""The tokenizer: learned from the training split alone, then every split's text as one file of tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.launch import Report
from model.tokenizer import Tokenizer as Encoder
from model.tokenizer import train_tokenizer
from tasks.records import read_lines
from tasks.split import SPLITS
from tasks.stage import stage

BATCH = 1000


@dataclass(frozen=True)
class TokenizerParameters:
    """`vocabulary` counts every token, the chat's three among them.

    `base` takes the tokenizer of a model folder instead of training one.
    """

    vocabulary: int = 2048
    base: str = ""

    def __post_init__(self) -> None:
        if self.vocabulary < 259:
            raise ValueError(f"vocabulary is {self.vocabulary}; every byte and the chat need 259 at least")


def base_folder(base: str, root: Path) -> Path:
    """The model folder that a preset's `base` names. Raises UserError where there is none."""
    folder = root / base
    if not folder.is_dir():
        raise UserError(f"base: {folder} is not a folder; a model folder in Llama layout is right")
    return folder


def _base_digest(parameters: TokenizerParameters, root: Path) -> list[str]:
    if not parameters.base:
        return []
    files = sorted(base_folder(parameters.base, root).glob("*token*.json"))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


@stage(inputs=("split",), outside=_base_digest)
def tokenizer(
    parameters: TokenizerParameters, split: Path, out: Path, report: Report, root: Path
) -> dict[str, Any]:
    """tokenizer.json, {train,valid,test}.bin and tokens.json in `out`.

    Raises UserError where the training text cannot fill the vocabulary.
    """
    texts = {name: [row["text"] for row in read_lines(split / name / "text.jsonl")] for name in SPLITS}
    if parameters.base:
        encoder = Encoder.load(base_folder(parameters.base, root))
    else:
        pairs = [row["prompt"] + row["completion"] for row in read_lines(split / "train" / "pairs.jsonl")]
        encoder = train_tokenizer([*texts["train"], *pairs], parameters.vocabulary)
    encoder.save(out)
    described: dict[str, Any] = {"dtype": encoder.dtype.str, "vocabulary": encoder.vocabulary}
    for name in SPLITS:
        tokens = 0
        with (out / f"{name}.bin").open("wb") as file:
            for documents in _batches(texts[name]):
                ids = encoder.encode_documents(documents)
                ids.tofile(file)
                tokens += len(ids)
        size = sum(len(text.encode()) for text in texts[name])
        described[name] = {"tokens": tokens, "bytes": size, "documents": len(texts[name])}
    (out / "tokens.json").write_text(json.dumps(described, indent=1))
    train = described["train"]
    return {
        "vocabulary": encoder.vocabulary,
        "train_tokens": train["tokens"],
        "bytes_per_token": train["bytes"] / max(1, train["tokens"]),
    }


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), BATCH):
        yield texts[start : start + BATCH]
