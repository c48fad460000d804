"""Check that the turns of a conversation are in the order in which they were said.

Interfaces of chat programs often return the newest turn first. Read so, each answer would be learned as the
answer to the question after it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from model.errors import UserError
from tasks.data.values.field_meanings import flatten_name
from tasks.data.values.key_text import yaml_key
from tasks.data.values.label_times import LATEST_SECONDS, iso_time, time_seconds

# When a turn was said. A time of its last change says nothing about the order.
_TIMES = frozenset((
    "created", "created_at", "createdat", "create_time", "createtime", "created_time", "createdtime", "date",
    "datetime", "sent", "sent_at", "sentat", "time", "timestamp", "ts",
))  # fmt: skip
_NUMBERS = frozenset((
    "idx", "index", "message_id", "message_index", "message_number", "number", "position", "seq", "sequence",
    "turn", "turn_id", "turn_index", "turn_number",
))  # fmt: skip
_SKEW = 1.0  # seconds by which the clocks of two programs may differ


def check_turn_order(turns: object, column: str, ignored: Collection[str], where: str) -> None:
    """Raise UserError if a key of all turns says that a later turn comes first.

    Args:
        turns: The value of a conversation's key; anything but a list of objects passes.
        column: The conversation's key.
        ignored: Keys of turns that say nothing, as the preset has it.
        where: The place of the row.
    """
    if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, dict) for turn in turns):
        return
    for key in turns[0]:
        if key in ignored or not isinstance(key, str):
            continue
        flat = flatten_name(key)
        if flat not in _TIMES | _NUMBERS:
            continue
        places = [_moment(turn.get(key), flat in _TIMES) for turn in turns]
        if (early := _first_earlier(places, _SKEW if flat in _TIMES else 0.0)) is None:
            continue
        raise UserError(
            f"{where}: the turns are not in the order of {key}: turn {early + 2} comes before turn "
            f"{early + 1}; sort them, the oldest first, or say that the key is no order, as in "
            f"fields: {{{yaml_key(f'{column}[].{key}')}: ignore}}"
        )


def _first_earlier(places: Sequence[float | None], skew: float) -> int | None:
    """Return the first turn whose next one is earlier; None if there is none, or a turn has no place."""
    known = [place for place in places if place is not None]
    if len(known) < len(places):
        return None
    falls = [index for index, (one, two) in enumerate(pairwise(known)) if two < one - skew]
    # Numbers may count anew for each speaker, so only a fall at every step says that they are reversed.
    return falls[0] if falls and (skew or len(falls) == len(known) - 1) else None


def _moment(value: Any, is_time: bool) -> float | None:
    """Return a time in seconds, or a number; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is not None:
        # Also milliseconds, microseconds and nanoseconds since 1970.
        while is_time and LATEST_SECONDS <= number < math.inf:
            number /= 1000
        return number if math.isfinite(number) else None
    if not is_time or not (said := iso_time(value)):
        return None
    return time_seconds(said)
