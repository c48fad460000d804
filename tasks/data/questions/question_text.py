"""Word the questions about a key whose meaning only the preset can say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from tasks.common.counts import counted
from tasks.data.questions.proposed_meanings import (
    BYTES,
    CHOICE,
    CORRECTION,
    ESCAPED,
    GOLD,
    GOLD_LIST,
    LITERAL,
    MASK,
    OTHER_CHOICE,
    QUOTED,
    SIDE_OR_MODEL,
    UNKNOWN,
)
from tasks.data.questions.review_columns import UNREVIEWED
from tasks.data.questions.seen_keys import MOST_KEYS, OTHERS, Seen
from tasks.data.values.column_names import names_worse, yaml_value
from tasks.data.values.field_meanings import FIELD_MEANINGS, MAPPING_EXAMPLE
from tasks.data.values.key_text import format_sample, shown_key, yaml_key
from tasks.data.values.score_values import as_score
from tasks.data.values.verdict_scales import NO_ANSWER, means_no_answer

# What a key beside a record may be, without which the record would be learned as something else.
PASSAGE = "a passage"
OPTIONS = "options"
QUESTION = "a question"
ANSWER = "an answer"
DIALOGUE = "a conversation"
REJECTED = "an answer that was not chosen"
REPLACED_ROW = "the number of a row that this row replaces"
NAMED_VOTES = "votes with their people in one value"
_NAMED = 12  # keys that a line lists
_SKIPPED = 200  # keys that a proposal ignores at once
_VALUES = 4  # values of a key that a line lists
LEARNS_ALL = "; ignore on a key in a list learns its rows, whatever the verdict in it"
BESIDE = " beside "  # between a question or an answer and the column of its text


def describe_unread(unread: Mapping[str, Seen], stops: Mapping[str, Seen]) -> Iterator[str]:
    """Yield a line about the keys that stop a run, one about those that it does not use, and what follows.

    Args:
        unread: The keys that nothing reads.
        stops: Those among them, and others, whose meaning must be set before a run.
    """
    unused = {path: seen for path, seen in unread.items() if path not in stops}
    stopping = {path: seen for path, seen in unread.items() if path in stops}
    for what, keys in (("keys whose meaning must be set", stopping), ("unused keys", unused)):
        if keys:
            # The most frequent keys first: a rare key may be a typo of one row.
            named = sorted(keys.items(), key=lambda item: -item[1].count)
            said = "; ".join(f"{shown_key(path)} ({s.count:,}, as {s.sample})" for path, s in named[:_NAMED])
            more = f"; and {len(named) - _NAMED} more keys" if len(named) > _NAMED else ""
            yield f"{what}: {said}{more}"
    if rest := unread.get(OTHERS):
        yield f"more than {MOST_KEYS:,} different keys: {rest.count:,} values not searched for verdicts"


def describe_literal(path: str, seen: Seen) -> str:
    """Return a line about the texts under a key that are printed lists, objects or strings; else empty."""
    what = f"{seen.count:,} under {shown_key(path)}, as {seen.sample}"
    if seen.looks == LITERAL:
        return f"texts that are a list or an object: {what}"
    if seen.looks == QUOTED:
        return f"texts in quotes with escapes: {what}, first {format_sample(seen.where)}"
    if seen.looks == BYTES:
        return f"texts that are bytes as Python prints them: {what}, first {format_sample(seen.where)}"
    return ""


def describe_word(path: str, seen: Seen) -> str:
    """Return a line about the words for a missing value under a key."""
    what = f"{seen.count:,} under {shown_key(path)}, as {seen.sample}"
    return f"words for a missing value: {what}, first {format_sample(seen.where)}"


def describe_times(times: Mapping[str, Seen]) -> Iterator[str]:
    """Yield a line about the times under each key that are none."""
    for path, seen in list(times.items())[:_NAMED]:
        yield (
            f"times that cannot be read: {seen.count:,} under {shown_key(path)}, as {seen.sample}, first "
            f"{format_sample(seen.where)}; these labels have no time, so of one person's equal labels "
            "the first in the files counts. Write times as 2024-12-31T10:00"
        )


def describe_special(path: str, seen: Seen, meaning: str) -> str:
    """Return the question about a key that needs words of its own; empty for any other.

    `meaning` is the proposal.
    """
    if seen.looks == CHOICE:
        return _describe_choice(path, seen.where, seen.sample, meaning)
    if seen.looks == SIDE_OR_MODEL:
        return _describe_unclear_side(path, seen.where, seen.sample)
    if seen.looks == BYTES:
        return _describe_bytes(path, seen)
    if seen.looks == NAMED_VOTES:
        return (
            f"{seen.where}: the key {shown_key(path)} is {seen.sample}, {NAMED_VOTES}, which no format "
            'reads; write them as a list of objects, as in "ratings": [{"by": "anna", "vote": "good"}], or '
            f"as a row per vote with the person under annotator; fields: {{{yaml_key(path)}: ignore}} learns "
            "their rows, whatever the votes say"
        )
    if seen.looks == REPLACED_ROW:
        return (
            f"{seen.where}: the key {shown_key(path)} is {seen.sample} and looks like {REPLACED_ROW}; both "
            "rows would be learned. Remove the replaced rows, or mark each under a column deleted. Then skip "
            f"this key, as in fields: {{{yaml_key(path)}: ignore}}"
        )
    return _describe_unreviewed(path, seen) if seen.looks == UNREVIEWED else ""


def _describe_bytes(path: str, seen: Seen) -> str:
    """Return the question about texts that are bytes as Python prints them."""
    return (
        f"{seen.where}: {shown_key(path)} is {seen.sample}, bytes as Python prints them "
        f"({counted(seen.count, 'texts')}); decode them where the file is written, as by .decode(); if they "
        f"are meant literally, set that in the source's fields, as in fields: {{{yaml_key(path)}: text}}"
    )


def _describe_unclear_side(path: str, where: str, sample: str) -> str:
    """Return the question about a choice that is the side of one answer, and the model of the other."""
    return (
        f"{where}: {shown_key(path)} is {sample}, which may be the side of an answer, or the name of the "
        "model that wrote the other one. If it is the side, set that in the source's fields, as in fields: "
        f"{{{yaml_key(path)}: {{A: a, B: b}}}}; if it is the name, write a or b in its place"
    )


def _describe_choice(path: str, where: str, sample: str, meaning: str) -> str:
    """Return the question about a choice whose values name no answer."""
    if names_worse(path):
        says = "which is the worse answer by the name of the key"
    else:
        says = "which does not say which answer is better"
    what = f"{where}: {shown_key(path)} is {sample}, {says}; "
    if meaning == UNKNOWN:
        return what + "it has too many different values to map; write a, b or tie in their place"
    fields = f"fields: {{{yaml_key(path)}: {meaning}}}"
    return f"{what}map each value to a, b, tie or ignore in the source's fields, as in {fields}"


def _describe_unreviewed(path: str, seen: Seen) -> str:
    key, name = yaml_key(path), shown_key(path)
    return (
        f"{seen.where}: the key {name} is empty in {counted(seen.count, 'rows')}, and others have a review "
        "under it; say in the source's fields whether an empty cell is a missing review, as in fields: "
        f"{{{key}: review}}, which leaves these rows out, or {{{key}: {{accept: accept, reject: reject, "
        'ignore: ignore, "": accept}}, which learns them'
    )


def format_example(looks: str, meaning: str = "") -> str:
    """Return the other meanings that are right for a key, in words that follow the proposal."""
    if looks == MASK and meaning == UNKNOWN:
        return (
            "; a mask is 0 or 1 for the row, for each turn, or in a list with one item for each turn; write "
            "it so, or ignore, which skips it (an answer is learned whole, and its prompt never is)"
        )
    if looks in (LITERAL, QUOTED, ESCAPED):
        return " if it is meant literally; or write only the text to the file"
    if looks == GOLD_LIST:
        return "; write the one to learn as a text under a key of its own, or ignore, which learns the answer"
    if looks in (CORRECTION, GOLD):
        return ", which learns it in place of the answer; or ignore, which learns the answer as it is"
    if looks == OTHER_CHOICE:
        return (
            ", which skips it; or write a row for each choice, with the person under annotator or the "
            "question under aspect"
        )
    if looks == MASK:
        return ", or weight, mask, or ignore, which skips it"
    others = ", ".join(meaning for meaning in FIELD_MEANINGS if meaning != "ignore")
    return (
        f", or ignore, which skips it; docs/verdicts.md explains the others: {others}, or a mapping such as "
        f"{MAPPING_EXAMPLE}"
    )


def shown_values(values: Collection[str]) -> str:
    """Return the first values of a column for a sentence."""
    held = sorted(value for value in values if value)
    return ", ".join(map(format_sample, held[:_VALUES])) + (", …" if len(held) > _VALUES else "")


def values_mapping(values: Iterable[str]) -> str:
    """Return a mapping of values to fill in, as YAML."""
    return f"{{{', '.join(f'{yaml_value(value)}: {UNKNOWN}' for value in sorted(values))}}}"


def format_mapping(path: str, mapping: str) -> str:
    """Return the mapping of a key's values in words that follow a question; empty for no mapping."""
    return f", as in fields: {{{yaml_key(path)}: {mapping}}}" if mapping else ""


def describe_two_scales(
    two: Sequence[str], places: Sequence[tuple[str, str]], mixed: Mapping[str, str]
) -> str:
    """Return the question about scores on two scales.

    Args:
        two: The names of the scales.
        places: The first key and place of each.
        mixed: A mapping to fill in, by keys of which the values are on both.
    """
    (key, first), (other, second) = places
    keys = shown_key(key) if key == other else f"{shown_key(key)} and {shown_key(other)}"
    if means_no_answer(two):
        number = two[1].removesuffix(NO_ANSWER)
        return (
            f"{shown_key(other)} is {number} ({second}), beside {two[0]} ({first}); this often stands for no "
            "answer. Empty such cells, or give every value a meaning in the source's fields, as in "
            f'fields: {{{yaml_key(other)}: {{"{number}": ignore, "1": 1, "2": 2}}}}'
        )
    return (
        f"the scores under {keys} are on two scales, {two[0]} ({first}) and {two[1]} ({second}); convert "
        f"them to one scale, or set a meaning for each value (or ignore) in the source's fields"
        f"{format_mapping(key, mixed.get(key, ''))}"
    )


def describe_listed(path: str, seen: Seen, example: str, rated: bool, person: str) -> str:
    """Return the question about a key in a list of objects.

    Args:
        path: The key.
        seen: Its first place and value.
        example: A proposal that skips it.
        rated: Whether its rows have answers that votes in a list can rate.
        person: The key that names the person in each object; empty if none is known.
    """
    name, _, key = path.rpartition("[].")
    who = f", {yaml_key(person)}: annotator" if person else ""
    # Votes are read in a turn, as `messages[].votes[]`, and not in an object of it.
    deeper = "." in name.partition("[].")[2]
    told = (
        f"if each object of {shown_key(name)} is one person's vote, say so in the source's fields, as in "
        f"fields: {{{yaml_key(path)}: vote{who}}}"
        + ("; else " if person else ", with the key of the person as annotator if there is one; else ")
        if rated and key and not deeper
        else ""
    )
    return (
        f"{seen.where}: the key {shown_key(path)} is {seen.sample} and looks like {seen.looks} in a list, "
        f"which no format reads; {told}write it as a key of its row or turn, or read past it under the "
        f"source's fields, as in {example}{LEARNS_ALL}"
    )


def describe_others(keys: str, fields: str, listed: bool, unclear: bool) -> str:
    """Return the other keys that are asked about, with a proposal for all of them.

    Args:
        keys: The keys with a value each, and their number.
        fields: The proposal.
        listed: Whether some are in lists of objects.
        unclear: Whether several of them may be the one verdict on an answer.
    """
    said = f" ({keys}). All of them, as in fields: {{{fields}}}"
    said += LEARNS_ALL if listed else ""
    return said + ("; an answer has one verdict, so ignore all scores but one" if unclear else "")


def describe_quarantined(count: int, meaning: str, values: Collection[str]) -> str:
    """Return that a meaning quarantines rows with the values of its key; empty if it reads them.

    Args:
        count: The number of rows with another value, which is read.
        meaning: The proposal.
        values: The values that the name of the key does not explain.
    """
    scores = bool(values) and all(as_score(value) is not None for value in values)
    if not count or (meaning == "verdict" and scores):
        return ""
    return f", which quarantines rows with such a value ({counted(count, 'rows')} with another)"


def describe_nameless(count: int, path: str) -> str:
    """Return a line about labels without an annotator, whose name may be under a key."""
    return (
        f"labels without an annotator: {count:,}; if {shown_key(path)} is the annotator, add columns: "
        f"{{annotator: {yaml_key(path)}}} to the source"
    )


def describe_listed_field(path: str) -> str:
    """Return the question about a meaning of a key in a list."""
    return (
        f"fields gives {shown_key(path)} a meaning, and it is in a list, which no format reads; expected "
        "ignore, or write it as a key of its row or turn. People's votes on a row are read if one key of "
        "each object is vote, penalty_vote or a mapping, and at most one is annotator"
    )


def describe_aspect(path: str, seen: Seen, known: Sequence[str]) -> str:
    """Return the question about a key that may name the aspect of its label."""
    key = yaml_key(path)
    return (
        f"{seen.where}: {shown_key(path)} is {seen.sample} and looks like the aspect of its label; "
        f"to read it, add to the source columns: {{aspect: {key}}}, and list other aspects than "
        f"{', '.join(known)} under validate.aspects; if it is something else, fields: {{{key}: ignore}}, "
        "with which several labels of one answer by one person become one"
    )


def describe_companion(path: str, where: str, sample: str, kind: str) -> str:
    """Return the question about a key without which its row would be learned as something else."""
    key, skip = yaml_key(path), f"fields: {{{yaml_key(path)}: ignore}}"
    what = f"{where}: {shown_key(path)} is {sample} and looks like "
    if kind == PASSAGE:
        return (
            f"{what}a passage that the prompt is about; to read it after the prompt, add to the source "
            f"columns: {{context: {key}}}; to leave it out, {skip}"
        )
    if kind == OPTIONS:
        return (
            f"{what}the options of a question that is answered by a letter or a number alone; write the "
            f"options into the prompt, or the text of the right one as the answer; to leave them out, {skip}"
        )
    if kind == DIALOGUE:
        return (
            f"{what}a conversation that was written as one text; write its turns as prompt and completion, "
            f"or under messages; to learn it as a text, add to the source fields: {{{key}: text}}"
        )
    kind, _, text = kind.partition(BESIDE)
    if kind == REJECTED:
        return (
            f"{what}{kind}; to learn the choice, set format: preferences, columns: "
            f"{{chosen: {yaml_key(text)}, rejected: {key}}} in the source; to learn the pair alone, {skip}"
        )
    sides = ("prompt", "completion") if kind == QUESTION else ("completion", "prompt")
    columns = {sides[0]: key, sides[1]: yaml_key(text)}
    named = ", ".join(f"{name}: {columns[name]}" for name in ("prompt", "completion"))
    return (
        f"{what}{kind} beside the text under {shown_key(text)}; to learn them as pairs, set columns: "
        f"{{{named}}} in the source; to learn the text alone, {skip}"
    )


def describe_unknown_columns(
    unknown: Mapping[str, Seen], values: Mapping[str, Collection[str]], rows: int
) -> str:
    """Return the question about columns that may judge their rows in words that no rule knows.

    Args:
        unknown: The columns.
        values: Their different values. A proposal to fill in lists those of the column with the fewest.
        rows: The number of rows.
    """
    paths, first = list(unknown), next(iter(unknown.values()))
    named = ", ".join(f"{shown_key(path)} ({shown_values(values[path])})" for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    skipped = ", ".join(f"{yaml_key(path)}: ignore" for path in paths[:_SKIPPED])
    skipped += ", …" if len(paths) > _SKIPPED else ""
    them = "these columns say" if len(paths) > 1 else "this column says"
    shown = min(paths, key=lambda path: len(values[path]))
    # A pair whose verdict is empty is left out, unless the mapping says otherwise. The empty cell of a stamp
    # may reject its row, so its meaning is for a person to fill in.
    empty = f', "": {UNKNOWN}' if unknown[shown].count < rows else ""
    mapping = values_mapping(value for value in values[shown] if value)[:-1] + empty + "}"
    return (
        f"{first.where}: chatmill does not know what {them} of the answers: {named}{more}. If none "
        f"says that a row is wrong or must not be learned, add to the source's fields: {{{skipped}}}. Else "
        f"write accept, reject or ignore for each value of such a column, as in {yaml_key(shown)}: {mapping}"
    )


def describe_vote_columns(
    where: str, meanings: Mapping[str, str], values: str, rated: bool, graded: bool
) -> str:
    """Return the question about columns that hold one person's votes each.

    Args:
        where: The first place of such a column.
        meanings: The proposal for each column. All are listed, as one left out would not be read.
        values: Some of their values.
        rated: Whether their rows have answers that votes can rate.
        graded: Whether some values are grades, as B+.
    """
    named = ", ".join(map(shown_key, meanings))
    fields = ", ".join(f"{yaml_key(path)}: {meaning}" for path, meaning in meanings.items())
    if not rated:
        return (
            f"{where}: the columns {named} hold a vote each ({values}) beside what their rows say. Write a "
            "row per vote, with the person under annotator, or ignore them in the source's fields, as in "
            f"fields: {{{fields}}}"
        )
    are = "columns {} look" if len(meanings) > 1 else "column {} looks"
    numbers = [path for path, meaning in meanings.items() if meaning == UNKNOWN or meaning[:1] == "{"]
    write = (
        f". Set which answer each value under {', '.join(map(shown_key, numbers))} means, or write a or b in "
        "its place"
        if numbers
        else ""
    )
    letters = ". Under vote, grades count from A as 4 to F as -1" if graded else ""
    return (
        f"{where}: the {are.format(named)} like one per person or per question, with a vote in each "
        f"({values}). If each is a person, set that in the source's fields, as in fields: {{{fields}}}. Else "
        "write a row per vote: the person under annotator, the question under aspect, the vote under rating. "
        f"ignore skips a column{write}{letters}"
    )
