"""Count the keys that no format reads, and recognize those whose meaning must be asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from model.errors import UserError
from tasks.data.parsing.base import ParseOptions
from tasks.data.questions.gold_answers import looks_like_gold
from tasks.data.questions.ordinary_names import is_ordinary_name
from tasks.data.questions.proposed_meanings import (
    CORRECTION,
    ENDED,
    GOLD,
    GOLD_LIST,
    MASK,
    PRINTED,
    REJECTION,
)
from tasks.data.questions.question_text import NAMED_VOTES, REPLACED_ROW
from tasks.data.questions.skip_counts import VERDICT, SkipCounts
from tasks.data.questions.text_properties import is_property
from tasks.data.values.annotators import names_annotator
from tasks.data.values.field_meanings import (
    flatten_name,
    is_empty,
    plain_word,
    says_nothing_wrong,
    word_set,
)
from tasks.data.values.key_text import shown_key, yaml_key
from tasks.data.values.printed_values import holds_objects
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.correction_names import looks_like_correction, names_replaced
from tasks.data.verdicts.doubt_flags import looks_doubted
from tasks.data.verdicts.mark_columns import marks_removal
from tasks.data.verdicts.removal_names import looks_denied, looks_removed
from tasks.data.verdicts.verdict_names import (
    holds_verdict,
    is_remark_text,
    looks_like_failure,
    looks_like_verdict,
    names_judgement,
    names_rejection,
    value_parts,
)
from tasks.data.verdicts.verdict_openings import is_plain_vote, orders_removal, takes_back
from tasks.data.verdicts.verdict_phrases import asks_opinion
from tasks.data.verdicts.verdict_values import is_judgement, named_as_verdict

_DEEPEST, MOST_LEAVES = 100, 200
_LONGEST_VOTE = 20  # characters
_VOTED = word_set("bewertungen grades judgements ratings scores stimmen urteile verdicts votes")
_LONGEST_LIST = 1000  # characters of a text with several people's votes
_NAMED_VOTE = re.compile(r"[^\W\d][\w.@ -]{0,40}\s*[:=]\s*([^:=]{1,20})")
# What people click under a turn, in the spelling of `plain_word`.
_TURN_VOTES = frozenset(
    ("+1", "-1", "dislike", "disliked", "down", "downvote", "like", "liked", "up", "upvote")
)


def count_unread(
    path: str, value: Any, reading: ParseOptions, where: str, tally: SkipCounts, turn: str = ""
) -> None:
    """Count the leaves under a key, such as `metadata.quality` or `annotations[].label`.

    Args:
        path: The key.
        value: Its value.
        reading: The options of the parser.
        where: The row's place, for messages.
        tally: Counts the leaves.
        turn: The path, if it is a key of a turn.
    """
    listed = 0
    for leaf, held, name in _named_leaves(path, value, 0, path):
        # A list may have any number of items with equal keys; the first ones are enough to ask about.
        listed += "[]" in leaf
        if "[]" in leaf and listed > MOST_LEAVES:
            continue
        if is_empty(held):
            continue
        # A verdict inside it would be missed.
        if isinstance(held, dict) or (isinstance(held, list) and _holds_objects(held, 0)):
            raise RecursionError(f"{leaf} is nested too deeply")
        # A meaning of such a key would be dropped silently, as only `turn` says whose verdict it is.
        if "[]" in (leaf.removeprefix(turn) if turn else leaf):
            tally.inside.add(leaf)
        if _told_of(leaf, reading, tally):
            continue
        looks = _looks_like(leaf, held)
        removes = orders_removal(leaf, held) or takes_back(leaf, held)
        if not looks and (removes or _votes_inside(leaf, held, turn)):
            looks = VERDICT
        tally.note_unread(leaf, held, where, looks)
        tally.legends.note(held, where)
        tally.note_values(leaf, held, name)
        if looks == MASK and (isinstance(held, list) or len(value_parts(held)) > 1):
            # Its items may be masks or numbers of turns, and one of them alone masks nothing. So the list
            # counts as a value that cannot be named.
            tally.note_values(leaf, [[]])


def count_extra_key(key: str, value: Any, reading: ParseOptions, where: str, tally: SkipCounts) -> None:
    """Count a key of a format with fixed keys, which gives other keys no meaning.

    Raises:
        UserError: The source's fields give the key a meaning, which would be dropped.
    """
    meaning = reading.fields.get(key)
    if meaning is None:
        if not is_empty(value):
            tally.note_unread(key, value, where)
        return
    if meaning != "ignore":
        raise UserError(
            f"{where}: fields gives the key {shown_key(key)} a meaning, and this format reads only its own; "
            f"write {yaml_key(key)}: ignore, or choose the format rows"
        )
    tally.used.add(key)


def _looks_like(path: str, value: Any) -> str:
    """Return what a key looks like by its name, or by a value that is always a verdict; else empty."""
    if isinstance(value, str) and holds_objects(value):
        return PRINTED
    if _holds_people(path, value):
        return NAMED_VOTES
    if names_replaced(path, value):
        return REPLACED_ROW
    if is_ordinary_name(path) or is_property(path, value) or names_annotator(path):
        return VERDICT if holds_verdict(value) else ""
    if looks_like_gold(path, value):
        return GOLD_LIST if isinstance(value, list) and len(value) > 1 else GOLD
    looks = looks_like_verdict(path, value) or (ENDED if looks_like_failure(path, value) else "")
    if looks:
        return looks
    if (
        (any(named_as_verdict(part, value) for part in path.split(".")) and not is_remark_text(path, value))
        or marks_removal(path, value)
        or asks_opinion(path, value)
        or looks_removed(path, value)
        or looks_denied(path, value)
        or looks_doubted(path, value)
    ):
        return VERDICT
    if looks_like_correction(path, value):
        return CORRECTION
    return REJECTION if names_rejection(path) and not says_nothing_wrong(value) else ""


def _holds_people(path: str, value: Any) -> bool:
    """Return whether a value holds votes with their people, as `anna: good, ben: bad` or lists of two.

    Numbers are votes only under the name of a verdict: they may be amounts.
    """
    if not isinstance(value, list) and not (isinstance(value, str) and (":" in value or "=" in value)):
        return False
    words = set(flatten_name(path).split("_"))
    named = names_judgement(path) or named_as_verdict(path, "4") or not words.isdisjoint(_VOTED)
    if not named and is_ordinary_name(path):
        return False
    if isinstance(value, list):
        # As `[["anna", "good"], ["ben", "bad"]]`, which a program makes of an object.
        pairs = [one for one in value if isinstance(one, list | tuple) and len(one) == 2]
        return len(pairs) == len(value) > 0 and all(_is_vote(two[1], named) for two in pairs)
    if not isinstance(value, str) or len(value) > _LONGEST_LIST:
        return False
    parts = [_NAMED_VOTE.fullmatch(part.strip()) for part in re.split(r"[,;|\n]", value) if part.strip()]
    return len(parts) > 1 and all(part is not None and _is_vote(part[1], named) for part in parts)


def _is_vote(value: Any, numbers: bool) -> bool:
    if numbers and (isinstance(value, bool) or as_score(value) is not None):
        return True
    word = plain_word(value) if isinstance(value, str) else ""
    return bool(word) and (is_plain_vote(word) or is_judgement(word))


def _votes_inside(path: str, value: Any, turn: str) -> bool:
    """Return whether a value is a vote under a verdict's object or in a turn, as `feedback.type: down`.

    The last name, such as `type` or `name`, is then no verdict's, and the value alone may be a direction.
    """
    above = path.rpartition(".")[0]
    if not isinstance(value, str) or len(value) > _LONGEST_VOTE or not is_plain_vote(value):
        return False
    return names_judgement(above) or bool(turn and plain_word(value) in _TURN_VOTES)


def _told_of(path: str, reading: ParseOptions, tally: SkipCounts) -> bool:
    """Return whether `fields` gives a key's meaning, or ignores a key above it."""
    parts = path.split(".")
    for name in (".".join(parts[:n]) for n in range(1, len(parts) + 1)):
        # `fields` may name a list with or without its brackets.
        for spelled in (name, name.removesuffix("[]")):
            meaning = reading.fields.get(spelled)
            if meaning is not None and (spelled == path or meaning == "ignore"):
                tally.used.add(spelled)
                return True
    return False


def leaves_of(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    for leaf, held, _ in _named_leaves(path, value, depth, path):
        yield leaf, held


def _named_leaves(path: str, value: Any, depth: int, name: str) -> Iterator[tuple[str, Any, str]]:
    """Yield the paths under a key with their values, and the last key of each path."""
    if depth > _DEEPEST:
        yield path, value, name
        return
    if isinstance(value, dict):
        for key, held in value.items():
            yield from _named_leaves(f"{path}.{key}", held, depth + 1, str(key))
    elif isinstance(value, list) and _holds_objects(value, depth):
        for held in value:
            yield from _named_leaves(f"{path}[]", held, depth + 1, name)
    else:
        yield path, value, name


def _holds_objects(values: list[Any], depth: int) -> bool:
    """Return whether a list has objects, also inside the lists in it."""
    return any(
        isinstance(one, dict)
        or (isinstance(one, list) and depth < _DEEPEST and _holds_objects(one, depth + 1))
        for one in values
    )
