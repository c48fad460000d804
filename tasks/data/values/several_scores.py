"""Read the scores of several people in one value: `4;5;3`, a list, or counts of votes for and against."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from tasks.data.values.field_meanings import SHORTCODE, TICKS, as_flag, flatten_name, word_set
from tasks.data.values.list_literals import read_literal
from tasks.data.values.score_values import as_score
from tasks.data.values.verdict_scales import COMMA_DECIMAL, COMMA_LIST

UPVOTES, DOWNVOTES = "upvotes", "downvotes"
COUNTS = (UPVOTES, DOWNVOTES)
MOST_VOTES = 1000  # scores of one row; more votes keep their share
_UP = word_set(
    """
    👍 + accept accepted agree agreed agrees approve approved best better chosen correct for good helpful like
    liked likes pass passed positive preferred pro right thumb_up thumbs_up thumbsup thumbup true up ups
    upvote upvotes useful valid win wins won yes
    """
)
_DOWN = word_set(
    """
    👎 - against bad con contra decline declined disagree disagreed disapprove disapproved dislike disliked
    dislikes dispreferred down downs downvote downvotes fail failed false incorrect invalid lose loses loss
    losses lost negative no reject rejected thumb_down thumbdown thumbs_down thumbsdown unhelpful useless
    worse worst wrong
    """
)
# Emoji by which people in chats approve or disapprove. Others, such as a heart or eyes, say neither.
_APPROVING = word_set(
    "+1 👍 thumbsup thumbs_up thumbup ballot_box_with_check heavy_check_mark white_check_mark ✅"
)
_REFUSING = word_set(
    "-1 👎 thumbsdown thumbs_down thumbdown x ❌ no_entry no_entry_sign negative_squared_cross_mark"
)
_FILLERS = word_set("answer by count counts is n num number of response the total vote votes")


# Faces with a sign that separates values, as `:-|` and `;)`.
_FACE = re.compile(r"[:;][',]?[-^o~]?[()\[\]{}|/\\DPpO*]+|[()\[\]|]+[-^o~]?[:;]")


def is_face(value: Any) -> bool:
    """Return whether a value is a face in signs, whose bar or semicolon separates nothing."""
    return isinstance(value, str) and _FACE.fullmatch(value.strip()) is not None


def split_values(value: Any) -> list[Any] | None:
    """Return the values of several people in one value; None for a value of one person.

    A cell separates them by semicolons, bars, line breaks, or commas. One comma without a space is a decimal
    comma, as in `4,5`. Blank parts are people without a value.
    """
    if isinstance(value, str) and not is_face(value):
        bare = value.strip()
        if bare[:1] in ("[", "("):
            try:
                value = read_literal(bare)
            except ValueError:
                return None
        elif re.search(r"[;|\n]", bare):
            value = re.split(r"[;|\n]", bare)
        elif re.search(r",\s|,[^,]*,", bare):
            value = bare.split(",")
    if not isinstance(value, list | tuple):
        return None
    parts = [part.strip() if isinstance(part, str) else part for part in value]
    return [part for part in parts if part not in (None, "")]


def comma_scale(value: Any) -> str:
    """Return how a text uses a comma without a space: between numbers, or as a decimal comma; else empty."""
    bare = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"\d+(?:,\d+){2,}", bare):
        return COMMA_LIST
    return COMMA_DECIMAL if re.fullmatch(r"\d+,\d+", bare) else ""


def count_votes(counts: Mapping[str, int]) -> list[float]:
    """Return a score of 1 for each vote for an answer and one of -1 for each vote against it.

    Args:
        counts: The numbers of votes by UPVOTES and DOWNVOTES.
    """
    up, down = (counts.get(name, 0) for name in COUNTS)
    total = up + down
    if total > MOST_VOTES:
        # Thousands of equal scores say no more about an answer than their share does.
        up = round(up * MOST_VOTES / total)
        down = MOST_VOTES - up
    return [1.0] * up + [-1.0] * down


def as_count(value: Any) -> int | None:
    """Return a whole number from 0 in any usual spelling, and 1 or 0 for a flag or a tick; else None."""
    number = as_score(value)
    if number is None:
        flag = True if str(value).strip().lower() in TICKS else as_flag(value)
        return None if flag is None else int(flag)
    return int(number) if number is not None and number >= 0 and number.is_integer() else None


def find_counts(columns: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the column of votes for an answer and that of votes against it, with their meanings.

    Args:
        columns: The different values of each unread key.

    Returns:
        Both columns; empty unless there is exactly one of each, under one object. Beside them, the other
        columns of an object of reactions are ignored.
    """
    found: dict[str, str] = {}
    for name, values in columns.items():
        # Nothing adds up the votes in a turn or in a list.
        side = "" if "[]" in name else _side_of(name)
        if side and values and all(as_count(value) is not None for value in values):
            found[name] = side
    holders = {name.rpartition(".")[0] for name in found}
    if sorted(found.values()) != sorted(COUNTS) or len(holders) > 1:
        return {}
    holder = holders.pop()
    if "reaction" in holder.lower():
        # A heart or a laugh beside the thumbs is neither for the answer nor against it.
        found |= {name: "ignore" for name in columns if name.startswith(f"{holder}.") and name not in found}
    return found


def find_reactions(columns: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the counts of emoji in objects of reactions, as `reactions.-1`, with their meanings.

    A number of thumbs down is nobody's vote: four of them would be a score of 4. Emoji that are neither for
    the answer nor against it are ignored.

    Args:
        columns: The different values of each unread key.
    """
    sides: dict[str, str] = {}
    for name, values in columns.items():
        holder, _, last = name.rpartition(".")
        if (
            "[]" in name
            or not values
            or not all(not value or as_count(value) is not None for value in values)
        ):
            continue
        emoji = SHORTCODE.sub(r"\1", last.strip()).lower()
        if "reaction" in holder.lower() or (holder == "" and emoji in ("+1", "-1")):
            side = UPVOTES if emoji in _APPROVING else DOWNVOTES if emoji in _REFUSING else "ignore"
            sides[name] = side
    told = {name.rpartition(".")[0] for name, side in sides.items() if side != "ignore"}
    # Without a known emoji, the keys may be people.
    return {name: side for name, side in sides.items() if name.rpartition(".")[0] in told}


def _side_of(name: str) -> str:
    last = name.rpartition(".")[2]
    if last in ("+1", "-1"):
        return UPVOTES if last == "+1" else DOWNVOTES
    flat = flatten_name(last)
    words = set(flat.split("_")) - _FILLERS
    for word, side in (
        ("thumbs_up", UPVOTES),
        ("thumb_up", UPVOTES),
        ("thumbs_down", DOWNVOTES),
        ("thumb_down", DOWNVOTES),
    ):
        if flat.startswith(word) and words - set(word.split("_")) == set():
            return side
    if not words or words - _UP - _DOWN:
        return ""
    return UPVOTES if words <= _UP else DOWNVOTES if words <= _DOWN else ""
