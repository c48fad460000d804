"""Split a vote from the reason that somebody wrote behind it, as in `down: too long`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.values.field_meanings import KNOWN, NEGATIVE, POSITIVE, as_verdict, flatten_name, plain_word
from tasks.data.verdicts.verdict_names import UNSURE
from tasks.data.verdicts.verdict_openings import is_plain_vote, opening_of
from tasks.data.verdicts.verdict_values import WEAK

# What a word for or against an answer means under these. Under others, as a penalty, it is asked about.
_KINDS = ("number", "thumb", "verdict", "vote", "word")
_EDGES = " \t\r\n\"'“”„«»*_:;.!–—-()[]"
_WORD = re.compile(r"[^\W_]+")
# With such a word, the rest may take the vote back.
_CONTRAST = frozenset((
    "aber", "although", "but", "except", "however", "jedoch", "ma", "maar", "mais", "mas", "obwohl", "pero",
    "though", "unless", "yet",
))  # fmt: skip
_PRAISE = (POSITIVE - WEAK) | {"up", "yes"}
_NEGATIONS = frozenset(("false", "kein", "keine", "never", "nicht", "no", "non", "none", "not", "pas"))
_FAULTS = frozenset((
    "deleted", "hallucinated", "hallucination", "inaccurate", "incorrect", "rejected", "removed",
    "retracted", "spam", "unsafe", "useless", "wrong",
))  # fmt: skip
_SCORED = re.compile(r"\d\s*(?:/|of|von|out\s+of)\s*\d|(?<!\w)[-+]\d|^\s*\d+(?:[.,]\d+)?\s*$")
_SIGNS = re.compile("[👎👍❌✗✘✖⛔🚫💩✓✔✅]")


def split_reason(value: Any) -> tuple[str, str] | None:
    """Return a vote and its reason, if a text is a plain vote that a colon, a dash or a bracket follows.

    None for any other value, and for a reason with a word of the other side or a `but`, which leaves open
    what the person meant.
    """
    begun = opening_of(value)
    if not begun or not is_plain_vote(begun):
        return None
    sign, reason = as_verdict(begun), str(value).partition(begun)[2].strip(_EDGES)
    words = {plain_word(word) for word in _WORD.findall(reason)}
    # A reason in doubt, as in `good (?)` and `up: unsure`, or without a word.
    if sign is None or not words or "?" in reason or words & UNSURE:
        return None
    # `down: not helpful` says why, and `down: not really` takes the vote back.
    negated = words & _NEGATIONS if sign > 0 else words and words <= _NEGATIONS | {"really", "so"}
    if words & _CONTRAST or negated or words & (_PRAISE if sign < 0 else NEGATIVE | _FAULTS):
        return None
    # A picture, a score or a sign for the other side, as in `good: 👎`, `+1 (-1)` and `good (0/5)`.
    other = as_verdict(reason.strip(_EDGES + "+"))
    if (other is not None and other != sign) or _SCORED.search(reason) or _SIGNS.search(reason):
        return None
    return begun, reason


def without_vote_reason(path: str, meaning: Any, value: Any, where: str, tally: SkipCounts) -> Any:
    """Return the vote of a cell that goes on with a reason, and list the reason; other values unchanged.

    Args:
        path: The key.
        meaning: Its meaning in the preset's `fields`; None if its name decides.
        value: The value.
        where: The row's place.
        tally: Lists the reasons, as nothing reads them.
    """
    mapped = isinstance(meaning, Mapping)
    kind = "" if mapped else meaning or KNOWN.get(flatten_name(path), "")
    if not isinstance(value, str) or not (mapped or kind in _KINDS):
        return value
    found = split_reason(value)
    # A mapping may list the whole cell, or not list its vote.
    if found is None or (mapped and (value in meaning or found[0] not in meaning)):
        return value
    tally.note_unread(f"{path} (the reason after a vote)", found[1], where)
    return found[0]
