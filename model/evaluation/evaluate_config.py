"""Parameters of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from model.errors import UserError

REWARD_MODEL, LEXICON, NONE = JUDGES = ("reward_model", "lexicon", "none")


@dataclass(frozen=True)
class EvaluateParameters:
    """The measurements to take, all on the test split.

    `prompts` prompts of the pairs in `sources` (empty: all) are answered at temperature 1, with up to
    `new_tokens` tokens. `questions` of those in `question_sources` (empty: none) are answered greedily.
    `completions` pairs give the loss. `text_tokens` tokens (0: all) of the text in `text_sources` (empty:
    all) give the bits per byte. `few_shot` examples make the base model answer. `shown` prompts, and half as
    many questions, are shown side by side. `headline` names the sources of `test_pair_accuracy` (empty: all).
    The probes use `words`, each with its `neighbours`, and `sentence`. `judge` compares SFT and aligned
    model: a second reward model (trained on its own labels), the lexicon of English tone, or none.
    """

    prompts: int = 256
    sources: tuple[str, ...] = ()
    new_tokens: int = 64
    questions: int = 256
    question_sources: tuple[str, ...] = ()
    completions: int = 512
    text_tokens: int = 65_536
    text_sources: tuple[str, ...] = ()
    few_shot: int = 4
    shown: int = 6
    headline: tuple[str, ...] = ()
    words: tuple[str, ...] = ("good", "film", "his", "two", "city", "war")
    sentence: str = "The film is not as good as the book, but the actors are wonderful."
    neighbours: int = 6
    judge: str = REWARD_MODEL

    def __post_init__(self) -> None:
        if self.judge not in JUDGES:
            raise ValueError(f"judge is {self.judge!r}; it must be one of {', '.join(JUDGES)}")
        for name in ("prompts", "new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("questions", "completions", "text_tokens", "few_shot", "shown", "neighbours"):
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
            raise UserError(f"evaluate.{unknown[0]} is not known")
        try:
            # JSON has lists; the fields are tuples, which can be part of a key.
            lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
            return cls(**{**values, **lists})
        except (TypeError, ValueError) as error:
            raise UserError(f"evaluate.{error}") from error
