"""Read the votes of several people on one turn: a list of objects such as `votes`, or a list of scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.conversations import TURN_KEYS
from tasks.data.parsing.listed_votes import read_listed
from tasks.data.parsing.preference_fields import row_aspect
from tasks.data.parsing.unread_keys import count_unread
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import TurnVerdict
from tasks.data.values.annotators import UNKNOWN_ANNOTATOR
from tasks.data.values.field_meanings import is_empty
from tasks.data.values.key_text import format_sample
from tasks.data.values.several_scores import split_values
from tasks.data.values.value_meanings import read_meaning
from tasks.data.values.verdict_scales import scale_of


class TurnVotes(NamedTuple):
    """The keys of a turn that hold lists of votes, and the verdict of each that has a vote."""

    keys: frozenset[str]
    verdicts: dict[str, TurnVerdict]


def read_turn_votes(
    path: str, turn: Mapping[str, Any], reading: ParseOptions, where: str, tally: SkipCounts
) -> TurnVotes:
    """Return the votes on a turn in lists of objects, as `votes: [{"by": "ana", "vote": "bad"}]`.

    Such a list is read as a list beside an answer is: by known names, or by what `fields` says.

    Args:
        path: The key of the turns.
        turn: The turn.
        reading: The options of the parser.
        where: The turn's place, for messages.
        tally: Counts the other keys of the objects.

    Raises:
        UserError: A vote has no known spelling, or one person voted twice, and not the same.
    """
    prefix = f"{path}[]."
    fields = {
        key.removeprefix(prefix): said for key, said in reading.fields.items() if key.startswith(prefix)
    }
    inner = replace(reading, columns={}, fields=fields)
    keys, verdicts = set[str](), dict[str, TurnVerdict]()
    for name, value in turn.items():
        if name in TURN_KEYS or name in fields or not isinstance(value, list | dict | str):
            continue
        found = read_listed(name, value, turn, inner, where, tally, prefix)
        if found is None:
            continue
        keys.add(name)
        told = f"{prefix}{name}[].{found.vote}"
        count_unread(f"{prefix}{name}", found.others, reading, where.rpartition(", turn ")[0], tally)
        given = {person: vote for person, vote in found.votes.items() if not is_empty(vote)}
        scores = [_score(told, found.meaning, vote, where) for vote in given.values()]
        if isinstance(found.meaning, str):
            for vote in given.values():
                tally.note_scale(row_aspect({}, reading), scale_of(vote, found.meaning), told, where)
        if scores:
            verdicts[told] = several_verdict(scores, list(given))
    return TurnVotes(frozenset(keys), verdicts)


def read_turn_scores(key: str, meaning: Any, value: Any, where: str) -> TurnVerdict | None:
    """Return the verdict of several people whose scores are one value, as `[4, 3]`; None for one person's."""
    scores = split_values(value) if meaning in ("verdict", "penalty") else None
    if scores is None or len(scores) < 2:
        return None
    return several_verdict([_score(key, meaning, score, where) for score in scores], [])


def several_verdict(scores: list[float], people: list[str]) -> TurnVerdict:
    """Return the verdict of several people; those without a name are numbered."""
    named = people or [f"{UNKNOWN_ANNOTATOR}-{number}" for number in range(len(scores))]
    return TurnVerdict(sum(scores) / len(scores), several=tuple(scores), people=tuple(named))


def _score(key: str, meaning: Any, vote: Any, where: str) -> float:
    if isinstance(meaning, Mapping):
        # The mapping has been applied to the list.
        return float(vote)
    found = read_meaning(key, meaning, vote)
    if found is None or found[0] != "verdict":
        raise UserError(f"{where}: {key} is {format_sample(vote)}, which is no vote on an answer; correct it")
    return float(found[1])
