"""Talking with a model: which folder a name means, and answers as they come."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from model.errors import UserError
from model.folder import load_model
from model.sample import generate
from model.tokenizer import Tokenizer
from model.transformer import Transformer

STAGES = {"base": "pretrain", "sft": "sft", "aligned": "rlhf"}


@dataclass(frozen=True)
class Manner:
    """How answers are drawn."""

    new_tokens: int = 96
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    seed: int = 0


def resolve(name: str, root: Path, champion: Path | None = None) -> Path:
    """The model folder that a name means: base, sft, aligned (the last run's), champion, or a path.

    Raises UserError that says how to come by one.
    """
    if name in STAGES:
        summary = root / "var" / "summary.json"
        if not summary.exists():
            raise UserError("there is no run here yet; `chatmill run` makes the models to chat with")
        stages = {entry["name"]: entry for entry in json.loads(summary.read_text())["stages"]}
        folder = Path(stages[STAGES[name]]["folder"]) / "model" if STAGES[name] in stages else None
        if folder is None or not folder.exists():
            raise UserError(f"the last run left no {name} model; `chatmill run` makes it")
        return folder
    if name == "champion":
        if champion is None:
            raise UserError(
                "no model has passed the gate yet; `chatmill models` shows why, --model aligned talks"
            )
        return champion
    folder = Path(name)
    if not (folder / "config.json").exists():
        known = ", ".join([*STAGES, "champion"])
        raise UserError(f"{name} is neither one of {known} nor a model folder with a config.json")
    return folder


class Talker:
    """A model that answers one prompt at a time."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.model: Transformer
        self.tokenizer: Tokenizer
        self.model, self.tokenizer = load_model(folder, device=device)

    def answer(self, prompt: str, manner: Manner) -> Iterator[str]:
        """Pieces of the answer as they are drawn. Raises UserError for a prompt that fills the context."""
        pieces: SimpleQueue[int | BaseException | None] = SimpleQueue()

        def draw() -> None:
            try:
                generate(
                    self.model, [self.tokenizer.prompt(prompt)], manner.new_tokens, self.tokenizer.end,
                    temperature=manner.temperature, top_k=manner.top_k, top_p=manner.top_p, seed=manner.seed,
                    on_token=lambda tokens: pieces.put(tokens[0]),
                )  # fmt: skip
            except BaseException as error:
                pieces.put(error)
            pieces.put(None)

        Thread(target=draw, daemon=True).start()
        # A character of several bytes may be cut by the border of two tokens.
        whole = codecs.getincrementaldecoder("utf-8")("replace")
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            if piece != self.tokenizer.end:
                yield whole.decode(self.tokenizer.piece_bytes(piece))
