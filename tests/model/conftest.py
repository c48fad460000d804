"""A tiny language with good and bad sentences, and all inputs of the training stages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from model.data.hf_checkpoint import save_model
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.events import Event, EventCallback, Step
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.dpo_config import DPOConfig
from model.training.reference_margins import measure_reference

SUBJECTS = ("the film", "the story", "this camera", "the actor", "a quiet scene", "the ending", "the music")
GOOD = ("wonderful", "warm and funny", "a great joy", "lovely", "excellent", "moving")
BAD = ("terrible", "dull and cold", "a sad waste", "ugly", "awful", "boring")
ENDS = ("from start to end.", "and I would say so again.", "as anyone can see.", "for the whole evening.")
CONTEXT = 48
# The device of the trainings in tests: `CHATMILL_TEST_DEVICE=cuda` runs them on a GPU.
DEVICE = os.environ.get("CHATMILL_TEST_DEVICE", "cpu")


def small_shape(**changes: Any) -> ModelConfig:
    """Return the shape of a model of two layers, with some values changed."""
    values = {
        "vocab_size": 300,
        "num_layers": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "context_length": CONTEXT,
    }
    return ModelConfig(**{**values, **changes})


def sentence(random: np.random.Generator, good: bool) -> tuple[str, str]:
    """Return the subject of a random sentence, and the rest, which praises it or not."""
    subject = SUBJECTS[random.integers(len(SUBJECTS))]
    feeling = (GOOD if good else BAD)[random.integers(6)]
    return subject, f" is {feeling} {ENDS[random.integers(len(ENDS))]}"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class Language:
    """The outputs of the stages before training."""

    def __init__(self, root: Path) -> None:
        self.tokens, self.split, self.labels = root / "tokenizer", root / "split", root / "labels"
        random = np.random.default_rng(7)
        sizes = {"train": 600, "valid": 120, "test": 120}
        rows = {
            name: [(good := bool(random.integers(2)), *sentence(random, good)) for _ in range(size)]
            for name, size in sizes.items()
        }
        texts = {name: [subject + rest for _, subject, rest in made] for name, made in rows.items()}
        self.tokenizer: Tokenizer = train_tokenizer(texts["train"], 300)
        self.tokenizer.save(self.tokens)
        described: dict[str, Any] = {"dtype": "<u2", "vocabulary": 300}
        for name, made in rows.items():
            ids = [
                token for text in texts[name] for token in [*self.tokenizer.encode(text), self.tokenizer.end]
            ]
            np.array(ids, dtype="<u2").tofile(self.tokens / f"{name}.bin")
            described[name] = {"tokens": len(ids), "documents": len(made)}
            pairs = [
                {"prompt": f"Finish: {subject}", "completion": rest, "source": "film", "aspect": "tone"}
                for _, subject, rest in made
            ]
            write_rows(self.split / name / "pairs" / "00000.jsonl", pairs[:50])
            write_rows(self.split / name / "pairs" / "00001.jsonl", pairs[50:])
            ratings = [{**pair, "score": 2.0 if made[i][0] else -2.0} for i, pair in enumerate(pairs)]
            write_rows(self.labels / f"{name}.ratings.jsonl", ratings)
            best, worst = (
                [pair for pair, (good, *_) in zip(pairs, made, strict=True) if good is wanted]
                for wanted in (True, False)
            )
            both = list(zip(best, worst, strict=False))
            compared = [
                {
                    "prompt": a["prompt"], "chosen": a["completion"], "rejected": b["completion"],
                    "aspect": "helpfulness", "source": "chat",
                }
                for a, b in both[:40]
            ]  # fmt: skip
            write_rows(self.labels / f"{name}.comparisons.jsonl", compared)
            held_out = [
                {"chosen": a, "rejected": b, "aspect": "tone", "source": "film", "gap": 4.0} for a, b in both
            ]
            write_rows(self.labels / f"pairs.{name}.jsonl", held_out)
        (self.tokens / "tokens.json").write_text(json.dumps(described))

    def model(self, folder: Path, seed: int = 0) -> Path:
        """Save a small model with random weights."""
        save_model(Transformer(small_shape()).init_weights(seed), self.tokenizer, folder)
        return folder


def measured_reference(policy: Path, labels: Path, folder: Path, parameters: DPOConfig) -> Path:
    """Measure DPO's reference; all processes of a group call it together, and return when it is written."""
    plain = asdict(parameters.reference_parameters)
    measure_reference(plain, str(policy), str(labels), str(folder), DEVICE, lambda event: None)
    if dist.is_initialized():
        dist.barrier()
    return folder


@pytest.fixture(scope="session")
def language(tmp_path_factory: pytest.TempPathFactory) -> Language:
    return Language(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Killed(BaseException):
    """The exception that stands for a kill: no code after it runs, except handlers."""


@pytest.fixture
def killed_at() -> Callable[[int], EventCallback]:
    def reporter(step: int) -> EventCallback:
        def on_event(event: Event) -> None:
            if isinstance(event, Step) and event.step >= step:
                raise Killed

        return on_event

    return reporter
