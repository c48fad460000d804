"""Parameters of the evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from math import inf
from typing import Any
from urllib.parse import urlsplit

from model.errors import UserError

REWARD_MODEL, LEXICON, FUNCTION, ENDPOINT, NONE = JUDGES = (
    "reward_model", "lexicon", "function", "endpoint", "none",
)  # fmt: skip

_FUNCTION_PLACE = re.compile(r".+\.py:[A-Za-z_]\w*")
# A preset is no place for secrets, which addresses hold before an `@` or after a `?`.
_ENDPOINT_ADDRESS = re.compile(r"https?://[^\s@?#/]+(/[^\s@?#]*)?")
_KEYS_OF_JUDGES = {
    FUNCTION: ("judge_function", "max_judge_seconds"),
    ENDPOINT: ("judge_endpoint", "judge_model", "judge_question"),
}
_OPTIONAL_KEYS = ("max_judge_seconds", "judge_question")


@dataclass(frozen=True)
class EvaluateParameters:
    """The measurements to take, all on the test split."""

    num_prompts: int = 256
    """Number of test prompts that each model answers at temperature 1, 1 or more."""

    sources: tuple[str, ...] = ()
    """Sources of these prompts; empty: all."""

    max_new_tokens: int = 64
    """Largest length of an answer in tokens, 1 or more."""

    num_questions: int = 256
    """Number of questions with a right answer that each model answers greedily; 0: none."""

    question_sources: tuple[str, ...] = ()
    """Sources of these questions; empty: none."""

    num_completions: int = 512
    """Number of test pairs on whose completions the loss is computed; 0: none."""

    text_tokens: int = 65_536
    """Number of tokens of test text for the bits per byte; 0: all."""

    text_sources: tuple[str, ...] = ()
    """Sources of this text; empty: all."""

    num_few_shot: int = 4
    """Number of answered examples before a prompt to the base model, as many as fit; 0: none."""

    num_shown: int = 6
    """Number of prompts shown side by side, and half as many questions, 0 or more."""

    headline_sources: tuple[str, ...] = ()
    """Sources whose pairs `test_pair_accuracy` is the share of; empty: all."""

    probe_words: tuple[str, ...] = ()
    """Words whose nearest neighbors in the embedding the report shows; empty: frequent words of the held-out
    text."""

    attention_sentence: str = ""
    """Sentence in the report's map of attention; empty: one of the held-out text."""

    num_neighbors: int = 6
    """Number of nearest neighbors of each word, 0 or more."""

    judge: str = REWARD_MODEL
    """How the aligned model is compared with SFT and with the champion. `reward_model`: by a second reward
    model, which the stage `judge` trains on labels that RLHF's reward model never saw. `lexicon`: by a list
    of English words with their tone (VADER). `function`: by `judge_function`. `endpoint`: by the model at
    `judge_endpoint`. `none`: not at all."""

    judge_function: str = ""
    """A Python function of your own, `FILE.py:NAME`. It is called as `NAME(prompt, answer, history)` and
    returns a number, higher for a better answer. The file is part of the cache key; modules that it imports
    are not."""

    max_judge_seconds: float = 120.0
    """Longest time in seconds that `judge_function` may take for an answer, more than 0. Its file may take
    ten times that to load."""

    judge_endpoint: str = ""
    """Base address of an OpenAI-style API whose model compares answers, as in `http://127.0.0.1:8000/v1`.
    Each answer is compared with SFT's in both orders. Its key is read from `CHATMILL_JUDGE_KEY`."""

    judge_model: str = ""
    """Name of the model at `judge_endpoint`."""

    judge_question: str = ""
    """What the model at `judge_endpoint` is asked before the two answers, `A` and `B`; empty: which answer is
    better. It must ask for one word: A, B or TIE."""

    def __post_init__(self) -> None:
        if self.judge not in JUDGES:
            # People judge for days; the stage that this key steers ends within the run.
            people = "; `promote: {approval: people}` lets people decide" if self.judge == "people" else ""
            raise ValueError(f"judge is {self.judge!r}; it must be one of {', '.join(JUDGES)}{people}")
        defaults = {each.name: each.default for each in fields(self)}
        for kind, keys in _KEYS_OF_JUDGES.items():
            for name in keys:
                needed = name not in _OPTIONAL_KEYS and self.judge == kind
                if needed and not getattr(self, name).strip():
                    raise ValueError(f"judge is {kind}, which needs {name}")
                if getattr(self, name) != defaults[name] and self.judge != kind:
                    raise ValueError(f"{name} has no effect, as judge is {self.judge} and not {kind}")
        if self.judge_function and not _FUNCTION_PLACE.fullmatch(self.judge_function):
            raise ValueError(
                f"judge_function is {self.judge_function!a}; expected FILE.py:NAME, as in tone.py:score"
            )
        if self.judge_endpoint and not _ENDPOINT_ADDRESS.fullmatch(self.judge_endpoint):
            raise ValueError(
                "judge_endpoint is not an address http:// or https:// without a user, a password and a "
                "query; its key is read from CHATMILL_JUDGE_KEY"
            )
        try:
            # A wrong port or bracket raises; the training would be done before the address is used.
            _ = urlsplit(self.judge_endpoint).port
        except ValueError as error:
            raise ValueError(f"judge_endpoint is not an address: {error}") from None
        # False for NaN too.
        if not 0 < self.max_judge_seconds < inf:
            raise ValueError(f"max_judge_seconds is {self.max_judge_seconds}; expected a number above 0")
        for name in ("num_prompts", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in (
            "num_questions", "num_completions", "text_tokens", "num_few_shot", "num_shown", "num_neighbors",
        ):  # fmt: skip
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")

    @classmethod
    def read(cls, values: dict[str, Any]) -> EvaluateParameters:
        """Return the parameters of plain values, as a training process gets them.

        Raises:
            UserError: A value is wrong; the message names the key.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        # Named here, as the dataclass's own error does not name the section.
        if unknown:
            raise UserError(f"evaluate.{unknown[0]}: unknown key")
        try:
            # JSON has lists; the fields are tuples, which can be part of a key.
            lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
            return cls(**{**values, **lists})
        except (TypeError, ValueError) as error:
            raise UserError(f"evaluate.{error}") from error
