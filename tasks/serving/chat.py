"""Chat with a model: the folder that a model's name refers to, and answers as they are generated."""

from __future__ import annotations

import codecs
import json
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from model.data.chat_template import Turn, running_text, truncate_history
from model.data.checkpoint_check import check_model
from model.data.hf_checkpoint import load_model
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.inference.generate import generate_tokens
from model.nn.transformer import Transformer
from tasks.engine.catalog import load_stages
from tasks.engine.declaration import sort_stages
from tasks.engine.output import DamagedOutput, verify_output
from tasks.project.paths import ARTIFACTS, SUMMARY
from tasks.tracking.products import is_version

BASE = "base"


@dataclass(frozen=True)
class SamplingParams:
    """Parameters of sampling an answer."""

    new_tokens: int = 96
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    seed: int = 0


def names_version(name: str) -> bool:
    """Return whether a name means a registered version, as NAME/3 or champion, and is no folder here."""
    return is_version(name) and not (Path(name) / "config.json").exists()


def continues_text(name: str) -> bool:
    """Return whether a name means the base model, which has not learned the chat's tokens."""
    return name == BASE


def _model_stages() -> dict[str, str]:
    """Return the stages that make models by the models' names for users, in pipeline order."""
    declared = {name: stage.declaration for name, stage in load_stages().items()}
    return {declared[name].model: name for name in sort_stages(declared) if declared[name].model}


def newest_model(root: Path) -> str:
    """Return the name of the last model that the last run trained: aligned, or sft without labels.

    Without a run it is the name of the last model of the pipeline, which `resolve_model` explains.
    """
    makers = _model_stages()
    found = [name for name, stage in makers.items() if stage in _last_stages(root)]
    return (found or list(makers))[-1]


def _last_stages(root: Path) -> dict[str, str]:
    """Return the keys of the last run's stages by name; empty if there was no run.

    Raises:
        UserError: The summary is damaged.
    """
    summary = root / SUMMARY
    if not summary.exists():
        return {}
    try:
        return {entry["name"]: str(entry["key"]) for entry in json.loads(summary.read_bytes())["stages"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{summary} is damaged; `chatmill run` rewrites it") from error


def resolve_model(name: str, root: Path) -> Path:
    """Return the model folder of a name that is no registered version.

    Args:
        name: base, sft or aligned (of the last run), or a path.
        root: The project's folder.

    Raises:
        UserError: There is no such model; the message says how to get one.
    """
    makers = _model_stages()
    if name in makers:
        if not (root / SUMMARY).exists():
            raise UserError("there is no run yet; train models with `chatmill run`")
        stages = _last_stages(root)
        key = stages.get(makers[name])
        # By key: the recorded path is that of the project's folder at that time, which may have moved.
        output = root / ARTIFACTS / makers[name] / key if key else None
        try:
            whole = output and verify_output(output, root)
        except DamagedOutput as error:
            raise UserError(f"{error}; `chatmill run` recomputes the model") from error
        if not output or not whole:
            others = [
                f"--model {other}" for other, stage in makers.items() if stage in stages and other != name
            ]
            raise UserError(
                f"the last run left no {name} model; train it with `chatmill run`"
                + (f", or use {' or '.join(others)}" if others else "")
            )
        return output / "model"
    folder = Path(name)
    if not (folder / "config.json").exists():
        known = ", ".join([*makers, "champion"])
        raise UserError(
            f"{name} is neither one of {known}, nor a version such as NAME/3 (`chatmill models` lists them), "
            "nor a model folder with a config.json"
        )
    # Before anything is loaded: a folder of the user's may hold any file.
    check_model(folder)
    return folder


class _Unwanted(Exception):
    """Nobody reads the rest of an answer."""


class ChatModel:
    """A model that answers one prompt at a time, or continues it."""

    def __init__(self, folder: Path, device: str = "cpu", continues: bool = False) -> None:
        """Load a model.

        Args:
            folder: The model's folder.
            device: The device of its weights.
            continues: Whether prompts are plain text to continue, in place of the format of a chat. An open
                model that has a chat template answers all the same.
        """
        self.model: Transformer
        self.tokenizer: Tokenizer
        self.model, self.tokenizer = load_model(folder, device=device)
        self.continues = continues and not self.tokenizer.keeps_template

    def answer(
        self, prompt: str, manner: SamplingParams, history: Sequence[Turn] = ()
    ) -> Generator[str, None, None]:
        """Yield pieces of the answer as they are generated. Who stops early closes the iterator.

        Args:
            prompt: The prompt.
            manner: The parameters of sampling.
            history: The turns before the prompt.

        Raises:
            UserError: Prompt and history fill the context.
        """
        # `generate_tokens` reports tokens by a callback. The queue and the thread turn it into an iterator.
        pieces: SimpleQueue[int | BaseException | None] = SimpleQueue()
        unwanted = Event()
        asked = (
            self.tokenizer.encode_opening(running_text(prompt, history))
            if self.continues
            else self.tokenizer.encode_prompt(prompt, history)
        )

        def report(tokens: list[int]) -> None:
            if unwanted.is_set():
                raise _Unwanted
            pieces.put(tokens[0])

        def draw() -> None:
            try:
                generate_tokens(
                    self.model, [asked], manner.new_tokens, self.tokenizer.end,
                    temperature=manner.temperature, top_k=manner.top_k, top_p=manner.top_p, seed=manner.seed,
                    on_token=report,
                )  # fmt: skip
            # Without this, an error would end the thread only, and the loop below would wait forever.
            except BaseException as error:
                pieces.put(error)
            pieces.put(None)

        thread = Thread(target=draw, daemon=True)
        thread.start()
        # A character of several bytes may be split between two tokens, so bytes are held until it is
        # complete.
        whole = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                if piece != self.tokenizer.end:
                    yield whole.decode(self.tokenizer.piece_bytes(piece))
        finally:
            # PyTorch aborts a program that ends while one of its threads computes.
            unwanted.set()
            thread.join()


class Conversation:
    """A conversation with a model: it remembers the latest turns that fit in the context beside an answer."""

    def __init__(self, talker: ChatModel, system: str = "") -> None:
        """Begin a conversation; `system` tells the model how to answer, and is never forgotten."""
        self.talker, self.system = talker, system
        self.context = talker.model.architecture.context_length
        self.begin()

    def begin(self) -> None:
        """Forget all turns: the next prompt is the first."""
        self.history: list[Turn] = [{"role": "system", "content": self.system}] if self.system else []
        self.answered, self.forgetful = 0, False

    def make_room(self, prompt: str, manner: SamplingParams) -> bool:
        """Forget the oldest turns if the prompt and its answer do not fit.

        The answer gets the tokens that `manner` asks for, but at most half of the context.

        Returns:
            Whether turns were forgotten for the first time.
        """
        room = self.context - min(manner.new_tokens, self.context // 2)
        before = len(self.history)
        row = {"prompt": prompt, "history": self.history}
        self.history = list(truncate_history(row, self.talker.tokenizer, room))
        first = len(self.history) < before and not self.forgetful
        self.forgetful |= first
        return first

    def answer(self, prompt: str, manner: SamplingParams) -> Generator[str, None, None]:
        """Yield pieces of the answer; remember the turn when the answer is complete.

        The seed of `manner` applies to the first answer; each further one adds 1.
        """
        # With one seed for all, the same prompt would get the same answer again.
        drawn = replace(manner, seed=manner.seed + self.answered)
        pieces = []
        with closing(self.talker.answer(prompt, drawn, self.history)) as answer:
            for piece in answer:
                pieces.append(piece)
                yield piece
        self.answered += 1
        self.history += [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": "".join(pieces)},
        ]
