"""The tokenizer: learns from the training split alone, and encodes each split's text to one file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from model.data.tokenizer import Tokenizer as Encoder
from model.data.tokenizer import train_tokenizer
from model.events import EventCallback
from model.parameter_bounds import NO_KEY
from tasks.data.base_models.base_model import base_folder
from tasks.data.records import list_shards
from tasks.data.splits import SPLITS
from tasks.engine.declaration import named_metrics
from tasks.engine.parallel import ParallelMap, report_pace, serial_map
from tasks.engine.stage import stage

# Texts encoded at a time: large enough to be fast, small enough for memory.
BATCH_CHARACTERS = 1 << 22


# The ending of the files with text of `replay_sources`.
REPLAYED = ".replay"
# The library reserves memory for all tokens at once, and ends the process if there is not enough.
LARGEST_VOCABULARY = 10_000_000


@dataclass(frozen=True)
class TokenizerParameters:
    """The parameters of the tokenizer."""

    vocab_size: int = 2048
    """Number of tokens, from 259 to 10,000,000, including the three of the chat. More than the text supports
    is refused."""

    sample_bytes: int = 64_000_000
    """Number of bytes of the training rows that the tokenizer is learned from, a share of each shard; 1 or
    more."""

    base_model: str = ""
    """Model folder whose tokenizer is used instead of a new one; empty: a new one is learned."""

    # Filled from `pretrain.replay_sources`, so it is no key of a preset.
    replay_sources: tuple[str, ...] = field(default=(), metadata={NO_KEY: True})
    """Sources whose text goes to files of its own, `SPLIT.replay.bin`, from which continued pretraining takes
    general text."""

    def __post_init__(self) -> None:
        if self.vocab_size < 259:
            raise ValueError(f"vocab_size is {self.vocab_size}; every byte and the chat need 259 at least")
        if self.vocab_size > LARGEST_VOCABULARY:
            raise ValueError(f"vocab_size is {self.vocab_size}; it must be at most {LARGEST_VOCABULARY}")
        if self.sample_bytes < 1:
            raise ValueError(f"sample_bytes is {self.sample_bytes}; it must be 1 at least")


def _base_digest(parameters: TokenizerParameters, root: Path) -> dict[str, str] | list[str]:
    if not parameters.base_model:
        # A list as in outputs of earlier runs, whose keys it entered.
        return []
    # The tokenizer's files alone: other weights with the same tokenizer need no new encoding.
    folder = base_folder(parameters.base_model, root)
    files = sorted([*folder.glob("*token*.json"), *folder.glob("chat_template.jinja")])
    return {f"base_model/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@stage(
    inputs=("split",),
    input_patterns={"split": ("*/text", "train/pairs")},
    external_inputs=_base_digest,
    learns_from=("text", "pairs"),
    derived_rows=("text", "pairs"),
    headline=named_metrics(("vocabulary", "tokens"), ("bytes_per_token", "bytes each")),
)
def tokenizer(
    parameters: TokenizerParameters,
    split: Path,
    out: Path,
    on_event: EventCallback,
    root: Path,
    parallel_map: ParallelMap = serial_map,
) -> dict[str, Any]:
    """Write tokenizer.json, {train,valid,test}.bin and tokens.json.

    Raises:
        UserError: The training text cannot fill the vocabulary, or a source to replay has no text.
    """
    if parameters.base_model:
        encoder = Encoder.load(base_folder(parameters.base_model, root))
    else:
        learned = [path for kind in ("text", "pairs") for path in list_shards(split / "train" / kind)]
        encoder = train_tokenizer(sample_texts(learned, parameters.sample_bytes), parameters.vocab_size)
    encoder.save(out)
    described: dict[str, Any] = {"dtype": encoder.dtype.str, "vocabulary": encoder.vocab_size}
    replayed = parameters.replay_sources
    files = [name + ending for ending in ("", *([REPLAYED] if replayed else [])) for name in SPLITS]
    described |= {name: {"tokens": 0, "bytes": 0, "documents": 0} for name in files}
    whose = hashlib.sha256((out / "tokenizer.json").read_bytes()).hexdigest()
    work = [
        Encoding(name, path, out, whose, replayed)
        for name in files
        for path in list_shards(split / name.removesuffix(REPLAYED) / "text")
    ]
    encoded = parallel_map(encode_shard, work)
    for done in report_pace(encoded, len(work), on_event, lambda done: (done.documents, done.size)):
        counts = described[done.split]
        counts["tokens"] += done.tokens
        counts["bytes"] += done.size
        counts["documents"] += done.documents
    for name in files:
        _join_files([part.tokens for part in work if part.split == name], out / f"{name}.bin")
    (out / "tokens.json").write_text(json.dumps(described, indent=1))
    train = described["train"]
    metrics = {"vocabulary": encoder.vocab_size, "train_tokens": train["tokens"]}
    # A run on an open model may have no text.
    return {**metrics, "bytes_per_token": train["bytes"] / train["tokens"]} if train["tokens"] else metrics


def sample_texts(paths: Sequence[Path], most: int) -> Iterator[str]:
    """Yield the text of rows in shards; of more than `most` bytes, the first rows of each shard.

    Rows are in the order of a digest of their content, so the first are as good as a random sample.
    """
    sizes = [path.stat().st_size for path in paths]
    share = min(1.0, most / max(1, sum(sizes)))
    for path, size in zip(paths, sizes, strict=True):
        left = size * share
        with path.open("rb") as lines:
            for line in lines:
                if left <= 0:
                    break
                left -= len(line)
                row = json.loads(line)
                yield row["text"] if "text" in row else row["prompt"] + row["completion"]


@dataclass(frozen=True)
class Encoding:
    """A shard of texts to encode, and the tokenizer's folder. `whose` is the digest of tokenizer.json.

    `split` is the name of the file; with the ending `REPLAYED`, the texts of `replayed` sources are meant.
    """

    split: str
    path: Path
    folder: Path
    whose: str
    replayed: tuple[str, ...] = ()

    @property
    def tokens(self) -> Path:
        """Return the file for the tokens."""
        return self.folder / f"{self.split}.{self.path.stem}.part"


@dataclass(frozen=True)
class Encoded:
    """The result of encoding a shard: numbers of texts, of their bytes in UTF-8, and of their tokens."""

    split: str
    documents: int
    size: int
    tokens: int


def encode_shard(work: Encoding) -> Encoded:
    """Write the tokens of a shard's texts, with the end token after each."""
    encoder = _load_encoder(work.folder, work.whose)
    documents = size = tokens = 0
    wanted = work.split.endswith(REPLAYED)
    with work.path.open("rb") as lines, work.tokens.open("wb") as file:
        rows = (json.loads(line) for line in lines)
        chosen = (row["text"] for row in rows if (row["source"] in work.replayed) == wanted)
        for texts in _text_batches(chosen):
            ids = encoder.encode_documents(texts)
            ids.tofile(file)
            documents += len(texts)
            size += sum(len(text.encode()) for text in texts)
            tokens += len(ids)
    return Encoded(work.split, documents, size, tokens)


@lru_cache(maxsize=1)
def _load_encoder(folder: Path, whose: str) -> Encoder:
    # Kept from shard to shard, as its cache of words makes it fast. `whose` separates tokenizers of one
    # folder.
    return Encoder.load(folder)


def _text_batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    filled = 0
    for text in texts:
        batch.append(text)
        filled += len(text)
        if filled >= BATCH_CHARACTERS:
            yield batch
            batch, filled = [], 0
    if batch:
        yield batch


def _join_files(parts: Sequence[Path], whole: Path) -> None:
    with whole.open("wb") as file:
        for path in parts:
            with path.open("rb") as tokens:
                shutil.copyfileobj(tokens, file, 1 << 20)
            # Removed at once, so that at most one shard is on the disk twice.
            path.unlink()
