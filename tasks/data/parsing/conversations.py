"""Read conversations from turns of the chat formats, and cut them into prompts and answers.

Consecutive turns of one speaker are joined with a blank line, and empty turns are skipped, so that user and
assistant always alternate (empty_turns.py counts them). A mask excludes its own turn from a joined answer;
the history keeps it. An empty answer at the end stays, so that validation quarantines it with its line. What
the assistant says before the user's first turn also stays, as history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.common.names import yaml_text
from tasks.common.value_kinds import kind_of
from tasks.data.file_io.decoding import unify_line_ends
from tasks.data.parsing.base import FileSample, ParseOptions
from tasks.data.records import ParsedRow, Turn, TurnVerdict, group_digest, pair_row
from tasks.data.values.field_meanings import KNOWN, MASKS, flatten_name, group_name, is_empty
from tasks.data.values.list_literals import holds_turns_text, read_literal, turns_of
from tasks.data.values.roles import ROLE_KEYS, ROLES, is_tool, propose_roles, role_of, speaker_of
from tasks.data.values.value_meanings import read_meaning

TEXTS = ("content", "value", "text", "message", "utterance")
TURN_KEYS = frozenset((*ROLE_KEYS, *TEXTS, "tool_calls", "function_call"))
VERDICT = "(verdict)"  # a turn's key for the verdict that walked_turns.py read
ROLE_PATH = "(role key)"  # a turn's key for the path of an unknown role, as `messages[].from`
SYSTEM = ("system", "system_prompt", "system_message")
CONTEXT = ("input", "context")
_NAMED = 8  # keys that a message lists
MEDIA = ("images", "image", "videos", "video", "audios", "audio")
_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


class SourceTurn(NamedTuple):
    """A turn: its role (system, user or assistant), its text, and whether it is an answer to learn.

    If several turns were joined, `answer` is the text without those that a mask excludes, and `final` says
    whether the last of them is learned. `verdict` is a verdict on the answer.
    """

    role: str
    content: str
    learned: bool = True
    answer: str = ""
    final: bool = True
    verdict: TurnVerdict | None = None


class MaskedAnswer(Exception):
    """The only answer of a row is excluded by a mask, so the row gives no record."""


def read_conversation(
    values: Mapping[str, Any], reading: ParseOptions, where: str, key: str
) -> Iterator[ParsedRow]:
    """Yield the Pairs of a row with a conversation under `key`, and perhaps a system prompt beside it."""
    given = require_value(values, reading.column(key), where)
    yield from conversation_pairs(
        open_with_system(read_turns(given, where), values, reading, where), values, reading, where
    )


def conversation_pairs(
    turns: Sequence[SourceTurn], values: Mapping[str, Any], reading: ParseOptions, where: str
) -> Iterator[ParsedRow]:
    """Yield a Pair for each answer of a conversation, with the turns before its prompt as history.

    A user's turn at the end has no answer, so it gives no Pair.
    """
    group = conversation_group(turns, values, reading)
    answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    for index in range(1, len(turns)):
        prompt, answer = turns[index - 1], turns[index]
        if (prompt.role, answer.role) == ("user", "assistant") and answer.learned:
            before, text = history_turns(turns[: index - 1]), answer.answer or answer.content
            row = pair_row(prompt.content, text, reading.source, group, history=before)
            final = index == answers[-1] and answer.final
            yield ParsedRow(row, where, final=final, verdict=answer.verdict)


def conversation_group(turns: Iterable[SourceTurn], values: Mapping[str, Any], reading: ParseOptions) -> str:
    """Return the `group` that a row names, or else the digest of the user's first turn.

    Conversations that begin alike, and preferences about them, are thus in one split.
    """
    if named := group_name(reading.optional(values, "group")):
        return named
    return group_digest(next((turn.content for turn in turns if turn.role == "user"), ""))


def history_turns(turns: Iterable[SourceTurn]) -> list[Turn]:
    """Return turns as a record stores them."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def open_with_system(
    turns: Sequence[SourceTurn], values: Mapping[str, Any], reading: ParseOptions, where: str
) -> list[SourceTurn]:
    """Return the joined turns with the row's system prompt first, unless they begin with one.

    The system prompt is under `system`, `system_prompt` or `system_message`. Raises UserError for a row with
    `tools` or media, and for two system prompts that differ.
    """
    refuse_media(values, where)
    lines = dict.fromkeys(_system_lines(values, reading, where))
    if turns and turns[0].role == "system":
        # The same system prompt in both places counts once.
        lines[turns[0].content.strip()] = None
        turns = turns[1:]
    if len(lines) > 1:
        raise UserError(f"{where}: there are {len(lines)} system lines that differ; expected one")
    return join_turns([*(SourceTurn("system", line) for line in lines), *turns], where)


def refuse_media(values: Mapping[str, Any], where: str) -> None:
    """Raise UserError if a row has tools, functions, images, videos or audio, which are not supported."""
    for key in ("tools", "functions", *MEDIA):
        # Tables fill unused columns with empty values, which are no reason to refuse a row.
        if values.get(key) not in (None, "", [], "[]", {}):
            raise UserError(f"{where}: {key} is not supported; leave out conversations that use it")


def _system_lines(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[str]:
    for name in SYSTEM:
        if not is_empty(reading.optional(values, name)):
            yield read_text(values, reading.column(name), where).strip()


def context_of(
    values: Mapping[str, Any], reading: ParseOptions, where: str, names: Sequence[str] = CONTEXT
) -> str:
    """Return the text beside a row's prompt, under `input` or `context`; empty if there is none."""
    texts = [
        read_text(values, reading.column(name), where).strip()
        for name in names
        if not is_empty(reading.optional(values, name))
    ]
    # Some exports repeat one text under both names.
    return "\n\n".join(dict.fromkeys(texts))


def read_exchange(
    prompt: Any,
    answers: Mapping[str, Any],
    values: Mapping[str, Any],
    reading: ParseOptions,
    where: str,
    before: Sequence[SourceTurn] = (),
) -> tuple[list[SourceTurn], list[str]]:
    """Return the turns up to the user's last one, and the answers to it.

    Args:
        prompt: A text or a list of turns.
        answers: Each answer by its name, as a text or a list of turns.
        values: The row. Its `input` or `context` is appended to the prompt after a blank line.
        reading: The options of the parser.
        where: The place of the row, for messages.
        before: Turns before the prompt.

    Raises:
        UserError: The prompt or an answer cannot be read.
    """
    if prompt is None:
        raise UserError(f"{where}: prompt is null; expected a text")
    turns = turns_before_answer([*before, *read_prompt(prompt, where)], values, reading, where)
    if beside := context_of(values, reading, where):
        *earlier, last = turns
        turns = [*earlier, last._replace(content=f"{last.content.rstrip()}\n\n{beside}")]
    said = []
    for name, answer in answers.items():
        # Labelling tools export every answer as a list, also a single one.
        if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], str):
            answer = answer[0]
        elif isinstance(answer, list | dict):
            answer = only_answer(read_turns(answer, f"{where}, {name}"), name, where)
        if not isinstance(answer, str):
            words = "" if answer is None else f", as in {str(answer).lower()!r}"
            raise UserError(f"{where}: {name} is {kind_of(answer)}; expected a text{words}")
        said.append(answer)
    return turns, said


def read_turns(given: object, where: str) -> list[SourceTurn]:
    """Return the turns of a list of objects with `role` and `content`, or `from` and `value`.

    A single object is one turn, and an object with `messages` stands for these. A cell may contain the list
    as JSON or as Python prints it. A mask such as `weight: 0` or `train: false` marks an answer that is not
    learned. Raises UserError for a turn of a tool, with anything but text, or of an unknown role.
    """
    turns = _unpack_turns(given, where) if isinstance(given, str) else given
    if isinstance(turns, dict) and (inner := turns.get("messages", turns.get("conversations"))) is not None:
        refuse_media(turns, where)
        turns = inner
    # An object with a text and no speaker is no turn: TriviaQA's answers have a `value`.
    if isinstance(turns, dict) and not turns.keys() & {*ROLE_KEYS, "content", "parts"}:
        names = ", ".join(map(str, list(turns)[:_NAMED])) or "none"
        raise UserError(
            f"{where}: an object with the keys {names}; expected a text, or turns with role and content"
        )
    turns = [turns] if isinstance(turns, dict) else turns
    if not isinstance(turns, list):
        raise UserError(f"{where}: {kind_of(given)}, expected a list of turns")
    return join_turns(
        (_parse_turn(turn, f"{where}, turn {number}", turns) for number, turn in enumerate(turns, 1)), where
    )


def join_turns(turns: Iterable[SourceTurn], where: str) -> list[SourceTurn]:
    """Return turns that alternate, as the module says. Raise UserError for a system prompt after others."""
    every = list(turns)
    kept = [turn for turn in every if turn.content.strip()]
    if every and every[-1].role == "assistant" and not every[-1].content.strip():
        # Without it the row would lose its answer silently and become a shorter conversation.
        kept.append(every[-1])
    whole = []
    for role, neighbours in groupby(kept, key=lambda turn: turn.role):
        parts = list(neighbours)
        spoken = [part for part in parts if part.content.strip()] or parts
        text = "\n\n".join(part.content for part in spoken)
        # The history keeps the whole text, so what a mask excludes is still context of later answers.
        learned = [part.answer or part.content for part in spoken if part.learned]
        answer = "" if "\n\n".join(learned) == text else "\n\n".join(learned)
        final = spoken[-1].learned and spoken[-1].final
        verdict = _joined_verdict(spoken, where)
        whole.append(SourceTurn(role, text, bool(learned), answer, final, verdict))
    if any(turn.role == "system" for turn in whole[1:]):
        raise UserError(f"{where}: a system line follows another turn; expected it first")
    return whole


def _joined_verdict(parts: Sequence[SourceTurn], where: str) -> TurnVerdict | None:
    """Return the verdict on an answer of several turns. Raise UserError for verdicts that differ."""
    said = [part.verdict for part in parts if part.verdict is not None]
    if len({verdict.score for verdict in said}) > 1:
        raise UserError(f"{where}: an answer of {len(parts)} turns has verdicts that differ; expected one")
    if not said or len(parts) == 1:
        return said[0] if said else None
    texts = [part.verdict.text if part.verdict else "" for part in parts]
    whole = "\n\n".join(text or part.content for text, part in zip(texts, parts, strict=True))
    return said[0]._replace(text=whole if any(texts) else "")


def read_transcript(text: str, where: str) -> list[SourceTurn]:
    """Return the turns of a text in which each begins with a blank line and "Human:" or "Assistant:".

    Raises UserError if the text begins otherwise.
    """
    # Other line ends would hide the blank line before a speaker.
    before, *parts = _MARK.split(unify_line_ends(text))
    if before.strip() or not parts:
        raise UserError(rf'{where}: {text[:40]!r} is not a transcript; expected "\n\nHuman:"')
    said = zip(parts[::2], parts[1::2], strict=True)
    return join_turns((SourceTurn(ROLES[role.lower()], content.strip()) for role, content in said), where)


def is_transcript(value: object) -> bool:
    """Return whether a value is a text that begins with a turn of "Human:" or "Assistant:"."""
    return isinstance(value, str) and bool(_MARK.match(value))


def read_prompt(given: object, where: str) -> list[SourceTurn]:
    """Return the turns of a prompt: a text, a transcript with an open "Assistant:", or a list of messages."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return []
    if not isinstance(given, str):
        return read_turns(given, f"{where}, prompt")
    turns = read_transcript(given, where) if is_transcript(given) else [SourceTurn("user", given)]
    # The open "Assistant:" is where the answer belongs.
    unfilled = bool(turns) and turns[-1].role == "assistant" and not turns[-1].content
    return turns[:-1] if unfilled else turns


def read_history(given: Any, where: str) -> list[SourceTurn]:
    """Return the turns of a history: a list of turns, or of [prompt, answer].

    Raises UserError for anything else.
    """
    if is_empty(given):
        return []
    if isinstance(given, str):
        try:
            given = read_literal(given)
        except ValueError as error:
            raise UserError(
                f"{where}: history is {given[:40]!r}; expected a list of turns, or of [prompt, answer]"
            ) from error
    if is_turn_list(given):
        return read_turns(given, f"{where}, history")
    turns = []
    for turn in given if isinstance(given, list) else [given]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(said, str) for said in turn):
            raise UserError(f"{where}: history: expected a list of turns, or of [prompt, answer], all texts")
        turns += [SourceTurn("user", turn[0]), SourceTurn("assistant", turn[1])]
    return turns


def turns_before_answer(
    turns: Sequence[SourceTurn], values: Mapping[str, Any], reading: ParseOptions, where: str
) -> list[SourceTurn]:
    """Return the turns before an answer, as of `open_with_system`. The last one is the user's.

    If the user says nothing, an empty turn is added, which validation quarantines. Raises UserError if the
    assistant has the last turn.
    """
    before = open_with_system(turns, values, reading, where)
    if before and before[-1].role == "assistant":
        raise UserError(f"{where}: the prompt ends with an assistant turn; expected a user turn")
    spoken = before and before[-1].role == "user"
    return before if spoken else [*before, SourceTurn("user", "")]


def shared_turns(chosen: Sequence[SourceTurn], rejected: Sequence[SourceTurn]) -> int:
    """Return the number of turns at the beginning that two conversations share.

    If one is equal to the other or to its beginning, the turns before the last shared answer are counted.
    """
    for index, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if (one.role, one.content) != (other.role, other.content):
            return index
    shorter = min(len(chosen), len(rejected))
    answers = (index for index in reversed(range(shorter)) if chosen[index].role == "assistant")
    return next(answers, shorter)


def only_answer(turns: Sequence[SourceTurn], name: str, where: str) -> str:
    """Return the text of the only turn, which is the assistant's.

    Raises:
        UserError: There are other turns, or none.
        MaskedAnswer: A mask excludes the turn.
    """
    if not turns:
        raise UserError(f"{where}: {name} has no assistant turn")
    if [turn.role for turn in turns] != ["assistant"]:
        roles = ", ".join(turn.role for turn in turns)
        raise UserError(f"{where}: {name} ends with the turns {roles}; expected one assistant turn")
    if not turns[0].learned:
        raise MaskedAnswer
    return turns[0].answer or turns[0].content


def require_value(values: Mapping[str, Any], name: str, where: str) -> Any:
    """Return the value of a key. Raise UserError with the existing keys if it is missing."""
    if name not in values:
        raise UserError(f"{where}: no {name}; its keys are {', '.join(values) or '(none)'}")
    return values[name]


def read_text(values: Mapping[str, Any], name: str, where: str) -> str:
    """Return the text of a key. Raise UserError if there is none."""
    value = require_value(values, name, where)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name} is {kind_of(value)}; expected a text")
    return value


def fits_conversations(sample: FileSample, key: str) -> str:
    """Return why a sample's items are not conversations under `key`; empty if they are."""
    if not sample.items or not all(holds_turns(item.values.get(key)) for item in sample.items):
        return f"no key {key} with a list of turns"
    if any({"chosen", "rejected"} <= item.values.keys() for item in sample.items):
        return "keys chosen and rejected belong to the format preferences"
    return ""


def holds_turns(value: object) -> bool:
    """Return whether a value looks like a list of turns, or like one written as text."""
    if isinstance(value, str):
        return holds_turns_text(value)
    if isinstance(value, dict):
        return is_turn_list(value)
    return isinstance(value, list) and all(isinstance(turn, dict) for turn in value)


def is_turn_list(value: object) -> bool:
    """Return whether a value is one turn or a list of turns: objects with a role and a text."""
    if isinstance(value, dict):
        # A role alone is no turn: rows of other data have a key `role` too.
        spoken = {"content", "value", "text"} & value.keys()
        return bool({"role", "from"} & value.keys() and spoken) or any(
            isinstance(value.get(name), list) and is_turn_list(value[name])
            for name in ("messages", "conversations")
        )
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)


def _unpack_turns(text: str, where: str) -> object:
    try:
        return turns_of(text)
    except ValueError as error:
        raise UserError(f"{where}: {text[:40]!r}, expected a list of turns") from error


def _parse_turn(turn: object, where: str, turns: Sequence[object]) -> SourceTurn:
    if not isinstance(turn, dict):
        raise UserError(f"{where}: {kind_of(turn)}, expected an object with role and content")
    key, name = speaker_of(turn)
    role = role_of(turn)
    called = next((key for key in ("tool_calls", "function_call") if turn.get(key)), None)
    # A tool's turn cannot be skipped: the answer after it depends on what the tool returned.
    if role is None or called:
        what = called or (f"role {name!r:.40}" if isinstance(name, str) else "a turn without a role")
        instead = "expected system, user and assistant, and conversations with tools are to be left out"
        if isinstance(name, str) and not called and not is_tool(name):
            path = turn.get(ROLE_PATH) or f"{'conversations' if key == 'from' else 'messages'}[].{key}"
            instead = (
                "if it is a speaker, say which in the source's fields, as in fields: "
                f"{{{yaml_text(path)}: {{{propose_roles(turns)}}}}} (or assistant, system)"
            )
        raise UserError(f"{where}: {what} cannot be learned; {instead}")
    said = next((turn[key] for key in TEXTS if turn.get(key) is not None), None)
    parts = said if isinstance(said, list) else [said]
    text = "".join(_parse_part(part, where) for part in parts)
    return SourceTurn(role, text, _is_learned(turn, where), verdict=turn.get(VERDICT))


def _is_learned(turn: Mapping[str, Any], where: str) -> bool:
    """Return whether no mask excludes a turn. Raise UserError for a mask that is neither true nor false."""
    learned = True
    for name, value in turn.items():
        # Other keys of a turn may have the name of a verdict, which does not mask the turn.
        if name in TURN_KEYS or is_empty(value) or KNOWN.get(flatten_name(name)) not in MASKS:
            continue
        read = read_meaning(name, None, value)
        if read is None:
            raise UserError(f"{where}: {name} is {value!r:.40}; expected 0 or 1, true or false")
        learned = learned and bool(read[1])
    return learned


def _parse_part(part: object, where: str) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    if not isinstance(text, str):
        kind = part.get("type") if isinstance(part, dict) else None
        what = f"of type {kind!r}" if isinstance(kind, str) else kind_of(part)
        raise UserError(f"{where}: its content is {what:.48}; expected a text or a list of text parts")
    return text
