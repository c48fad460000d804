"""Recognize unread keys without which a row would be learned as something else.

A question may be about a passage beside it, or be answered by the letter of an option. A text may have a
question or an answer beside it, or be a whole conversation. Such a key is asked about: it changes what the
row means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.data.questions.question_text import ANSWER, BESIDE, DIALOGUE, OPTIONS, PASSAGE, QUESTION, REJECTED
from tasks.data.records import Pair, Rating, Record, Text
from tasks.data.values.column_names import NAMES, plain_name

# Names of a text that a question is about.
PASSAGES = (
    "context", "passage", "document", "article", "story", "paragraph", "excerpt", "narrative", "background",
    "support", "supporting_text", "reference_text", "source_text", "selftext",
)  # fmt: skip
# Names of the text below a title that asks.
POST_BODIES = ("body", "selftext", "question_body", "content", "post", "description", "text")
SUMMARIES = ("summary", "highlights", "tldr", "tl_dr")
_REJECTED = frozenset((*NAMES["rejected"], "negative", "incorrect_answer", "wrong_answer")) - {"bad", "worse"}
OPTION_LISTS = ("choices", "options", "endings", "answer_choices", "candidates", "alternatives")
RIGHT_OPTIONS = (
    "answer", "answer_key", "answer_idx", "answer_index", "correct", "correct_answer", "correct_option",
    "correct_idx", "gold", "label", "target", "cop",
)  # fmt: skip
_QUESTIONS = frozenset((*NAMES["prompt"], "questions", "prompts", "instructions")) - {"title", "user", "post"}
ANSWERS = frozenset((
    *NAMES["completion"], *SUMMARIES, "answers", "best_answer", "code", "completions", "correct_answers",
    "responses",
)) - {"text", "body", "content"}  # fmt: skip
_WORDS = 5  # of a passage; a title or a colour has fewer
_LETTER = re.compile(r"\(?(?:[A-Ha-h]|\d)[.):]?\)?")
# What begins a conversation that a program wrote as one text.
_DIALOGUE = re.compile(
    r"""\s*(?:<s>\s*)?(?:<\|begin_of_text\|>)?(?:
        \[INST\] | <\|im_start\|> | <\|start_header_id\|> | <start_of_turn> | <\|(?:user|system|prompter)\|>
      | \#\#\#\s*(?:Human|User|Instruction|Question|Input|System|Prompt)\s*:
      | (?:Human|USER|User)\s*:\s.*?\s(?:Assistant|ASSISTANT|AI|Bot)\s*:
      | Below\ is\ an\ instruction\ that\ describes
      )""",
    re.X | re.S,
)


def is_prose(value: Any, words: int = _WORDS) -> bool:
    """Return whether a value is a text of several words, in scripts without spaces of several letters."""
    if not isinstance(value, str) or len(value) < words:
        return False
    dense = sum(ord(letter) > 0x2E7F for letter in value[:200])
    return len(value[:2000].split()) >= words or dense >= 2 * words


def is_passage(key: str, value: Any) -> bool:
    """Return whether a key may hold a text that a question is about."""
    name = plain_name(key)
    # A story or a document may be a title, which a passage never is.
    return name in PASSAGES and is_prose(value, _WORDS if name not in ("passage", "context") else 3)


def is_dialogue(text: str) -> bool:
    """Return whether a text begins as a conversation in a chat template or a transcript."""
    return bool(_DIALOGUE.match(text[:4000]))


def is_option_letter(value: Any) -> bool:
    """Return whether an answer is only the letter or the number of an option."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, str) and bool(_LETTER.fullmatch(value.strip())))


def option_keys(values: Mapping[str, Any]) -> list[str]:
    """Return the keys that hold the options of a multiple-choice question; empty for none.

    They are one list, or an object of lists or texts, or a column for each letter.
    """
    for key, value in values.items():
        if plain_name(key) in OPTION_LISTS and _are_options(value):
            return [key]
    letters = {plain_name(key).rpartition("_")[2]: key for key, value in values.items() if value is not None}
    there = [letters[letter] for letter in "abcdefgh" if letter in letters]
    # Two columns a and b are two answers to compare.
    return there if len(there) > 2 and {"a", "b", "c"} <= letters.keys() else []


def _are_options(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip()[:1] in ("[", "{")
    listed = value.get("text", list(value.values())) if isinstance(value, dict) else value
    return isinstance(listed, list) and len(listed) > 1 and not any(isinstance(one, dict) for one in listed)


def companions_of(
    values: Mapping[str, Any], own: frozenset[str], row: Record, names: Mapping[str, str]
) -> Iterator[tuple[str, Any, str]]:
    """Yield the keys without which a record has another meaning: each with its value and its kind.

    Args:
        values: The row.
        own: Its keys that are read.
        row: The record that was made of it.
        names: The names of texts by their columns.
    """
    unread = {key: value for key, value in values.items() if key not in own}
    if isinstance(row, Text):
        text = names.get("text", "text")
        if is_dialogue(row.text):
            yield text, row.text, DIALOGUE
        for key, value in unread.items():
            name = plain_name(key)
            kind = QUESTION if name in _QUESTIONS else ANSWER if name in ANSWERS else ""
            if kind and any(is_prose(one, 3) for one in _texts(value)):
                yield key, value, f"{kind}{BESIDE}{text}"
        return
    prompt = row.prompt
    for key, value in unread.items():
        # A prompt that contains the passage already needs no other.
        if is_passage(key, value) and value.strip()[:200] not in prompt:
            yield key, value, PASSAGE
        # A word is a verdict, and a text of several words the answer that was not chosen.
        if isinstance(row, Pair) and plain_name(key) in _REJECTED and is_prose(value, 2):
            yield key, value, f"{REJECTED}{BESIDE}{names.get('completion', 'completion')}"
    if isinstance(row, Pair | Rating) and is_option_letter(row.completion):
        # Columns A and B are read as the answers of a comparison, which this row is not.
        for key in option_keys(values)[:1]:
            yield key, values[key], OPTIONS


def _texts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for held in value.values() for one in _texts(held)]
    return [one for held in value for one in _texts(held)] if isinstance(value, list) else [value]
