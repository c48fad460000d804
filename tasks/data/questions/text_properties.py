"""Recognize keys that describe a text, with a word of a verdict in their names: measures, counts and times.

Public data sets have many, as `language_score`, `max_stars_repo_path` and `grade_level`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any

from tasks.data.questions.proposed_meanings import REJECTION
from tasks.data.questions.seen_keys import Seen
from tasks.data.questions.vote_cells import VoteCells
from tasks.data.values.field_meanings import (
    ACCEPT,
    IGNORE,
    NEGATIVE,
    POSITIVE,
    REJECT,
    TIME_WORDS,
    flatten_name,
    removal_words,
    word_set,
)
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.name_words import AGAINST, LEFT_OUT
from tasks.data.verdicts.verdict_names import nears_review
from tasks.data.verdicts.verdict_values import LONG

_LANGUAGE = word_set("identification lang language languages")
_PROBABILITY = word_set("classifier fasttext prob proba probability")
_STARS = word_set("star stars stargazers")
_REPOSITORY = word_set(
    "event events fork forks gh git github gitlab max min repo repos repository stargazers"
)
# A number of these says how much was judged, and not how. Of flags or reports, each is against the text.
_JUDGED = word_set("annotation annotations evaluation evaluations rating ratings review reviews reviewers")
_COUNTS = word_set("count counts n num number total")
_WORKER = word_set("days last lifetime worker workers")
# Two words that are no verdict together, though one of them is alone.
_PAIRS = (
    *(frozenset(("grade", word)) for word in ("kincaid", "level", "reading", "school")),
    *(frozenset(("sensitive", word)) for word in ("case", "culture", "time")),
    *(frozenset(("use", word)) for word in ("language", "tool", "tools")),
)
_PERPLEXITY = word_set("perplexity pp ppl")
_FINAL = 3  # other values under `answer` that show final answers of exercises, and no verdicts
# A date, seconds since 1970, or a time as `Mon Mar 04 10:00:00 PST 2024`, in the spelling of `plain_word`.
_TIME = re.compile(
    r"\d{4}[_/.-]\d{1,2}[_/.-]\d{1,2}(?!\d).*|\d{1,2}[_/.]\d{1,2}[_/.]\d{4}.*|1\d{9}(?:\d{3})?(?:\.\d+)?|"
    r"(?:mon|tue|wed|thu|fri|sat|sun)_[a-z]{3}_\d\d?_\d\d?:\d\d.*"
)


def is_property(path: str, value: Any) -> bool:
    """Return whether an unread key and its value describe a text, as `language_score: 0.98`."""
    kind = _kind_of(path)
    if not kind:
        return False
    number = as_score(value)
    if number is None:
        return kind == "name" or (kind == "language" and isinstance(value, str))
    # People rate the language of an answer in whole numbers.
    return kind in ("name", "count") or 0 <= number <= 1


@lru_cache(maxsize=4096)
def _kind_of(path: str) -> str:
    """Return what makes a name one of a property: the name alone, a language, a probability or a count."""
    last = path.rpartition(".")[2]
    words = frozenset(flatten_name(last).split("_"))
    around = frozenset(flatten_name(path.replace(".", "_")).split("_"))
    if (words & _STARS and words & _REPOSITORY and "rating" not in words) or any(
        pair <= words for pair in _PAIRS
    ):
        return "name"
    if {"approval", "rate"} <= words and words & _WORKER:
        return "name"
    if around & _LANGUAGE and words & {"id", "label", "prob", "score"}:
        return "language"
    if words & _PROBABILITY and not around & (AGAINST | LEFT_OUT):
        return "probability"
    return "count" if words & _JUDGED and words & _COUNTS else ""


def without_properties(
    asked: Mapping[str, Seen],
    cells: Mapping[str, VoteCells],
    values: Mapping[str, Collection[str]],
    rows: int,
    has_answers: bool,
) -> dict[str, Seen]:
    """Return the keys that are asked about, without those that all their values make a property.

    Args:
        asked: The keys that look like a verdict by their names.
        cells: What the cells of each key are.
        values: The different values of each key.
        rows: The number of rows.
        has_answers: Whether some rows have an answer that a number could rate.
    """
    kinds: tuple[Callable[[str], bool], ...] = (
        lambda path: not has_answers and path in cells and _is_measured(path, cells[path]),
        lambda path: asked[path].count >= rows > 0 and _is_time(path, values.get(path, ())),
        lambda path: asked[path].looks == REJECTION and path.replace("rejected", "chosen") in values,
        lambda path: path in cells and cells[path].fine and _is_of_reward_model(path),
        lambda path: flatten_name(path) == "answer" and _are_final_answers(values.get(path, ())),
    )
    return {path: seen for path, seen in asked.items() if not any(fits(path) for fits in kinds)}


def _is_measured(path: str, cells: VoteCells) -> bool:
    """Return whether a column holds numbers that a program computed, as nobody rates with two decimals.

    A measure against the texts, as of toxicity, is asked about.
    """
    words = frozenset(flatten_name(path.replace(".", "_")).split("_"))
    if words & (AGAINST | LEFT_OUT) and not words & _PERPLEXITY:
        return False
    return cells.fine and set(cells.kinds) == {"number"}


def _is_of_reward_model(path: str) -> bool:
    """Return whether a key has the score of a reward model, as `rm_score`. No person gave it."""
    words = frozenset(flatten_name(path.replace(".", "_")).split("_"))
    return "rm" in words or {"reward", "model"} <= words


def _is_time(path: str, values: Collection[str]) -> bool:
    """Return whether a column holds the time of something that was done to every row, as `approved_at`."""
    words = frozenset(flatten_name(path.rpartition(".")[2]).split("_"))
    timed = bool(words & TIME_WORDS) and not words & removal_words()
    return timed and bool(values) and all(map(_TIME.fullmatch, values))


def _are_final_answers(values: Collection[str]) -> bool:
    """Return whether values under `answer` are those of exercises, of which some may be 1 or yes."""
    verdicts = POSITIVE | NEGATIVE | ACCEPT | REJECT | IGNORE | {LONG}
    reviewed = any(value in IGNORE or nears_review(value) for value in values)
    return not reviewed and sum(value not in verdicts for value in values) >= _FINAL
