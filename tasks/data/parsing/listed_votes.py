"""Read people's votes in a list of objects, as `ratings: [{"by": "anna", "vote": "good"}]`.

Each vote becomes one of a person's column: `ratings.anna` with the meaning `vote`. So it is read as such a
column is, beside an answer as a rating, and beside two answers as a choice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.data.parsing.base import ListedVote, ParseOptions
from tasks.data.parsing.row_verdicts import NO_VOTE
from tasks.data.parsing.unread_keys import count_unread
from tasks.data.questions.proposed_meanings import UNKNOWN
from tasks.data.questions.question_text import values_mapping
from tasks.data.questions.seen_keys import MOST_KEYS
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.questions.vote_columns import voter_name
from tasks.data.values.annotators import ANNOTATORS, PEOPLE, UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.data.values.column_names import NAMES
from tasks.data.values.field_meanings import (
    ANNOTATOR,
    KNOWN,
    VOTES,
    as_flag,
    flatten_name,
    is_empty,
    word_set,
)
from tasks.data.values.key_paths import find_keys, value_at, with_value
from tasks.data.values.key_text import format_sample, shown_key, yaml_key
from tasks.data.values.list_literals import opened_objects
from tasks.data.values.score_values import as_score
from tasks.data.values.value_meanings import mapped_value, maps_sides
from tasks.data.verdicts.verdict_values import MOST_VALUES

TWICE = "votes that a person gave twice in one list"
# Names of a list of which each object is one person's vote. An empty list of these is nobody's.
_VOTED = word_set(
    """
    assessments evaluations grades judgements judgments preferences ratings scores verdicts votes
    beurteilungen bewertungen stimmen urteile évaluations jugements votos valoraciones evaluaciones
    calificaciones valutazioni voti avaliações beoordelingen stemmen
    """
)
_LISTS = _VOTED | word_set("annotations feedback feedbacks human_feedback labels")
_QUESTIONS = word_set(
    "aspect attribute category criterion dimension metric question aspekt frage kategorie kriterium"
)
_RATING_KINDS = ("thumb", "word", "number")
_CHOICES = frozenset((*NAMES["choice"], "value"))
_MOST = 1000  # objects of a list


class _Keys(NamedTuple):
    """The keys of an object with one person's vote, and the vote's meaning. `person` is empty for nobody."""

    person: str
    vote: str
    meaning: Any


class ListedVotes(NamedTuple):
    """A list of votes: the key of the vote, its meaning, the votes by their people, and the other keys."""

    vote: str
    meaning: Any
    votes: dict[str, Any]
    others: list[dict[str, Any]]


def read_listed(
    name: str,
    given: Any,
    values: Mapping[str, Any],
    reading: ParseOptions,
    where: str,
    tally: SkipCounts,
    prefix: str,
) -> ListedVotes | None:
    """Return the votes of a list of objects; None for a list that is not known as one.

    Args:
        name: The key of the list.
        given: The list.
        values: The object that holds it, such as a turn.
        reading: The options of the parser, with `fields` named from that object.
        where: The place, for messages.
        tally: Gets the keys of `fields` that are found.
        prefix: The path of the object, as `messages[].`.

    Raises:
        UserError: One person voted twice, and not the same.
    """
    value = _as_objects(opened_objects(given))
    keys = _told_keys(name, value, reading) or _known_keys(name, value, values, (), reading)
    if keys is None:
        return None
    tally.used |= {f"{prefix}{name}[].{key}" for key in (keys.vote, keys.person) if key}
    votes = _votes_of(value or [], keys, f"{prefix}{name}", where, tally)
    return ListedVotes(keys.vote, keys.meaning, votes, [_without(one, keys) for one in value or []])


def spread_votes(
    values: dict[str, Any], own: Collection[str], reading: ParseOptions, where: str, tally: SkipCounts
) -> tuple[dict[str, Any], ParseOptions]:
    """Return a row with the votes of its lists by their people, and options that read these as votes.

    Args:
        values: The row.
        own: The keys that its format reads.
        reading: The options of the parser. Its `fields` may say which keys are the vote and the person.
        where: The row's place, for messages.
        tally: Counts the other keys of the objects, and votes that were given twice.

    Raises:
        UserError: One person voted twice, and not the same.
    """
    values, reading = _spread_choices(_with_opened(values, own, reading), own, reading, tally)
    found, fields, listed = values, dict(reading.fields), dict(reading.listed)
    for name, place in _list_places(values, own, reading):
        if name in reading.fields or f"{name}[]" in reading.fields:
            continue
        value = _as_objects(opened_objects(value_at(values, place)))
        keys = _told_keys(name, value, reading)
        if keys is None and len(place) == 1:
            keys = _known_keys(name, value, values, own, reading)
        if keys is None:
            continue
        path = f"{name}[].{keys.vote}"
        # A key of the person that no object has is a mistake in `fields`.
        people = {keys.person} if any(find_keys(one, keys.person) for one in value or ()) else set()
        tally.used |= {path, *(f"{name}[].{person}" for person in people)}
        votes = _votes_of(value or [], keys, name, where, tally)
        if not any(not is_empty(vote) for vote in votes.values()):
            found, fields[name] = with_value(found, place, None), "vote"
            continue
        found = with_value(found, place, votes)
        for person in votes:
            # Numbers that a mapping gives are in `votes` already.
            fields[f"{name}.{person}"] = "vote" if _maps_numbers(keys.meaning) else keys.meaning
            listed[f"{name}.{person}"] = ListedVote(path, person)
        others = [_without(one, keys) for one in value]
        count_unread(name, others, reading, where, tally)
    return (values, reading) if found is values else (found, replace(reading, fields=fields, listed=listed))


def _with_opened(values: dict[str, Any], own: Collection[str], reading: ParseOptions) -> dict[str, Any]:
    """Return a row with an object in place of its text, where `fields` names a list in the object."""
    outer = {path.partition("[].")[0] for path in reading.fields if "[]." in path}
    opened = {
        key: opened_objects(value)
        for key, value in values.items()
        if key not in own and isinstance(value, str) and any(path.startswith(f"{key}.") for path in outer)
    }
    return {**values, **opened} if opened else values


def _spread_choices(
    values: dict[str, Any], own: Collection[str], reading: ParseOptions, tally: SkipCounts
) -> tuple[dict[str, Any], ParseOptions]:
    """Return a row of two answers whose choice is an object of people with a key for each, as `choice.anna`.

    Such keys are asked about as the columns of people are. The object alone names no side.
    """
    key, a, b = (reading.column(name) for name in ("choice", "a", "b"))
    if key not in own or not {key, a, b} <= values.keys():
        return values, reading
    people = opened_objects(values[key])
    if not isinstance(people, Mapping) or not all(isinstance(person, str) for person in people):
        return values, reading
    rest = {name: value for name, value in values.items() if name != key}
    columns = {name: own for name, own in reading.columns.items() if name != "choice"}
    spread = {f"{key}.{person}": choice for person, choice in people.items()}
    listed = {f"{key}.{person}": ListedVote(f"{key}.{person}", person) for person in people}
    if len(tally.choosers) < MOST_KEYS:
        tally.choosers |= spread.keys()
    return {**rest, **spread}, replace(reading, columns=columns, listed={**reading.listed, **listed})


def _list_places(
    values: Mapping[str, Any], own: Collection[str], reading: ParseOptions
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the paths of a row that may be lists of votes, each with the keys that lead to it.

    They are the keys of the row that its format does not read, and the lists inside objects that `fields`
    names, as `meta.ratings`.
    """
    found: dict[str, tuple[str, ...]] = {name: (name,) for name in values if name not in own}
    for path in reading.fields:
        name, inside, _ = path.partition("[].")
        keys = find_keys(values, name) if inside and "." in name and name not in found else None
        if keys and keys[0] not in own:
            found[name] = keys
    return list(found.items())


def holds_listed_votes(values: Mapping[str, Any]) -> bool:
    """Return whether a row of two answers has a list of votes by people that is read without being told."""
    compared = {"a": "", "b": "", **values}
    return any(
        not is_empty(value)
        and _known_keys(name, _as_objects(opened_objects(value)), compared, (), ParseOptions("")) is not None
        for name, value in values.items()
    )


def vote_person(values: Mapping[str, Any], path: str, reading: ParseOptions) -> str:
    """Return the person whose vote a path holds, also of a vote that was taken from a list."""
    return reading.listed[path].person if path in reading.listed else voter_name(values, path)


def propose_listed(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return `fields` in YAML for the first list of votes between two answers whose values name no side.

    Empty if no list has one key for the person and one for the vote.
    """
    for name, first in rows[0].items() if rows else ():
        objects = _as_objects(opened_objects(first))
        votes = [key for key in objects[0] if _names_vote(key, True)] if _are_objects(objects) else []
        if len(votes) != 1 or not (person := _person_key(objects, votes[0])):
            continue
        given = [_as_objects(opened_objects(row.get(name))) for row in rows]
        said = {str(_held(one, votes[0])) for held in given if _are_objects(held) for one in held}
        meaning = values_mapping(said) if len(said) <= MOST_VALUES else UNKNOWN
        told = {f"{name}[].{votes[0]}": meaning, f"{name}[].{person}": ANNOTATOR}
        return f"fields: {{{', '.join(f'{yaml_key(path)}: {what}' for path, what in told.items())}}}"
    return ""


def _told_keys(name: str, value: Any, reading: ParseOptions) -> _Keys | None:
    """Return the keys of a list's objects that `fields` declares as a vote and a person."""
    inner = {
        path.removeprefix(f"{name}[]."): meaning
        for path, meaning in reading.fields.items()
        if path.startswith(f"{name}[].") and "[]" not in path.removeprefix(f"{name}[].")
    }
    # A list that `fields` names may be empty, or missing in some rows.
    votes = [k for k, said in inner.items() if said in VOTES or maps_sides(said) or _maps_numbers(said)]
    people = [key for key, said in inner.items() if said == ANNOTATOR]
    if len(votes) != 1 or len(people) > 1 or not (is_empty(value) or _are_objects(value)):
        return None
    person = people[0] if people else _person_key(value or [], votes[0])
    return _Keys(person, votes[0], inner[votes[0]])


def _maps_numbers(meaning: Any) -> bool:
    """Return whether a meaning maps values to numbers or to ignore."""
    return isinstance(meaning, Mapping) and all(
        said == "ignore" or not isinstance(said, str) for said in meaning.values()
    )


def _known_keys(
    name: str, value: Any, values: Mapping[str, Any], own: Collection[str], reading: ParseOptions
) -> _Keys | None:
    """Return the keys of a list whose objects have one known key for the person and one for the vote.

    None if that is not clear, or if the row has its verdict elsewhere.
    """
    flat = flatten_name(name)
    a, b, choice, text = (reading.column(key) for key in ("a", "b", "choice", "text"))
    compared = a in values and b in values
    judged = {reading.column(key) for key in ("score", "scores", "chosen")} & set(own) & values.keys()
    if flat not in _LISTS or judged or (compared and choice in values) or (text in own and text in values):
        return None
    # A key that `fields` gives a meaning is no longer known by its name.
    if any(path.startswith(f"{name}[].") and said != "ignore" for path, said in reading.fields.items()):
        return None
    if is_empty(value) and flat in _VOTED:
        return _Keys("", "", "vote")
    if not _are_objects(value):
        return None
    every = dict.fromkeys(key for one in value for key in one)
    every = {key: None for key in every if reading.fields.get(f"{name}[].{key}") != "ignore"}
    votes = [key for key in every if _names_vote(key, compared)]
    # A vote on one of several questions is no verdict on the whole answer.
    if len(votes) != 1 or any(flatten_name(key) in _QUESTIONS for key in every):
        return None
    person = _person_key(value, votes[0])
    said = [one.get(votes[0]) for one in value]
    if not person or not all(_is_clear(votes[0], vote, compared) for vote in said if not is_empty(vote)):
        return None
    return _Keys(person, votes[0], "vote")


def _as_objects(value: Any) -> Any:
    """Return a list without empty items; an object of equally long lists as a list of objects.

    Parquet files of the `datasets` library hold a list of objects so.
    """
    if isinstance(value, list):
        return [one for one in value if one is not None]
    if not isinstance(value, Mapping) or len(value) < 2:
        return value
    columns = list(value.values())
    if not all(isinstance(one, list) and len(one) == len(columns[0]) for one in columns):
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*columns, strict=True)]


def _are_objects(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= _MOST
        and all(isinstance(one, Mapping) and all(isinstance(key, str) for key in one) for one in value)
    )


def _names_vote(key: str, compared: bool) -> bool:
    flat = flatten_name(key)
    return flat in _CHOICES if compared else flat == "value" or KNOWN.get(flat) in _RATING_KINDS


def _is_clear(key: str, vote: Any, compared: bool) -> bool:
    """Return whether a vote is one value whose scale its key tells. A number may be a class or a side."""
    if isinstance(vote, bool) or not isinstance(vote, str | int | float):
        return isinstance(vote, bool)
    number = as_score(vote) is not None
    return not number or not (compared or KNOWN.get(flatten_name(key)) == "word")


def _person_key(objects: list[Mapping[str, Any]], vote: str) -> str:
    """Return the only key of some objects that names a person; empty for none or several."""
    every = dict.fromkeys(key for one in objects for key in one if key != vote)
    for known in (ANNOTATORS, PEOPLE):
        named = [key for key in every if flatten_name(key) in known or key in known]
        if len(named) == 1:
            return named[0]
        if named:
            return ""
    return ""


def _held(one: Mapping[str, Any], path: str) -> Any:
    keys = find_keys(one, path) if path else None
    return value_at(one, keys) if keys else None


def _votes_of(
    objects: list[Mapping[str, Any]], keys: _Keys, name: str, where: str, tally: SkipCounts
) -> dict[str, Any]:
    """Return the votes of a list by their people; people without a name are numbered."""
    votes: dict[str, Any] = {}
    for number, one in enumerate(objects):
        given, vote = _held(one, keys.person), _held(one, keys.vote)
        person = normalize_annotator(given)
        if (not person and not is_empty(given)) or "[]" in person:
            raise UserError(
                f"{where}: {name}[].{keys.person} is {format_sample(given)}; expected the name or number of "
                "one person"
            )
        if KNOWN.get(flatten_name(keys.vote)) == "thumb" and keys.meaning == "vote":
            # Under a thumb, 0 is a no.
            flag = as_flag(vote)
            vote = vote if flag is None else flag
        if _maps_numbers(keys.meaning) and not is_empty(vote):
            vote = _mapped_vote(vote, keys, name, where, tally)
        person = person or f"{UNKNOWN_ANNOTATOR}-{number}"
        if person in votes and not is_empty(votes[person]) and not is_empty(vote):
            if votes[person] != vote:
                raise UserError(
                    f"{where}: {shown_key(person)} votes {format_sample(votes[person])} and also "
                    f"{format_sample(vote)} under {shown_key(name)}; keep one of them"
                )
            tally.left_out[TWICE] += 1
        if is_empty(votes.get(person)):
            votes[person] = vote
    return votes


def _mapped_vote(vote: Any, keys: _Keys, name: str, where: str, tally: SkipCounts) -> Any:
    """Return the number that a mapping gives a vote; None and counted if it says ignore."""
    said = mapped_value(vote, keys.meaning)
    if said is None:
        raise UserError(
            f"{where}: {name}[].{keys.vote} is {format_sample(vote)}, a value without a meaning in fields; "
            "add it there, or remove the vote"
        )
    if said == "ignore":
        tally.left_out[NO_VOTE] += 1
        return None
    return float(said)


def _without(one: Mapping[str, Any], keys: _Keys) -> dict[str, Any]:
    """Return an object without the vote and the person, whose other keys nothing reads."""
    return {key: value for key, value in one.items() if key not in (keys.person, keys.vote)}
