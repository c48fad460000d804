"""Parse preferences: {"prompt", "chosen", "rejected"}, as texts or as lists of messages.

The prompt is explicit, or it is the common beginning of chosen and rejected. That is whole turns of two lists
of messages, or whole words of two texts. It may be a transcript of "Human:" and "Assistant:".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from model.errors import UserError
from tasks.common.value_kinds import kind_of
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.conversations import (  # fmt: skip
    MEDIA,
    SYSTEM,
    SourceTurn,
    context_of,
    holds_turns,
    is_transcript,
    only_answer,
    read_history,
    read_prompt,
    read_turns,
    require_value,
    shared_turns,
    turns_before_answer,
)
from tasks.data.parsing.preference_fields import preference_row
from tasks.data.parsing.row_stream import LABEL_KEYS, keys, row_stream
from tasks.data.records import ParsedRow
from tasks.data.values.field_meanings import is_empty

_SIDES = ("chosen", "rejected")
_PROMPTS = ("prompt", "instruction", "question", "messages", "conversations")
_PROMPTLESS = "no prompt, and {} and {} do not begin alike and end otherwise; add a column prompt"


_KEYS = keys(
    *_PROMPTS, "input", "context", "history", "chosen", "rejected", "tools", "functions",
    *SYSTEM, *MEDIA, *LABEL_KEYS,
)  # fmt: skip


def read_row(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[ParsedRow]:
    """Yield a Comparison for the row. Raise UserError with file and line.

    Two equal answers are a tie. An empty answer is kept, so that validation quarantines it with its line.
    """
    before, chosen, rejected = _split_answers(values, reading, where)
    turns = turns_before_answer(
        [*read_history(reading.optional(values, "history"), where), *before], values, reading, where
    )
    if beside := context_of(values, reading, where):
        turns[-1] = turns[-1]._replace(content=f"{turns[-1].content.rstrip()}\n\n{beside}")
    yield preference_row(turns, chosen, rejected, values, reading, where)


def _explicit_prompt(values: Mapping[str, Any], reading: ParseOptions) -> Any:
    """Return the value of `prompt`, or else of the first of its other names."""
    own = reading.optional(values, "prompt")
    others = (reading.optional(values, name) for name in _PROMPTS)
    return next((other for other in others if not is_empty(other)), None) if own is None else own


def _split_answers(
    values: Mapping[str, Any], reading: ParseOptions, where: str
) -> tuple[list[SourceTurn], str, str]:
    """Return the turns before the two answers, and the two answers."""
    names = [reading.column(side) for side in _SIDES]
    given = [require_value(values, name, where) for name in names]
    explicit = _explicit_prompt(values, reading)
    prompt = read_prompt(explicit, where)
    texts = [side for side in given if isinstance(side, str)]
    if len(texts) == 2:
        if is_transcript(texts[0]):
            raise UserError(f"{where}: {names[0]} is a transcript; format hh_rlhf reads files of them")
        if explicit is None and not context_of(values, reading, where):
            return _shared_words(texts, names, where)
        return prompt, texts[0], texts[1]
    if texts or None in given:
        kinds = " and ".join(f"{n} is {kind_of(s)}" for n, s in zip(names, given, strict=True))
        raise UserError(f"{where}: {kinds}; expected both as texts, or both as lists of messages")
    chosen, rejected = (read_turns(s, f"{where}, {n}") for n, s in zip(names, given, strict=True))
    shared = shared_turns(chosen, rejected)
    before = chosen[:shared]
    if explicit is None and not before:
        raise UserError(f"{where}: {_PROMPTLESS.format(*names)}")
    # Taking either of two different prompts would attach the answers to a wrong question.
    if before and prompt and not _ends_alike(before, prompt):
        raise UserError(f"{where}: the prompt differs from the beginning of {' and '.join(names)}")
    answers = [
        only_answer(turns[shared:], name, where)
        for name, turns in zip(names, (chosen, rejected), strict=True)
    ]
    return max(before, prompt, key=len), answers[0], answers[1]


def _ends_alike(one: Sequence[SourceTurn], other: Sequence[SourceTurn]) -> bool:
    """Return whether one is the end of the other: a prompt beside lists is often only the last turn."""
    said = [[(turn.role, turn.content.strip()) for turn in turns] for turns in (one, other)]
    short, long = sorted(said, key=len)
    return long[-len(short) :] == short


def _shared_words(
    texts: Sequence[str], names: Sequence[str], where: str
) -> tuple[list[SourceTurn], str, str]:
    # By whole words: a common beginning of letters would cut the first different word in two.
    words = zip(*(re.findall(r"\s*\S+", text.rstrip()) for text in texts), strict=False)
    shared = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], words))
    if not shared.strip() or texts[0] == texts[1]:
        raise UserError(f"{where}: {_PROMPTLESS.format(*names)}")
    return [SourceTurn("user", shared)], texts[0][len(shared) :], texts[1][len(shared) :]


def _detect_mismatch(sample: FileSample) -> str:
    if not sample.items or not all(set(_SIDES) <= item.values.keys() for item in sample.items):
        return "no keys chosen and rejected"
    for values, _ in sample.items:
        if is_transcript(values["chosen"]):
            return "chosen is a transcript of Human: and Assistant:"
        prompted = any(values.get(name) for name in _PROMPTS)
        if not prompted and not all(holds_turns(values[side]) for side in _SIDES):
            return "no prompt, and chosen and rejected are not lists of messages"
    return ""


FORMAT = Format(
    "preferences", row_stream(read_row, _KEYS, "comparisons"), "line", _detect_mismatch, "comparisons"
)
