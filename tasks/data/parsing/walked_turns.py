"""Read the masks, verdicts and corrections in the turns of a conversation, and count their other keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import UserError
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.conversations import ROLE_PATH, TEXTS, TURN_KEYS, VERDICT, is_turn_list
from tasks.data.parsing.judged_rows import CORRECTED, CORRECTED_QUESTION
from tasks.data.parsing.preference_fields import row_aspect
from tasks.data.parsing.turn_votes import read_turn_scores, read_turn_votes
from tasks.data.parsing.unread_keys import count_unread
from tasks.data.parsing.vote_reasons import without_vote_reason
from tasks.data.questions.proposed_meanings import BYTES
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import TurnVerdict
from tasks.data.values.field_meanings import KNOWN, MASKS, VOTES, flatten_name, is_empty
from tasks.data.values.list_literals import holds_bytes, list_items
from tasks.data.values.roles import ROLE_KEYS, role_of, speaker_of
from tasks.data.values.several_scores import COUNTS, split_values
from tasks.data.values.value_meanings import mapped_value, maps_empty, read_meaning
from tasks.data.values.verdict_scales import scale_of

MASKED = "answers marked as not to be learned"
UNRATED = "answers of conversations that nobody rated"
MISPLACED = "verdicts on turns that are no answers"
# Meanings whose empty value says that nobody judged the answer.
_JUDGEMENTS = ("verdict", "penalty", *VOTES, "review")


def walk_turns(
    path: str, value: Any, reading: ParseOptions, where: str, tally: SkipCounts, rated: bool = False
) -> Any:
    """Count the unread keys of turns, and return the turns with their masks as `weight`.

    Args:
        path: The key of the turns.
        value: The turns.
        reading: The options of the parser.
        where: The row's place, for messages.
        tally: Counts the keys.
        rated: Whether a verdict rates the answer. Else an answer with a bad verdict is masked.
    """
    if isinstance(value, dict):
        inner = value.get("messages", value.get("conversations"))
        if is_turn_list(inner):
            name = "messages" if "messages" in value else "conversations"
            return {**value, name: walk_turns(f"{path}.{name}", inner, reading, where, tally, rated)}
        return walk_turns(path, [value], reading, where, tally, rated)[0]
    places = (f"{where}, turn {number}" for number in range(1, len(value) + 1))
    return [
        _walk_turn(path, turn, reading, place, tally, rated)
        for turn, place in zip(value, places, strict=True)
    ]


def spread_masks(
    values: Mapping[str, Any], key: str, reading: ParseOptions, where: str, tally: SkipCounts
) -> dict[str, Any]:
    """Return a row in whose turns stand the items of its masks, of which a list has one for each turn.

    Args:
        values: The row.
        key: The key of its turns.
        reading: The options of the parser.
        where: The row's place, for messages.
        tally: Records the keys of `fields` that are found.

    Raises:
        UserError: `fields` makes a key a mask, and its list has another length or other items.
    """
    turns = values.get(key)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return dict(values)
    found = dict(values)
    for name, value in values.items():
        meaning = reading.fields.get(name)
        known = meaning or KNOWN.get(flatten_name(name))
        flags = list_items(value) if known in MASKS and name != key else None
        if flags is None or len(flags) < 2:
            continue
        read = [read_meaning(name, meaning, flag) for flag in flags]
        tally.used |= {name} if meaning else set()
        if len(flags) != len(turns) or None in read:
            if meaning is None:
                continue
            raise UserError(
                f"{where}: {name} is a list of {len(flags)}, and there are {len(turns)} turns; expected 0 or "
                "1 for each turn, or ignore in the source's fields"
            )
        del found[name]
        learned = [one is None or bool(one[1]) for one in read]
        turns = [turn if learn else {**turn, "weight": 0} for turn, learn in zip(turns, learned, strict=True)]
        found[key] = turns
    return found


def _turn_keys(path: str, turn: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the path, the name and the value of each key of a turn."""
    yield from ((f"{path}[].{name}", name, held) for name, held in turn.items())


def _inner_keys(path: str, turn: Mapping[str, Any], reading: ParseOptions) -> Iterator[tuple[str, str, Any]]:
    """Yield the keys of objects in a turn to which `fields` gives a meaning, as `feedback.rating`."""
    for inside in reading.fields:
        name = inside.removeprefix(f"{path}[].")
        if name == inside or "[]" in name or name in turn:
            continue
        held: Any = turn
        for part in name.split("."):
            held = held.get(part) if isinstance(held, Mapping) else None
        if held is not None:
            yield inside, name, held


def _walk_turn(
    path: str, turn: Mapping[str, Any], reading: ParseOptions, where: str, tally: SkipCounts, rated: bool
) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    learned, right = True, ""
    told, verdicts = read_turn_votes(path, turn, reading, where, tally)
    judged = not told or bool(verdicts)
    if not rated:
        learned, verdicts = all(one.score > 0 for one in verdicts.values()), {}
    for inside, name, held in (*_inner_keys(path, turn, reading), *_turn_keys(path, turn)):
        meaning = reading.fields.get(inside)
        if meaning is not None:
            tally.used.add(inside)
        if name in told:
            continue
        # A name such as `content` is no mask unless the preset says so.
        if is_empty(held) and not maps_empty(meaning):
            judged = judged and meaning not in _JUDGEMENTS and not isinstance(meaning, Mapping)
            kept |= {name: held} if name in turn else {}
            continue
        if name in ROLE_KEYS and isinstance(meaning, Mapping):
            kept[name] = mapped_value(held, meaning) or held
            continue
        if name in TURN_KEYS and meaning in (None, "text"):
            if name in TEXTS and meaning is None and isinstance(held, str) and holds_bytes(held):
                tally.note_literal(inside, held, where, BYTES)
            kept[name] = held
            continue
        if meaning == "correction":
            right = str(held)
            continue
        if several := read_turn_scores(inside, meaning, held, where):
            verdicts |= {inside: several} if rated else {}
            learned = learned and (rated or several.score > 0)
            for one in split_values(held) or ():
                tally.note_scale(row_aspect({}, reading), scale_of(one, str(meaning)), inside, where)
            continue
        known = meaning or KNOWN.get(flatten_name(name)) in MASKS
        if meaning is not None:
            held = without_vote_reason(inside, meaning, held, where, tally)
        read = read_meaning(name, meaning, held) if known and meaning not in COUNTS else None
        if meaning is not None and (read is None or read[0] == "choice"):
            raise UserError(f"{where}: {inside} is {held!r:.40}, which fields gives no meaning")
        if read is None:
            count_unread(inside, held, reading, where.rpartition(", turn ")[0], tally, inside)
        elif read[0] == "ignore":
            continue
        elif read[0] == "learn":
            learned = learned and read[1]
        elif read[0] == "deleted" or read == ("review", "ignore"):
            learned = learned and read[0] == "deleted" and not read[1]
        elif read[0] == "verdict" and rated:
            verdicts[inside] = TurnVerdict(read[1])
            if isinstance(meaning, str):
                tally.note_scale(row_aspect({}, reading), scale_of(held, meaning), inside, where)
        elif read == ("review", "reject") and rated:
            verdicts[inside] = TurnVerdict(-1.0, rejected=True)
        else:
            learned = learned and (read[1] == "accept" if read[0] == "review" else read[1] > 0)
    role = role_of({**turn, **kept})
    if role is None:
        kept[ROLE_PATH] = f"{path}[].{speaker_of(turn)[0]}"
    speaks = role in ("assistant", None)
    if len({verdict.score for verdict in verdicts.values()}) > 1:
        first, second = list(verdicts)[:2]
        raise UserError(f"{where}: {first} and {second} are two verdicts; ignore one of them in fields")
    if verdicts and not speaks:
        tally.left_out[MISPLACED] += 1
    elif verdicts and learned:
        kept[VERDICT] = next(iter(verdicts.values()))
    elif rated and speaks and learned and not judged and not right:
        tally.left_out[UNRATED] += 1
        kept["weight"] = 0
    if not learned:
        if speaks:
            tally.left_out[MASKED] += 1
        kept["weight"] = 0
    if right:
        said = "value" if "value" in kept else "content"
        if VERDICT in kept:
            # The verdict is about the answer before its correction.
            kept[VERDICT] = kept[VERDICT]._replace(text=str(kept.get(said)))
        else:
            tally.left_out[CORRECTED if speaks else CORRECTED_QUESTION] += 1
        kept[said] = right
    return kept
