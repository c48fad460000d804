"""Make rows from the labels of labelling tools: who said what about which answers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.common.aspects import ASPECTS
from tasks.common.value_kinds import kind_of
from tasks.data.file_io.tables import is_unnamed
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.conversations import (
    conversation_group,
    history_turns,
    read_prompt,
    require_value,
    turns_before_answer,
)
from tasks.data.records import Choice, Record, Turn, comparison_row, pair_row, rating_row
from tasks.data.values.choices import is_tie
from tasks.data.values.label_times import time_seconds
from tasks.data.values.score_values import as_score

PROMPTS = ("prompt", "question", "instruction", "query", "request", "input")
ANSWERS = ("completion", "response", "answer", "output", "generation")
_ROLES = ("prompt", "completion", "left", "right")
REMARKS = {"comment", "comments", "explanation", "feedback", "justification", "note", "notes", "rationale",
           "reason", "remark", "why"}  # fmt: skip


class PromptContext(NamedTuple):
    """The prompt that was answered, its history, and its group."""

    prompt: str
    history: list[Turn]
    group: str


class Label(NamedTuple):
    """A person's input in one control: a choice between two answers, a score of one, or an answer."""

    control: str
    annotator: str
    time: str
    answers: tuple[str, ...]
    value: Choice | float | None = None


def labelled_rows(
    about: PromptContext, labels: Iterable[Label], reading: ParseOptions, where: str
) -> Iterator[Record]:
    """Yield the rows of one task: Comparisons, Pairs, and a Rating of each answer and aspect with all scores.

    Of one person's labels of the same answers on one aspect the last counts. Raises UserError if two controls
    ask for the same.
    """
    last: dict[tuple[Any, ...], tuple[str, Label]] = {}
    # Sorted by time and stable, so of equal times the one that the export lists last counts.
    for one in sorted(labels, key=lambda one: time_seconds(one.time)):
        aspect = aspect_of(one.control, reading)
        key = (tuple(sorted(one.answers)), aspect, one.annotator, one.value is None)
        before = last.pop(key, None)
        # Keeping one of them would make the result depend on the order of controls.
        if before and before[1].control != one.control and one.value is not None:
            raise UserError(
                f"{where}: {before[1].control} and {one.control} both rate {aspect}; give one "
                f"another aspect in columns, as in {{tone: {one.control}}}"
            )
        last[key] = (aspect, one)
    ratings: dict[tuple[str, str], list[Label]] = {}
    for aspect, one in sorted(last.values(), key=lambda found: (found[1].annotator, found[0])):
        if len(one.answers) == 2:
            a, b = one.answers
            yield comparison_row(
                about.prompt, a, b, one.value, aspect, one.annotator, reading.source, about.group,  # type: ignore[arg-type]
                about.history, one.time,
            )  # fmt: skip
        elif one.value is None:
            yield pair_row(about.prompt, one.answers[0], reading.source, about.group, (), about.history)
        else:
            ratings.setdefault((one.answers[0], aspect), []).append(one)
    for (completion, aspect), given in ratings.items():
        times = [one.time for one in given]
        yield rating_row(
            about.prompt, completion, [float(one.value) for one in given],  # type: ignore[arg-type]
            [one.annotator for one in given], aspect, reading.source, about.group, about.history,
            times if any(times) else (),
        )  # fmt: skip


def aspect_of(control: str, reading: ParseOptions) -> str:
    """Return the aspect of a control: by columns, or by its name, or else the source's."""
    for aspect, name in reading.columns.items():
        if name == control and aspect not in _ROLES:
            return aspect
    # Two aspects in one name would leave open which of them is meant.
    named = set(re.findall("[a-z]+", control.lower())) & set(ASPECTS)
    return named.pop() if len(named) == 1 else reading.aspect


def asked_of(key: str, values: Mapping[str, Any], reading: ParseOptions, where: str) -> PromptContext:
    """Return the prompt under a key: a text, or a list of turns that ends with the user's.

    Raises UserError for anything else.
    """
    value = require_value(values, key, where)
    if isinstance(value, list):
        value = [
            # Label Studio's Paragraphs name the speaker of a turn "author".
            {"role": turn["author"], **turn} if isinstance(turn, dict) and "author" in turn else turn
            for turn in value
        ]
    turns = turns_before_answer(read_prompt(value, f"{where}, {key}"), values, reading, f"{where}, {key}")
    return PromptContext(
        turns[-1].content, history_turns(turns[:-1]), conversation_group(turns, values, reading)
    )


def time_of(value: Any, where: str) -> str:
    """Return a time as ISO 8601; empty if there is none. Raise UserError if it is not a valid time."""
    if value is None or value == "":
        return ""
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC).isoformat()
        datetime.fromisoformat(value)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise UserError(f"{where}: {value!r} is not a valid time; expected ISO 8601") from error
    return str(value)


def text_at(values: Mapping[str, Any], key: str, where: str) -> str:
    """Return the text of a task under a key. Raise UserError if it is none."""
    if not isinstance(values.get(key), str):
        raise UserError(
            f"{where}: {key} is {kind_of(values[key]) if key in values else 'missing'}; "
            f"expected a text; keys: {', '.join(values) or 'none'}"
        )
    return str(values[key])


def label_prompt_key(
    values: Mapping[str, Any],
    answers: Iterable[str],
    written: Iterable[str],
    reading: ParseOptions,
    where: str,
) -> str:
    """Return the key of the prompt: named in columns, known by its name, or the only text.

    It is none of the `answers`, and one of `written` only if no other is left. Raises UserError that says how
    to name it.
    """
    if "prompt" in reading.columns:
        return reading.columns["prompt"]
    # A prompt is none of the answers that labels are about.
    taken = set(answers)
    free = [key for key in values if key not in taken and _is_text(values[key]) and not is_unnamed(key)]
    known = [key for key in free if key.lower() in PROMPTS]
    for few in (known, [key for key in free if key not in set(written)], free):
        if len(few) == 1:
            return few[0]
    raise UserError(
        f"{where}: unknown which of {', '.join(values) or 'no keys'} is the prompt; set it in "
        "columns, as in {prompt: question}"
    )


def _is_text(value: Any) -> bool:
    turns = value if isinstance(value, list) else []
    return isinstance(value, str) or any(
        isinstance(turn, dict) and {"role", "author"} & turn.keys() for turn in turns
    )


def answer_key(keys: Sequence[str], control: str, reading: ParseOptions, where: str) -> str:
    """Return the key of the answer that a control is about, found by names only.

    Raises UserError that says how to name it.
    """
    if reading.columns.get("completion") in keys:
        return reading.columns["completion"]
    words = f"_{fold_name(control)}_"
    mentioned = [key for key in keys if f"_{fold_name(key)}_" in words and key.lower() not in PROMPTS]
    known = [key for key in keys if key.lower() in ANSWERS]
    for few in (mentioned, known):
        if len(few) == 1:
            return few[0]
    raise UserError(
        f"{where}: unknown which of {', '.join(keys) or 'no keys'} {control} rates; set it in "
        "columns, as in {completion: response}"
    )


def fold_name(name: str) -> str:
    """Return a name without case and with one underscore between words, for comparisons."""
    return "_".join(re.findall(r"[^\W_]+", name.casefold()))


def find_answer_key(option: str, keys: Iterable[str], reading: ParseOptions) -> str | None:
    """Return the key of the answer that an option names, by columns or by its own name."""
    column = reading.column(option)
    keys = list(keys)
    if column in keys:
        return column
    alike = [key for key in keys if fold_name(key) == fold_name(option)]
    return alike[0] if len(alike) == 1 else None


def option_score(option: Any, reading: ParseOptions) -> float | None:
    """Return the score of an option: a number, or what columns map it to, as in {Good: "1"}."""
    try:
        return as_score(reading.column(option) if isinstance(option, str) else float(option))
    except (TypeError, ValueError, OverflowError):
        return None


def score_of(value: float, control: str, where: str) -> float:
    """Return a score as a float. Raise UserError if it is no finite number."""
    score = option_score(value, ParseOptions(""))
    if score is None:
        raise UserError(f"{where}: {control} says {value!r:.40}; expected a finite number")
    return score


def chosen_pairs(
    picked: Sequence[str],
    options: Iterable[str],
    answers: Sequence[str],
    reading: ParseOptions,
    shown: Mapping[str, str] | None = None,
) -> list[tuple[str, str, Choice]]:
    """Return pairs of answers (by key) and the better one, if the picked options name answers or a tie.

    The answers that were not picked are known from the other options, else from columns, else from similar
    keys (answer_a and answer_b, left and right). Empty if no option names an answer.
    """
    meant = {
        option: (shown or {}).get(option) or find_answer_key(option, answers, reading)
        for option in (*options, *picked)
    }
    rivals = [key for key in answers if key in meant.values()]
    better = [key for key in rivals if key in [meant[option] for option in picked]]
    tied = bool(picked) and all(map(is_tie, picked))
    if not (better or tied):
        return []
    # Options may name only the better answer, as in a checkbox "answer_a is better".
    if len(rivals) < 2:
        rivals = _similar_keys(rivals[0] if rivals else None, answers, reading)
    return list(best_of(rivals, better))


def _similar_keys(key: str | None, answers: Sequence[str], reading: ParseOptions) -> list[str]:
    columns = [name for role, name in reading.columns.items() if role not in ("prompt", "completion")]
    groups = [[other for other in answers if other in columns]]
    for stem in dict.fromkeys(map(_key_stem, answers)):
        groups.append([other for other in answers if stem is not None and _key_stem(other) == stem])
    few = [group for group in groups if len(group) > 1 and (key is None or key in group)]
    # Two groups of similar keys would leave open which of them was compared.
    return few[0] if few and (key is not None or len(few) == 1 or few[0] is groups[0]) else []


def _key_stem(key: str) -> str | None:
    ends = r"\d+|left|right|first|second|one|two"
    found = re.fullmatch(rf"(.*?)(?:{ends})|(|.*[\W_])[a-z]", key, re.I)
    return (found[1] or found[2] or "").casefold() if found else None


def best_of(names: Sequence[str], picked: Iterable[str]) -> Iterator[tuple[str, str, Choice]]:
    """Yield each picked answer beside each that was not picked. If none was picked, every pair is a tie."""
    chosen = set(picked)
    for one, other in itertools.combinations(names, 2):
        if not chosen:
            yield one, other, "tie"
        elif (one in chosen) != (other in chosen):
            yield one, other, "a" if one in chosen else "b"


def by_rank(ranks: Mapping[str, int]) -> Iterator[tuple[str, str, Choice]]:
    """Yield all pairs of ranked answers. The lowest rank is best, and equal ranks are a tie."""
    for (one, first), (other, second) in itertools.combinations(ranks.items(), 2):
        yield one, other, "tie" if first == second else "a" if first < second else "b"


def is_remark(control: str) -> bool:
    """Return whether a control's name says that it takes a remark on an answer."""
    return bool(set(fold_name(control).split("_")) & REMARKS)
