"""The parameters of a batch for the label page: its prompts, its answers, and which pairs are chosen."""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import UserError
from tasks.labelling.batches import BatchSettings

# The prompts of the split's pairs, beside files.
TRAIN, VALIDATION = HELD_PROMPTS = ("train", "validation")
ALIGNED, SFT, CHAMPION_MODEL = SPEAKING_MODELS = ("aligned", "sft", "champion")
# The words that a pattern of names may have in braces.
PRESET_WORD, NUMBER_WORD = "{preset}", "{number}"
# More heads cost little, but hardly change which pairs are the most uncertain.
MOST_HEADS = 100


@dataclass(frozen=True)
class AnswerSource:
    """A model, or a file of another system's answers, that gives one answer to each prompt."""

    model: str = ""
    """`aligned`, `sft` or `champion`: the model that answers. Empty for a file."""

    temperature: float = 1.0
    """Sampling temperature of the model, 0 or more; 0 always takes the likeliest token."""

    file: str = ""
    """JSON Lines file of another system's answers, each with `prompt` and `completion`, and `history` if
    there is one. Relative to the project's folder."""

    name: str = ""
    """Name of that system, as the items record it; empty: the file's name."""

    def __post_init__(self) -> None:
        if bool(self.model) == bool(self.file):
            raise ValueError("answers has an entry with both or neither of model and file; expected one")
        if self.model and self.model not in SPEAKING_MODELS:
            raise ValueError(
                f"answers has the model {self.model!a}; expected one of {', '.join(SPEAKING_MODELS)}"
            )
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 or more")


@dataclass(frozen=True)
class LabelBatchParameters:
    """A batch of items for the label page."""

    name: str = "{preset}-{number}"
    """Name of the batch. `{preset}` becomes the preset's name, and `{number}` the first number whose name no
    batch has."""

    size: int = 100
    """Number of items to judge, besides known items, 1 or more."""

    round: int = 1
    """Number that enters the random draws, 1 or more. Another number gives another batch from the same
    models: other prompts, and other answers."""

    random_share: float = 0.3
    """Share of the items, from 0 to 1, that is drawn at random before any uncertainty is computed. Only these
    items give unbiased figures. The rest are the pairs of which the reward model is least certain."""

    candidates: float = 4.0
    """Prompts that are answered for each wanted item, 1 or more. The uncertain items are the best of them."""

    num_heads: int = 5
    """Number of heads of the ensemble that measures the uncertainty, from 2 to 100."""

    prompts: tuple[str, ...] = (TRAIN, VALIDATION)
    """Prompts: `train` and `validation` are those of the split's pairs; anything else is a file, a folder or
    a glob, relative to the project's folder. A `.txt` file has a prompt a line, and a JSON Lines file
    `prompt` and perhaps `history`. Of conversations in a format that chatmill reads, all prompts are
    taken."""

    sources: tuple[str, ...] = ()
    """Sources of the prompts `train` and `validation`; empty: those of `rlhf.sources`."""

    answers: tuple[AnswerSource, ...] = ()
    """Two or more models or files that answer each prompt: a list of `{model, temperature}` or
    `{file, name}`. Empty: the aligned model at temperatures 1 and 0.7 and SFT at 1; before there is an
    aligned model, SFT at 1 and 0.7."""

    max_new_tokens: int = 0
    """Longest answer of a model in tokens; 0: as in `rlhf.max_new_tokens`."""

    max_similarity: float = 0.8
    """Largest similarity of two answers to one prompt, above 0 and at most 1: the share of their words and
    pairs of words that both have. Pairs of more similar answers are left out, and so are prompts that are
    more similar to an earlier one."""

    known_items: str = ""
    """JSON Lines file of items whose right choice is known, each with `prompt`, `a`, `b` and `known_choice`
    (`a`, `b` or `tie`), and `history` if there is one. Empty: there are none."""

    known_share: float = 0.1
    """Known items that are hidden in the batch, as a share of its size, from 0 to 1. They are drawn from the
    file and put at random places."""

    aspects: tuple[str, ...] = ()
    """Aspects that people also compare, on five steps, after their choice."""

    needed: int = 2
    """Judgements by different people that an item needs, from 1 to 1000."""

    guide: str = ""
    """File of the guide for the people who judge, in Markdown; empty: chatmill's own."""

    markdown: bool = False
    """Whether the page shows Markdown as formatted text rather than as it was written."""

    def __post_init__(self) -> None:
        for name in ("size", "round", "candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("random_share", "known_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1")
        if not 2 <= self.num_heads <= MOST_HEADS:
            raise ValueError(f"num_heads is {self.num_heads}; it must be from 2 to {MOST_HEADS}")
        if self.max_new_tokens < 0:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; it must be 0 or more")
        if not 0 < self.max_similarity <= 1:
            raise ValueError(f"max_similarity is {self.max_similarity}; it is a share, above 0 and at most 1")
        if not self.prompts:
            raise ValueError("prompts is empty; expected train, validation, or files")
        if len(self.answers) == 1:
            raise ValueError("answers has one entry; an item compares two answers, so name two or more")
        unknown = self.name.replace(PRESET_WORD, "").replace(NUMBER_WORD, "")
        if "{" in unknown or "}" in unknown:
            raise ValueError(
                f"name is {self.name!a}; the words in braces are {PRESET_WORD} and {NUMBER_WORD}"
            )
        try:
            BatchSettings(self.batch_name("preset", 1), aspects=self.aspects, needed=self.needed).check()
        except UserError as error:
            # The preset's reader puts the section's name before a ValueError.
            raise ValueError(str(error)) from None

    def batch_name(self, preset: str, number: int) -> str:
        """Return the name of a batch of a preset."""
        return self.name.replace(PRESET_WORD, preset).replace(NUMBER_WORD, str(number))

    def used_answers(self, has_aligned: bool) -> tuple[AnswerSource, ...]:
        """Return the answers that are used, which depend on the models if none are named."""
        if self.answers:
            return self.answers
        if has_aligned:
            return (
                AnswerSource(ALIGNED, 1.0), AnswerSource(ALIGNED, 0.7), AnswerSource(SFT, 1.0),
            )  # fmt: skip
        return AnswerSource(SFT, 1.0), AnswerSource(SFT, 0.7)
