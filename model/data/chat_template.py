"""Conversations as tokens, and the truncation of those that are too long."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from model.data.chat_format import TemplateFormat, Turn
from model.data.dataloader import Example, Examples, rows_by_source
from model.data.tokenizer import Tokenizer
from model.events import EventCallback, Message

Row = dict[str, Any]
# Pairs whose tokens are compared with those of the chat template.
COMPARED_PAIRS = 64


def truncate_turns(
    history: Sequence[Turn], length: Callable[[Sequence[Turn]], int], room: int | None
) -> Sequence[Turn]:
    """Return the longest end of a conversation that is at most `room` long.

    The result begins with a user's turn, after all system lines. System lines are always kept, as they say
    how to answer; if they do not fit, they alone are returned.

    Args:
        history: The turns, the oldest first.
        length: Returns the length of a list of turns, in any unit.
        room: The longest length allowed, in the same unit; None: no limit.
    """
    if room is None or not history:
        return history
    cuts = [0, *(i for i, turn in enumerate(history) if i and turn["role"] == "user"), len(history)]

    def since(cut: int) -> Sequence[Turn]:
        return [turn for i, turn in enumerate(history) if i >= cut or turn["role"] == "system"]

    # Bisection: the length falls with each cut, and measuring it means encoding the conversation.
    place = bisect_left(cuts, True, key=lambda cut: length(since(cut)) <= room)
    return since(cuts[min(place, len(cuts) - 1)])


def truncate_history(row: Row, tokenizer: Tokenizer, room: int | None) -> Sequence[Turn]:
    """Return the end of a row's `history` that, with the `prompt`, is at most `room` tokens long."""
    return truncate_turns(
        row.get("history") or [], lambda turns: len(tokenizer.encode_prompt(row["prompt"], turns)), room
    )


def chat_prompt(row: Row, tokenizer: Tokenizer, room: int | None = None) -> tuple[list[int], int]:
    """Return the tokens of a row's `prompt` after its `history`, and how many turns were left out.

    The oldest turns are left out until the prompt is at most `room` tokens long. A prompt that is too long by
    itself is returned as it is.
    """
    kept = truncate_history(row, tokenizer, room)
    return tokenizer.encode_prompt(row["prompt"], kept), len(row.get("history") or []) - len(kept)


def example_of(row: Row, tokenizer: Tokenizer, longest: int | None = None, beside: str = "") -> Example:
    """Return a row with `prompt`, `completion` and any `history` as an example in the chat format.

    Args:
        row: The row.
        tokenizer: The tokenizer.
        longest: The longest example in tokens, end token included. The oldest turns are left out until it
            fits. None: no limit.
        beside: An answer that this one is compared with. Room is kept for the longer of the two, so that both
            follow the same turns.
    """
    completion = tokenizer.encode_answer(row["completion"])
    room = None
    # Without a history nothing can be left out, so nothing needs to be measured.
    if longest is not None and row.get("history"):
        room = longest - max(len(completion), len(tokenizer.encode_answer(beside)))
    prompt, left_out = chat_prompt(row, tokenizer, room)
    return Example(prompt, completion, left_out)


def examples_of(rows: Iterable[Row], tokenizer: Tokenizer, longest: int | None = None) -> Examples:
    """Return `example_of` each row."""
    return Examples(example_of(row, tokenizer, longest) for row in rows)


def check_chat_template(rows: Iterable[Row], tokenizer: Tokenizer, on_event: EventCallback) -> None:
    """Report whether a base's chat template writes whole conversations as training sees them.

    A template may write an answer in another way after another question. At most `COMPARED_PAIRS`
    rows are compared.

    Args:
        rows: Rows with `prompt`, `completion` and any `history`.
        tokenizer: The tokenizer.
        on_event: The event callback.
    """
    if not isinstance(tokenizer.format, TemplateFormat):
        return
    checked = different = 0
    for row in islice(rows, COMPARED_PAIRS):
        turns = [
            *(row.get("history") or []),
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
        checked += 1
        different += tokenizer.format.encode_conversation(turns) != example_of(row, tokenizer).tokens
    if different:
        on_event(
            Message(
                f"{different} of the first {checked} training pairs become other tokens than the chat "
                "template of the base model gives; the template changes how their answers begin or end"
            )
        )


def say_what_is_left_out(
    examples: Iterable[Example], what: str, longest: int, fate: str, on_event: EventCallback
) -> None:
    """Report how many examples lost turns, and how many are too long anyway.

    Args:
        examples: The examples.
        what: Their name in the messages, as in "training pairs".
        longest: The longest length in tokens.
        fate: What happens to the others, as in "are left out".
        on_event: The event callback.
    """
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
            on_event(Message(f"{count} of {total} {what} {said}"))


def prompt_key(row: Row) -> tuple[str, str]:
    """Return a key that identifies a prompt: its text and its history."""
    return row["prompt"], json.dumps(row.get("history") or [], sort_keys=True)


def running_text(prompt: str, history: Sequence[Turn]) -> str:
    """Return a prompt after its history as plain text: answers follow in the same paragraph."""
    parts: list[str] = []
    for turn in history:
        # A base model has read questions and answers as running text, without line breaks between them.
        if turn["role"] == "assistant" and parts:
            parts[-1] += " " + turn["content"].lstrip()
        else:
            parts.append(turn["content"])
    return "\n\n".join([*parts, prompt])


def read_prompts(
    path: Path, sources: Sequence[str], tokenizer: Tokenizer, room: int, on_event: EventCallback
) -> list[list[int]]:
    """Return the tokenised prompts of a folder of pairs; report those that lose turns or are left out.

    Args:
        path: The folder of pairs.
        sources: The names of the sources; empty: all.
        tokenizer: The tokenizer.
        room: The most tokens of a prompt. A conversation loses its oldest turns until it fits; a prompt that
            is still too long is left out.
        on_event: The event callback.
    """
    prompts = [chat_prompt(row, tokenizer, room) for row in rows_by_source(path, sources)]
    fitting = [(prompt, left_out) for prompt, left_out in prompts if len(prompt) <= room]
    for count, said in (
        (sum(left_out > 0 for _, left_out in fitting), "lose their oldest turns to leave room for an answer"),
        (len(prompts) - len(fitting), "leave no room for an answer; left out"),
    ):
        if count:
            on_event(Message(f"{count} of {len(prompts)} prompts {said}"))
    return [prompt for prompt, _ in fitting]
