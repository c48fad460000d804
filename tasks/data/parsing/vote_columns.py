"""Find columns that hold one person's votes each, as `anna` and `ben` beside a pair."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from tasks.data.parsing.field_meanings import flatten_name, plain_word
from tasks.data.parsing.ordinary_columns import is_ordinary_flag, is_ordinary_number
from tasks.data.parsing.scale_direction import tells_direction
from tasks.data.parsing.verdict_names import VERDICT_WORDS, looks_like_verdict
from tasks.data.parsing.verdict_values import NOBODY, QUANTITIES, SCALE_RANGE, named_as_verdict
from tasks.data.parsing.vote_cells import PLUS_CELL, SIDE_VALUES, VoteCells

MOST_OTHERS = 0.2  # the share of a column's cells that may be something else than votes
_MOST_BESIDE = 0.5  # the same for a column beside others that hold votes
_WORD = re.compile(r"[^\W\d_]+")
_PEOPLE = re.compile(
    r"(?:annotator|rater|judge|voter|labell?er|reviewer|evaluator|worker|user|person|expert|coder|r|a|u|p)_?\d+"
)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
# Words for a vote before or after a person's name, and words that are no person's name there.
_VOTES = frozenset((
    "feedback", "grade", "judgement", "judgment", "label", "lgtm", "ok", "okay", "quality", "rating", "score",
    "stars", "verdict", "vote",
))  # fmt: skip
_NO_PERSON = SIDE_VALUES | NOBODY | QUANTITIES | VERDICT_WORDS | frozenset((
    "average", "avg", "chosen", "clarity", "creativity", "final", "harmlessness", "max", "mean", "median",
    "min", "overall", "rejected", "safety", "std", "style", "sum", "truthfulness", "usefulness",
))  # fmt: skip


def find_vote_columns(
    cells_of: Mapping[str, VoteCells], told: Collection[str] = (), among: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the columns that contain one person's votes each; empty for none.

    Args:
        cells_of: The cells of each key.
        told: The columns that the preset calls votes.
        among: The keys that nothing reads.

    Returns:
        At least two columns of judgements, of flags or of numbers on a scale; beside `told`, also a single
        one. Columns for several questions that one person answered look the same.
    """
    columns = {name: cells_of[name] for name in among if name in cells_of}
    likely = {name: cells for name, cells in columns.items() if _may_be_person(name, cells)}
    signed = any(cells.kinds[PLUS_CELL] for cells in likely.values())
    whole = {name: cells for name, cells in likely.items() if cells.are_votes(MOST_OTHERS, signed)}
    families = (
        [name for name, cells in whole.items() if cells.judged],
        [name for name, cells in whole.items() if cells.flags],
        [name for name, cells in whole.items() if not cells.judged and cells.kinds["number"]],
    )
    found = {name for names in families if len(names) > 1 for name in names}
    found |= set(_votes_by_person(columns))
    if found or told:
        # A vote column that the advice left out would never be read.
        found |= {name for name, cells in likely.items() if cells.are_votes(_MOST_BESIDE, signed)}
    return tuple(name for name in columns if name in found or _is_named_as(name, told))


def _may_be_person(name: str, cells: VoteCells) -> bool:
    """Return whether a column may be named after a person, or after a question on an answer."""
    stem, person = _person_of(name)
    if "." in stem and not _ADDRESS.fullmatch(stem):
        return False
    # Mark is a given name too.
    if person or (plain_word(stem) == "mark" and cells.kinds["other"] == 0):
        return True
    words = _words_of(stem)
    # The scores of both answers of a choice, as `score_chosen`, are no people.
    if words & (NOBODY | VERDICT_WORDS) or named_as_verdict(stem, "4") or looks_like_verdict(stem, "4"):
        return False
    if cells.judged:
        return True
    return not (is_ordinary_flag(stem) if cells.flags else is_ordinary_number(stem))


@lru_cache(maxsize=4096)
def _person_of(name: str) -> tuple[str, bool]:
    """Return a column's name without its scale, and whether it names a person, as rater1 or an address.

    Several names with one and the same scale in brackets are people, or questions.
    """
    stem = _without_direction(name)
    known = bool(_PEOPLE.fullmatch(plain_word(stem)) or _ADDRESS.fullmatch(stem.strip()))
    return stem.strip(), known or stem != name


@lru_cache(maxsize=4096)
def _words_of(name: str) -> frozenset[str]:
    return frozenset(_WORD.findall(plain_word(name))) | frozenset(flatten_name(name).split("_"))


@lru_cache(maxsize=4096)
def _without_direction(name: str) -> str:
    """Return a column's name without what it says about its scale, as `Anna` for `Anna (1 = best)`."""
    if not tells_direction(name) and not SCALE_RANGE.search(name):
        return name
    return re.split(r"\s*(?:[(\[,;:]|\s[-–]\s|\s\d)", name, maxsplit=1)[0].strip() or name


def _is_named_as(name: str, told: Collection[str]) -> bool:
    """Return whether a column is named like columns that the preset calls votes, as rater1 beside rater2."""
    if not told:
        return False
    people = {re.sub(r"\d+", "#", plain_word(one)) for one in told if _PEOPLE.fullmatch(plain_word(one))}
    shared = {(word, place) for one in told for word, place, _ in _vote_words(one)}
    alike = any(
        (word, place) in shared and other not in _NO_PERSON for word, place, other in _vote_words(name)
    )
    return alike or re.sub(r"\d+", "#", plain_word(name)) in people


def _votes_by_person(columns: Mapping[str, VoteCells]) -> list[str]:
    """Return columns such as rating_ana and rating_ben: a word for a vote, and a person's name."""
    groups: dict[tuple[str, int], list[str]] = {}
    for name, cells in columns.items():
        if "." in name or not cells.are_votes(MOST_OTHERS, signed=False):
            continue
        for word, place, other in _vote_words(name):
            if other not in _NO_PERSON:
                groups.setdefault((word, place), []).append(name)
    return [name for names in groups.values() if len(names) > 1 for name in names]


def _vote_words(name: str) -> list[tuple[str, int, str]]:
    """Return each word for a vote in a name of two words, with its place and the other word."""
    words = flatten_name(_without_direction(name)).split("_")
    if len(words) != 2:
        return []
    return [
        (word, place, words[1 - place])
        for place, word in enumerate(words)
        if word in _VOTES or named_as_verdict(word, "4")
    ]


def describe_values(names: Sequence[str], columns: Mapping[str, Collection[str]]) -> str:
    """Return some of the different values of vote columns in a few words."""
    values = sorted({value for name in names for value in columns[name]} - {"\0"})
    return ", ".join(map(repr, values[:4])) + (", …" if len(values) > 4 else "")
