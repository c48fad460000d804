"""What was said before a prompt: a conversation in tokens, and what is left out of one that is too long."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from model.data.dataloader import Example, Examples
from model.data.tokenizer import Tokenizer
from model.events import EventCallback, Message

Turn = Mapping[str, str]
Row = dict[str, Any]


def truncate_turns(
    history: Sequence[Turn], length: Callable[[Sequence[Turn]], int], room: int | None
) -> Sequence[Turn]:
    """As much of a conversation's end as is at most `room` long (None: all of it).

    What is left begins with a turn of the user's, after the system lines: they stay, whatever goes, for they
    say how every answer is to be. Where not even they fit, they are what is left.
    """
    if room is None or not history:
        return history
    cuts = [0, *(i for i, turn in enumerate(history) if i and turn["role"] == "user"), len(history)]

    def since(cut: int) -> Sequence[Turn]:
        return [turn for i, turn in enumerate(history) if i >= cut or turn["role"] == "system"]

    place = bisect_left(cuts, True, key=lambda cut: length(since(cut)) <= room)
    return since(cuts[min(place, len(cuts) - 1)])


def truncate_history(row: Row, tokenizer: Tokenizer, room: int | None) -> Sequence[Turn]:
    """As much of a row's `history` as is, with the `prompt`, at most `room` tokens in the chat's format."""
    return truncate_turns(
        row.get("history") or [], lambda turns: len(tokenizer.encode_prompt(row["prompt"], turns)), room
    )


def chat_prompt(row: Row, tokenizer: Tokenizer, room: int | None = None) -> tuple[list[int], int]:
    """A row's `prompt` after its `history` in the chat's format, and how many turns were left out.

    The oldest are, until the prompt is at most `room` tokens long, as far as that helps.
    """
    kept = truncate_history(row, tokenizer, room)
    return tokenizer.encode_prompt(row["prompt"], kept), len(row.get("history") or []) - len(kept)


def example_of(row: Row, tokenizer: Tokenizer, longest: int | None = None, beside: str = "") -> Example:
    """A row with `prompt`, `completion` and any `history` in the chat's format, the end token after it.

    Turns are left out, the oldest first, until the whole is at most `longest` tokens long. `beside` is an
    answer that this one is compared with: the longer of the two counts, so that both follow the same turns.
    """
    completion = [*tokenizer.encode(row["completion"]), tokenizer.end]
    room = None
    if longest is not None and row.get("history"):
        room = longest - max(len(completion), len(tokenizer.encode(beside)) + 1)
    prompt, left_out = chat_prompt(row, tokenizer, room)
    return Example(prompt, completion, left_out)


def examples_of(rows: Iterable[Row], tokenizer: Tokenizer, longest: int | None = None) -> Examples:
    """`example_of` each row."""
    return Examples(example_of(row, tokenizer, longest) for row in rows)


def say_what_is_left_out(
    examples: Iterable[Example], what: str, longest: int, fate: str, report: EventCallback
) -> None:
    """Messages on how many `what` lost turns, and how many are longer than `longest` tokens all the same."""
    total = shortened = longer = 0
    for example in examples:
        total += 1
        if len(example.tokens) > longest:
            longer += 1
        elif example.left_out:
            shortened += 1
    for count, said in (
        (shortened, "are conversations longer than the context; their oldest turns are left out"),
        (longer, f"are longer than the context and {fate}"),
    ):
        if count:
            report(Message(f"{count} of {total} {what} {said}"))


def prompt_key(row: Row) -> tuple[str, str]:
    """What tells one prompt from another: its text, and what was said before it."""
    return row["prompt"], json.dumps(row.get("history") or [], sort_keys=True)


def running_text(prompt: str, history: Sequence[Turn]) -> str:
    """A prompt after its history as plain text: an answer follows what it answers, the rest is paragraphs."""
    parts: list[str] = []
    for turn in history:
        if turn["role"] == "assistant" and parts:
            parts[-1] += " " + turn["content"].lstrip()
        else:
            parts.append(turn["content"])
    return "\n\n".join([*parts, prompt])
