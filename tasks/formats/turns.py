"""Conversations: who said what, read from the chat formats' turns and cut into prompts and answers.

Turns of one speaker in a row are joined with a blank line between them, and a turn that says nothing is
passed over, so that user and assistant always alternate. An empty answer at the end stays, for validation to
put aside with its line; so does what the assistant says before the user's first turn, as history.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.formats import File, Found, Reading, Sample
from tasks.records import Turn, digest, pair_row

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant", "bing": "assistant", "bard": "assistant",
}  # fmt: skip
_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


class Said(NamedTuple):
    """A turn: its role (system, user or assistant), its text, and whether it is an answer to learn."""

    role: str
    content: str
    learned: bool = True


def conversations(files: Sequence[File], reading: Reading, key: str) -> Iterator[Found]:
    """The Pairs of rows that hold a conversation under `key`, and perhaps its system line under `system`."""
    name = reading.column(key)
    for file in files:
        for values, where in file.items():
            turns = opened(read_turns(there(values, name, where), where), values, reading, where)
            yield from conversation(turns, values, reading, where)


def conversation(
    turns: Sequence[Said], values: Mapping[str, Any], reading: Reading, where: str
) -> Iterator[Found]:
    """A Pair for each answer of a conversation, with what was said before its prompt as `history`.

    A last turn of the user's has no answer and gives none; so a conversation of it alone gives nothing.
    """
    group = group_of(turns, values)
    for place in range(1, len(turns)):
        prompt, answer = turns[place - 1], turns[place]
        if (prompt.role, answer.role) == ("user", "assistant") and answer.learned:
            before = history(turns[: place - 1])
            yield Found(
                pair_row(prompt.content, answer.content, reading.source, group, history=before), where
            )


def group_of(turns: Iterable[Said], values: Mapping[str, Any]) -> str:
    """The `group` that a row names, else the digest of the user's first turn.

    So conversations that begin alike, and preferences about them, stand in one split.
    """
    named = values.get("group")
    if isinstance(named, str) and named:
        return named
    return digest(next((turn.content for turn in turns if turn.role == "user"), ""))


def history(turns: Iterable[Said]) -> list[Turn]:
    """Turns as a record holds them."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def opened(turns: Sequence[Said], values: Mapping[str, Any], reading: Reading, where: str) -> list[Said]:
    """The joined turns after the system line that the row gives under `system`, unless they begin with one.

    Raises UserError where the row has `tools`.
    """
    for key in ("tools", "functions"):
        if values.get(key) not in (None, "", [], "[]"):
            raise UserError(
                f"{where}: {key} cannot be learned here; leave out the conversations that use any"
            )
    name = reading.column("system")
    line = "" if values.get(name) is None else read_text(values, name, where)
    own = bool(turns) and turns[0].role == "system"
    return joined(turns if own else [Said("system", line), *turns], where)


def read_turns(given: object, where: str) -> list[Said]:
    """The turns of a list of objects with `role` and `content`, or `from` and `value`; of one such object.

    A table's cell may hold the list as JSON. `weight` 0 marks an answer that is not learned. Raises UserError
    with the turn for one of a tool, with anything but text, or of an unknown role.
    """
    turns = _unpacked(given, where) if isinstance(given, str) else given
    turns = [turns] if isinstance(turns, dict) else turns
    if not isinstance(turns, list):
        raise UserError(f"{where}: {type(given).__name__} where a list of turns is right")
    return joined((_turn(turn, f"{where}, turn {number}") for number, turn in enumerate(turns, 1)), where)


def joined(turns: Iterable[Said], where: str) -> list[Said]:
    """Turns that alternate, as the module says. Raises UserError for a system line after another turn."""
    every = list(turns)
    kept = [turn for turn in every if turn.content.strip()]
    if every and every[-1].role == "assistant" and not every[-1].content.strip():
        kept.append(every[-1])
    whole = []
    for role, neighbours in groupby(kept, key=lambda turn: turn.role):
        parts = list(neighbours)
        text = "\n\n".join(part.content for part in parts if part.content.strip())
        whole.append(Said(role, text, all(part.learned for part in parts)))
    if any(turn.role == "system" for turn in whole[1:]):
        raise UserError(f"{where}: a system line stands after another turn; it is right before all of them")
    return whole


def read_transcript(text: str, where: str) -> list[Said]:
    r"""The turns of a text in which each begins with "\n\nHuman:" or "\n\nAssistant:".

    Raises UserError where the text begins otherwise.
    """
    before, *parts = _MARK.split(text.replace("\r\n", "\n"))
    if before.strip() or not parts:
        raise UserError(rf'{where}: {text[:40]!r} begins no transcript; "\n\nHuman:" is right')
    said = zip(parts[::2], parts[1::2], strict=True)
    return joined((Said(ROLES[role.lower()], content.strip()) for role, content in said), where)


def is_transcript(value: object) -> bool:
    """Whether a value is a text that begins with a turn of "Human:" or "Assistant:"."""
    return isinstance(value, str) and bool(_MARK.match(value))


def read_prompt(given: object, where: str) -> list[Said]:
    """The turns of a prompt: a text, a transcript with its open "Assistant:", a list of messages, or none."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return []
    if not isinstance(given, str):
        return read_turns(given, f"{where}, prompt")
    turns = read_transcript(given, where) if is_transcript(given) else [Said("user", given)]
    unfilled = bool(turns) and turns[-1].role == "assistant" and not turns[-1].content
    return turns[:-1] if unfilled else turns


def asked(turns: Sequence[Said], values: Mapping[str, Any], reading: Reading, where: str) -> list[Said]:
    """The turns before an answer, `opened`; the last is the user's, empty where the user says nothing.

    An empty prompt is for validation. Raises UserError where the assistant has spoken last.
    """
    before = opened(turns, values, reading, where)
    if before and before[-1].role == "assistant":
        raise UserError(f"{where}: the prompt ends in a turn of the assistant's; the user's is right there")
    spoken = before and before[-1].role == "user"
    return before if spoken else [*before, Said("user", "")]


def shared_turns(chosen: Sequence[Said], rejected: Sequence[Said]) -> int:
    """How many turns two conversations begin with alike.

    Where they are equal, or one is how the other begins, those before the last answer that both have.
    """
    for place, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if (one.role, one.content) != (other.role, other.content):
            return place
    shorter = min(len(chosen), len(rejected))
    answers = (place for place in reversed(range(shorter)) if chosen[place].role == "assistant")
    return next(answers, shorter)


def only_answer(turns: Sequence[Said], name: str, where: str) -> str:
    """What the assistant's one turn says. Raises UserError where there are others, or none."""
    if not turns:
        raise UserError(f"{where}: {name} has no answer of the assistant's")
    if [turn.role for turn in turns] != ["assistant"]:
        roles = ", ".join(turn.role for turn in turns)
        raise UserError(f"{where}: {name} ends in the turns {roles}; one of the assistant's is right")
    return turns[0].content


def there(values: Mapping[str, Any], name: str, where: str) -> Any:
    """The value of a key. Raises UserError with the keys there are."""
    if name not in values:
        raise UserError(f"{where}: no {name}; its keys are {', '.join(values) or '(none)'}")
    return values[name]


def read_text(values: Mapping[str, Any], name: str, where: str) -> str:
    """The text of a key. Raises UserError where there is none."""
    value = there(values, name, where)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name} is {type(value).__name__}; a text is right")
    return value


def fits_conversations(sample: Sample, key: str) -> str:
    """Why a sample's items are not conversations under `key`, if they are not."""
    if not sample.items or not all(holds_turns(item.values.get(key)) for item in sample.items):
        return f"no key {key} with a list of turns"
    if any({"chosen", "rejected"} & item.values.keys() for item in sample.items):
        return "keys chosen and rejected are those of preferences"
    return ""


def holds_turns(value: object) -> bool:
    """Whether a value looks like a list of turns, or like one written as JSON."""
    if isinstance(value, str):
        return value.lstrip().startswith("[{")
    return isinstance(value, list) and all(isinstance(turn, dict) for turn in value)


def _unpacked(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {text[:40]!r} where a list of turns is right") from error


def _turn(turn: object, where: str) -> Said:
    if not isinstance(turn, dict):
        raise UserError(f"{where}: {type(turn).__name__} where an object with role and content is right")
    name = turn.get("role") or turn.get("from")
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    called = next((key for key in ("tool_calls", "function_call") if turn.get(key)), None)
    if role is None or called:
        what = called or (f"role {name!r:.40}" if isinstance(name, str) else "a turn without a role")
        raise UserError(
            f"{where}: {what} cannot be learned; system, user and assistant are right, and conversations "
            "with tools are to be left out"
        )
    said = next((turn[key] for key in ("content", "value", "text") if turn.get(key) is not None), None)
    parts = said if isinstance(said, list) else [said]
    return Said(role, "".join(_part(part, where) for part in parts), turn.get("weight") != 0)


def _part(part: object, where: str) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    if not isinstance(text, str):
        kind = part.get("type") if isinstance(part, dict) else None
        what = f"of type {kind!r}" if isinstance(kind, str) else type(part).__name__
        raise UserError(f"{where}: its content is {what:.48}; a text or a list of text parts is right")
    return text
