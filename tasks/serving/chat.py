"""Talking with a model: which folder a name means, and answers as they come."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from model.data.chat_template import Turn, truncate_history
from model.data.hf_checkpoint import check_model, load_model
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.inference.generate import generate_tokens
from model.nn.transformer import Transformer
from tasks.engine.catalog import load_stages
from tasks.engine.declaration import sort_stages
from tasks.engine.output import DamagedOutput, verify_output
from tasks.project.paths import ARTIFACTS, SUMMARY
from tasks.tracking.products import CHAMPION, split_address


@dataclass(frozen=True)
class SamplingParams:
    """How answers are drawn."""

    new_tokens: int = 96
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    seed: int = 0


def is_champion(name: str) -> bool:
    """Return whether a name means a champion, champion or NAME/champion, and no folder that is here."""
    return split_address(name)[1] == CHAMPION and not (Path(name) / "config.json").exists()


def _model_stages() -> dict[str, str]:
    """Return the stages that make models, by the names that people give these models, in order."""
    declared = {name: stage.declares for name, stage in load_stages().items()}
    return {declared[name].model: name for name in sort_stages(declared) if declared[name].model}


def resolve_model(name: str, root: Path, champion: Path | None = None) -> Path:
    """The model folder that a name means: base, sft, aligned (the last run's), champion, or a path.

    Raises UserError that says how to come by one.
    """
    makers = _model_stages()
    if name in makers:
        summary = root / SUMMARY
        if not summary.exists():
            raise UserError("there is no run here yet; `chatmill run` makes the models to chat with")
        try:
            stages = {
                entry["name"]: str(entry["key"]) for entry in json.loads(summary.read_bytes())["stages"]
            }
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{summary} is damaged; `chatmill run` writes it again") from error
        key = stages.get(makers[name])
        # By its key, as the recorded path is that of the folder that the project was in at the time.
        output = root / ARTIFACTS / makers[name] / key if key else None
        try:
            whole = output and verify_output(output, root)
        except DamagedOutput as error:
            raise UserError(f"{error}; `chatmill run` makes the model again") from error
        if not output or not whole:
            raise UserError(f"the last run left no {name} model; `chatmill run` makes it")
        return output / "model"
    if is_champion(name):
        if champion is None:
            raise UserError(
                "no model has passed the gate yet; `chatmill models` shows why, --model aligned talks"
            )
        return champion
    folder = Path(name)
    if not (folder / "config.json").exists():
        known = ", ".join([*makers, "champion"])
        raise UserError(f"{name} is neither one of {known} nor a model folder with a config.json")
    check_model(folder)
    return folder


class ChatModel:
    """A model that answers one prompt at a time."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.model: Transformer
        self.tokenizer: Tokenizer
        self.model, self.tokenizer = load_model(folder, device=device)

    def answer(self, prompt: str, manner: SamplingParams, history: Sequence[Turn] = ()) -> Iterator[str]:
        """Pieces of the answer as they are drawn, `history` being what was said before.

        Raises UserError where both fill the context.
        """
        pieces: SimpleQueue[int | BaseException | None] = SimpleQueue()

        def draw() -> None:
            try:
                generate_tokens(
                    self.model, [self.tokenizer.encode_prompt(prompt, history)], manner.new_tokens,
                    self.tokenizer.end,
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


class Conversation:
    """Talk with a model that remembers it, as much of its end as the context holds beside an answer."""

    def __init__(self, talker: ChatModel, system: str = "") -> None:
        """`system` is the line that says how every answer is to be; it is never forgotten."""
        self.talker, self.system = talker, system
        self.context = talker.model.architecture.context
        self.begin()

    def begin(self) -> None:
        """Forget what was said: the next prompt is the first."""
        self.history: list[Turn] = [{"role": "system", "content": self.system}] if self.system else []
        self.answered, self.forgetful = 0, False

    def make_room(self, prompt: str, manner: SamplingParams) -> bool:
        """Forget the oldest turns where the prompt and its answer find no room; whether it is the first time.

        An answer is given the tokens that `manner` asks for, and at most half of the context.
        """
        room = self.context - min(manner.new_tokens, self.context // 2)
        before = len(self.history)
        row = {"prompt": prompt, "history": self.history}
        self.history = list(truncate_history(row, self.talker.tokenizer, room))
        first = len(self.history) < before and not self.forgetful
        self.forgetful |= first
        return first

    def answer(self, prompt: str, manner: SamplingParams) -> Iterator[str]:
        """Pieces of the answer; the turn is remembered once it is whole. `manner`'s seed is of the first."""
        drawn = replace(manner, seed=manner.seed + self.answered)
        pieces = []
        for piece in self.talker.answer(prompt, drawn, self.history):
            pieces.append(piece)
            yield piece
        self.answered += 1
        self.history += [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": "".join(pieces)},
        ]
