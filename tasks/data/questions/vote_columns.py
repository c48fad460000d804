"""Find columns that hold one person's votes each, as `anna` and `ben` beside a pair."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tasks.common.annotators import visible_name
from tasks.data.questions.alike_columns import alike_columns, has_scale_ends, shape_of
from tasks.data.questions.vote_cells import MOST_OTHERS, PLUS_CELL, SIDE_VALUES, VoteCells
from tasks.data.values.field_meanings import flatten_name, plain_word
from tasks.data.values.key_paths import find_keys
from tasks.data.values.scale_direction import tells_direction
from tasks.data.verdicts.ordinary_columns import is_ordinary_flag, is_ordinary_number
from tasks.data.verdicts.verdict_names import VERDICT_WORDS, is_remark_text, looks_like_verdict
from tasks.data.verdicts.verdict_values import NOBODY, QUANTITIES, SCALE_RANGE, named_as_verdict

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
# Words that are no person's name as an object around a vote, as in `answer.rating`.
_NO_OBJECT = _NO_PERSON | frozenset((
    "a", "annotation", "annotations", "answer", "b", "completion", "data", "extra", "human", "info", "meta",
    "metadata", "output", "prompt", "question", "response", "text",
))  # fmt: skip
_HOLDERS = frozenset(("people", "persons", "raters", "annotators", "annotator", "reviewers", "judges"))
# Names of columns whose letters are classes of things, as `section: C`.
_CLASSES = frozenset((
    "arm", "block", "category", "class", "cohort", "drive", "exam", "key", "letter", "lot", "phase", "plan",
    "region", "row", "section", "series", "set", "shelf", "side", "size", "strain", "track", "type",
    "vitamin", "wing", "zone",
))  # fmt: skip
# Names of objects that hold settings and measures.
_SETTINGS = frozenset((
    "args", "bbox", "box", "config", "configuration", "coordinates", "counts", "decoding", "dimensions",
    "dims", "env", "generation", "header", "headers", "hyperparameters", "kwargs", "latency", "logprobs",
    "options", "param", "parameter", "parameters", "params", "position", "request", "runtime", "sampling",
    "setting", "settings", "shape", "size", "statistics", "stats", "timing", "timings", "tokens", "usage",
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
    columns = {path: cells_of[path] for path in among if path in cells_of}
    names = _own_names(columns)
    likely = {
        path: cells
        for path, cells in columns.items()
        if _may_be_person(names[path], cells) and not _are_settings(path, names[path], cells)
    }
    signed = any(cells.kinds[PLUS_CELL] for cells in likely.values())
    likely |= _like_people(columns, likely, names, signed)
    whole = {path: cells for path, cells in likely.items() if cells.are_votes(MOST_OTHERS, signed)}
    families: dict[tuple[str, str], list[str]] = {}
    for path, cells in whole.items():
        kinds = {
            "judged": cells.judged,
            "lettered": cells.lettered,
            "flags": cells.flags,
            # A word among numbers is a remark.
            "numbers": cells.has_numbers and cells.kinds["number"] > cells.judgements,
        }
        for kind in (kind for kind, fits in kinds.items() if fits):
            families.setdefault((holder_of(path, names[path]), kind), []).append(path)
    found = {path for paths in families.values() if len(paths) > 1 for path in paths}
    found |= set(_votes_by_person(columns, names)) | _unlike_votes(whole, names)
    # A vote column that the advice left out would never be read.
    holders = {holder_of(path, names[path]) for path in found}
    holders |= {holder for path in told for holder in ("", path.rpartition(".")[0])}
    found |= {
        path
        for path, cells in likely.items()
        if holder_of(path, names[path]) in holders and cells.are_votes(_MOST_BESIDE, signed)
    }
    return tuple(path for path in columns if path in found or _is_named_as(path, told))


def _unlike_votes(whole: Mapping[str, VoteCells], names: Mapping[str, str]) -> set[str]:
    """Return the columns of people who vote in different ways, as numbers beside thumbs or grades.

    A column of judgements is asked about anyway, and then the votes beside it would be lost. Grades and
    numbers on a usual scale are each votes only beside the other.
    """
    found = set()
    for path, cells in whole.items():
        beside = {
            other
            for other in whole
            if other != path
            and holder_of(other, names[other]) == holder_of(path, names[path])
            and shape_of(names[other]) == shape_of(names[path])
        }
        scaled = {other for other in beside if has_scale_ends(whole[other])}
        if beside and cells.judgements:
            found |= {path, *beside}
        elif cells.grades and scaled:
            found |= {path, *scaled}
    return found


def _like_people(
    columns: Mapping[str, VoteCells], likely: Mapping[str, VoteCells], names: Mapping[str, str], signed: bool
) -> dict[str, VoteCells]:
    """Return the other columns that are like people's votes, as `Max Roth` beside `Ana Lima`."""
    votes = {path: cells for path, cells in columns.items() if cells.are_votes(MOST_OTHERS, signed)}
    others = {
        path: cells
        for path, cells in votes.items()
        if path not in likely
        and not _are_settings(path, names[path], cells)
        and (not _looks_judged(names[path]) or _has_surname(names[path]))
    }
    people = {path: cells for path, cells in votes.items() if path in likely}
    holders = {path: holder_of(path, names[path]) for path in columns}
    return {path: columns[path] for path in alike_columns(others, people, names, holders)}


def _has_surname(name: str) -> bool:
    """Return whether a name of two words may be a person whose surname is a word for a vote: Grace Score."""
    words = flatten_name(_without_direction(name)).split("_")
    return (
        len(words) == 2
        and " " in name.strip()
        and sum(_is_vote_word(word) or word in VERDICT_WORDS for word in words) == 1
        and _NO_OBJECT.isdisjoint(set(words) - VERDICT_WORDS - _VOTES)
    )


def holder_of(path: str, name: str) -> str:
    """Return the path of the object that holds a key; empty for a key of the row itself."""
    return path[: -len(name)].rstrip(".")


def _own_names(columns: Mapping[str, VoteCells]) -> dict[str, str]:
    """Return the last key of each path.

    Tables write the keys of one object with dots, as `votes.anna` and `votes.ben`. A single key with a dot is
    a name, as `a.meyer`.
    """
    own = {path: cells.name or path for path, cells in columns.items()}
    holders = {path: _dotted_holder(path) for path, name in own.items() if name == path}
    shared = Counter(filter(None, holders.values()))
    return {
        path: name.rpartition(".")[2] if shared[holders.get(path, "")] > 1 else name
        for path, name in own.items()
    }


def _dotted_holder(name: str) -> str:
    """Return what stands before the last dot of a name; empty for none, an address, and words with spaces."""
    holder, _, last = name.rpartition(".")
    return holder if last and not re.search(r"\s|@", name) else ""


def _are_settings(path: str, name: str, cells: VoteCells) -> bool:
    """Return whether a key stands in an object of settings or measures, as `usage.cached`."""
    return not cells.judged and not _SETTINGS.isdisjoint(_words_of(holder_of(path, name)))


def _may_be_person(name: str, cells: VoteCells) -> bool:
    """Return whether a key may be named after a person, or after a question on an answer."""
    stem, person = _person_of(name)
    # Mark is a given name too.
    if person or (plain_word(stem) == "mark" and cells.kinds["other"] == 0):
        return True
    words = _words_of(stem)
    if words & NOBODY or _looks_judged(stem):
        return False
    # Remarks on pairs often read like ties, as `both good`; a person's votes name a side too.
    if cells.names_no_side and is_remark_text(stem, ""):
        return False
    if cells.judged:
        return True
    if cells.grades:
        return not is_ordinary_flag(stem) and words.isdisjoint(_CLASSES)
    return not (is_ordinary_flag(stem) if cells.flags else is_ordinary_number(stem))


def _looks_judged(name: str) -> bool:
    # The scores of both answers of a choice, as `score_chosen`, are no people.
    return (
        not VERDICT_WORDS.isdisjoint(_words_of(name))
        or named_as_verdict(name, "4")
        or bool(looks_like_verdict(name, "4"))
    )


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


def _votes_by_person(columns: Mapping[str, VoteCells], names: Mapping[str, str]) -> list[str]:
    """Return columns such as rating_ana and rating_ben: a word for a vote, and a person's name.

    The two may also be keys of two objects, as `ana.rating` and `ben.rating`.
    """
    groups: dict[tuple[str, str, int], list[str]] = {}
    for path, cells in columns.items():
        if not cells.are_votes(MOST_OTHERS, signed=False):
            continue
        name, holder = names[path], holder_of(path, names[path])
        for word, place, other in _vote_words(name):
            if other not in _NO_PERSON:
                groups.setdefault((holder, word, place), []).append(path)
        person = holder.rpartition(".")[2]
        if person and _is_vote_word(flatten_name(name)) and not _words_of(person) & _NO_OBJECT:
            groups.setdefault((holder_of(holder, person), name, 0), []).append(path)
    return [path for paths in groups.values() if len(paths) > 1 for path in paths]


def voter_name(values: Mapping[str, Any], path: str) -> str:
    """Return the person whose vote a path holds: its last key, or the one before a word such as `rating`."""
    keys = find_keys(values, path) or (path,)
    keys = (*keys[:-1], *_split_flat(keys[-1]))
    return visible_name(keys[-2] if len(keys) > 1 and _is_vote_word(flatten_name(keys[-1])) else keys[-1])


def _split_flat(path: str) -> tuple[str, ...]:
    """Return the names in a column that a table writes for the key of an object, as `votes.dan`.

    Another name with a dot is a person's, as `a.meyer`.
    """
    if re.search(r"\s|@", path):
        return (path,)
    holder, _, last = path.rpartition(".")
    # A single letter is an initial.
    words = {word for word in _words_of(holder) if len(word) > 1}
    if holder and last and (words & (_NO_OBJECT | _VOTES | _HOLDERS) or _is_vote_word(flatten_name(last))):
        return (holder, last)
    return (path,)


def _is_vote_word(word: str) -> bool:
    return word in _VOTES or named_as_verdict(word, "4")


def _vote_words(name: str) -> list[tuple[str, int, str]]:
    """Return each word for a vote in a name of two words, with its place and the other word."""
    words = flatten_name(_without_direction(name)).split("_")
    if len(words) != 2:
        return []
    return [(word, place, words[1 - place]) for place, word in enumerate(words) if _is_vote_word(word)]


def describe_values(names: Sequence[str], columns: Mapping[str, Collection[str]]) -> str:
    """Return some of the different values of vote columns in a few words."""
    values = sorted({value for name in names for value in columns[name]} - {"\0"})
    return ", ".join(map(repr, values[:4])) + (", …" if len(values) > 4 else "")
