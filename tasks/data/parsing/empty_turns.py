"""Count the empty turns inside conversations, which join what was said before and after them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import dropwhile
from typing import Any

from tasks.data.parsing.conversations import TEXTS, is_transcript, is_turn_list
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.values.list_literals import read_literal
from tasks.data.values.roles import role_of

REASONS = {
    "assistant": "empty answers inside conversations; the questions before and after them are joined",
    "user": "empty turns of the user inside conversations; the answers before and after them are joined",
}
# A conversation often begins with a greeting.
GREETINGS = "answers before the first question, such as a greeting, which are not learned"
_SPEAKERS = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def count_empty_turns(values: Mapping[str, Any], own: Iterable[str], tally: SkipCounts) -> None:
    """Count the empty turns of a row that have a turn before and after them.

    An empty turn at the end joins nothing: an answer there is quarantined, and a question has no answer.
    """
    if any(_greets(_spoken(key, values[key])) for key in own if key in values):
        tally.left_out[GREETINGS] += 1
    # The prompt follows a history.
    prompt = [("user", "prompt")]
    found = [
        Counter(_empty_inside([*_spoken(key, values[key]), *(prompt if key == "history" else ())]))
        for key in own
        if key in values
    ]
    # Two answers to one prompt repeat the turns before them.
    most = {role: max((counts[role] for counts in found), default=0) for role in REASONS}
    for role, count in most.items():
        if count:
            tally.left_out[REASONS[role]] += count


def _empty_inside(turns: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the roles of empty turns between two others."""
    # Turns before the first text, and after the last one, join nothing.
    inside = list(dropwhile(_is_empty, turns))[::-1]
    yield from (role for role, text in dropwhile(_is_empty, inside) if not text.strip())


def _greets(turns: Iterable[tuple[str, str]]) -> bool:
    """Return whether the assistant speaks before the first question. Without a question, it is an answer."""
    roles = [role for role, text in turns if text.strip() and role in REASONS]
    return roles[:1] == ["assistant"] and "user" in roles


def _is_empty(turn: tuple[str, str]) -> bool:
    return not turn[1].strip()


def _spoken(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the role and the text of each turn in a conversation, a transcript or a history of pairs."""
    if is_transcript(value):
        parts = _SPEAKERS.split(value)[1:]
        names = {"Human": "user", "Assistant": "assistant"}
        yield from zip((names[name] for name in parts[::2]), parts[1::2], strict=True)
        return
    if key == "history" and isinstance(value, str):
        try:
            value = read_literal(value)
        except ValueError:
            return
    if isinstance(value, dict):
        value = value.get("messages", value.get("conversations"))
    if is_turn_list(value):
        yield from ((role_of(turn) or "", _turn_text(turn)) for turn in value)
    elif key == "history" and isinstance(value, list):
        pairs = (pair for pair in value if isinstance(pair, list) and len(pair) == 2)
        for asked, answer in pairs:
            yield "user", str(asked)
            yield "assistant", str(answer)


def _turn_text(turn: Mapping[str, Any]) -> str:
    said = next((turn[key] for key in TEXTS if turn.get(key) is not None), "")
    parts = said if isinstance(said, list) else [said]
    return "".join(str(part.get("text", "") if isinstance(part, dict) else part) for part in parts)
