"""Explain why a file is in an unknown format: common shapes of data, each with a sentence of advice."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from tasks.data.file_io.files import unpacked_suffix
from tasks.data.parsing.base import FileSample
from tasks.data.parsing.listed_votes import propose_listed
from tasks.data.parsing.right_answers import is_span
from tasks.data.parsing.side_columns import propose_scores
from tasks.data.parsing.unread_keys import leaves_of
from tasks.data.questions.choice_mapping import choice_mapping
from tasks.data.questions.companion_keys import RIGHT_OPTIONS, is_option_letter, option_keys
from tasks.data.questions.vote_cells import too_many_others
from tasks.data.values.choices import different_parts, is_choice, is_tie, is_undecided
from tasks.data.values.column_names import (
    NAMES,
    answer_columns,
    choice_column,
    format_columns,
    format_fields,
    has_choice_word,
    labelled_columns,
    names_worse,
    plain_name,
    yaml_scalar,
)
from tasks.data.values.field_meanings import KNOWN, as_flag, is_empty, plain_word
from tasks.data.values.key_text import yaml_key
from tasks.data.values.list_literals import holds_bytes
from tasks.data.values.roles import role_of
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.ordinary_columns import is_all_ordinary, is_ordinary_flag, is_ordinary_number
from tasks.data.verdicts.verdict_names import is_remark_text

# Names of columns by which the first line of a text is the header of a table.
_HEADINGS = frozenset((
    *(name for names in NAMES.values() for name in names), *KNOWN, "id", "aspect", "a", "b", "response_a",
    "response_b", "answer_a", "answer_b", "response_1", "response_2", "answer_1", "answer_2",
))  # fmt: skip
_PAGE = re.compile(
    r"\s*(?:(?P<xml><\?xml\s(?!.*<html))|(?:<\?xml\s.*?)?<!doctype\s+html|<html[\s>])", re.I | re.S
)
_MOST_VOTES, _LONGEST_VOTE = 6, 20  # different votes of people, and characters of one
TURNS = ("messages", "conversations", "conversation", "contents", "turns")


def describe_shape(sample: FileSample) -> str:
    """Return what a file contains that cannot be read as rows, and what to do; empty for unknown shapes."""
    if not sample.items:
        return ""
    return (
        unreadable_shape(sample)
        or _squad(sample)
        or _several_answers(sample)
        or _several_questions(sample)
        or _bare_turns(sample)
        or _rows_inside(sample)
        or _conversation(sample)
        or _label_studio(sample)
        or _votes(sample)
    )


def unreadable_shape(sample: FileSample) -> str:
    """Return the shape of a file with a format's keys that still cannot be read; empty for any other."""
    if not sample.items:
        return _rows_in_text(sample)
    first = sample.items[0].values
    if isinstance(first.get("options"), list) and isinstance(first.get("accept"), list) and "text" in first:
        return (
            "it holds Prodigy's choices between options, whose texts would be learned without them; write a "
            "row a choice, with prompt, a, b and choice, or a row an answer with prompt and completion"
        )
    for key in TURNS:
        turns = first.get(key)
        if isinstance(turns, Mapping):
            return f"{key} is an object of lists; expected a list of objects with role and content"
        if isinstance(turns, list) and any(isinstance(turn, Mapping) and "parts" in turn for turn in turns):
            return f"{key} has turns of role and parts, as Gemini does; expected turns of role and content"
        if isinstance(turns, list) and turns and all(isinstance(turn, list | tuple) for turn in turns):
            return f"{key} is a list of maps or of lists; expected a list of objects with role and content"
    if said := _multiple_choice(sample) or _single_turns(sample):
        return said
    if labelled := labelled_columns([item.values for item in sample.items]):
        return (
            "its label is a list of one answer, as doccano exports it; add to the source format: rows, "
            + format_columns(labelled)
        )
    # The shapes below are one object that holds the whole file.
    if len(sample.items) > 1 or not first:
        return ""
    if all(isinstance(value, dict) and value and all(map(_is_number, value)) for value in first.values()):
        return "it is a pandas table by column; write it with orient='records'"
    if all(isinstance(value, list) for value in first.values()):
        lists = list(first.values())
        flat = not any(isinstance(cell, dict | list) for value in lists for cell in value)
        if flat and lists[0] and len({len(value) for value in lists}) == 1:
            return "it has one list per column; write one object per row"
    return ""


def _rows_in_text(sample: FileSample) -> str:
    """Return what rows a text file contains, whose verdicts would be learned as text."""
    if unpacked_suffix(sample.name) not in (".txt", ".md", ".markdown"):
        return ""
    instead = "to read it as text, add format: plain to the source"
    if page := _PAGE.match(sample.text[:2000]):
        what = "an XML file" if page["xml"] else "an HTML page"
        return f"it is {what}, whose tags would be learned; save its text alone, or {instead}"
    if holds_bytes(sample.text):
        return f"it is bytes as Python prints them (b'…'); decode them where it is written, or {instead}"
    lines = [line.strip() for line in sample.text.splitlines() if line.strip()][:2]
    if re.match(r"\[\s*\{\s*\"", sample.text.lstrip()[:200]):
        return f"it is a JSON array of objects; end its name in .json to read its rows, or {instead}"
    if lines and all(map(_is_object, lines)):
        return f"its lines are JSON objects; end its name in .jsonl to read them as rows, or {instead}"
    for delimiter, ending in (("\t", ".tsv"), (",", ".csv"), (";", ".csv"), ("|", ".csv")):
        try:
            # A cell may hold lines, so the second row is not always the second line.
            found = list(islice(csv.reader(io.StringIO(sample.text), delimiter=delimiter), 2))
        except csv.Error:
            continue
        head, row = found if len(found) == 2 else ((), ())
        names = {plain_name(cell) for cell in head}
        if len(names & _HEADINGS) > 1 and len(row) >= len(head) and all(len(cell) < 40 for cell in head):
            commas = ", with commas between its cells" if delimiter in ";|" else ""
            return (
                f"its first line names the columns of a table; end its name in {ending}{commas} to read its "
                f"rows, or {instead}"
            )
    return ""


def _is_object(line: str) -> bool:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and len(found) > 0


def _is_number(key: Any) -> bool:
    return str(key).isdigit()


def _squad(sample: FileSample) -> str:
    """Return advice for articles of paragraphs with questions, in the shape of SQuAD's own files."""
    values = sample.items[0].values
    articles = values.get("data") if isinstance(values.get("data"), list) else [values]
    if not any(isinstance(one, dict) and "paragraphs" in one for one in articles or ()):
        return ""
    return (
        "it has the SQuAD layout of articles and paragraphs; write one row per question, with prompt "
        "(question), context (passage), completion (first answer) and references (all answers)"
    )


def _several_answers(sample: FileSample) -> str:
    """Return advice for several answers to one prompt in a list of objects."""
    values = sample.items[0].values
    # Without any text beside the list there is no prompt that it could answer.
    if not any(isinstance(value, str) for value in values.values()):
        return ""
    names = {plain_name(key): key for key in values}
    for name in ("completions", "responses", "answers", "outputs", "candidates", "generations"):
        value = values.get(names.get(name, ""))
        listed = isinstance(value, list) and all(isinstance(one, str) for one in value)
        scored = isinstance(value, dict) and isinstance(value.get("text"), list)
        if "questions" in names or is_span(value):
            continue
        if _is_rows(value) or scored or (listed and value):
            return (
                f"{names[name]} is a list of several answers; write one row per answer (prompt, "
                "completion, score, annotator), one per pair (prompt, a, b, choice), or if all are right the "
                "first as completion and all as references"
            )
    return ""


def _several_questions(sample: FileSample) -> str:
    """Return advice for a passage with a list of questions, as in CoQA and QuAC."""
    names = {plain_name(key): key for key in sample.items[0].values}
    asked = names.get("questions", "")
    if not isinstance(sample.items[0].values.get(asked), list):
        return ""
    return (
        f"{asked} is a list of questions; write one row per question, with prompt (question), context "
        "(passage) and completion (answer)"
    )


def _multiple_choice(sample: FileSample) -> str:
    """Return advice for questions with options, whose answer is the letter or the number of one."""
    rows = [item.values for item in sample.items]
    options = option_keys(rows[0])
    answer = next(
        (
            key
            for key in rows[0]
            if plain_name(key) in RIGHT_OPTIONS and all(is_option_letter(row.get(key)) for row in rows)
        ),
        "",
    )
    if not options or not answer:
        return ""
    return (
        f"it holds multiple-choice questions: {answer} is the letter or the number of one of "
        f"{', '.join(options)}; write one row per question, with the options in the prompt and the text of "
        "the right one as completion"
    )


def _single_turns(sample: FileSample) -> str:
    """Return advice for rows that are one turn each, as OpenAssistant exports its messages."""
    rows = [item.values for item in sample.items]
    for said in ("text", "content", "value"):
        if all(isinstance(row.get(said), str) and role_of(row) for row in rows):
            return "each object is one turn; write one object per conversation, with its turns under messages"
    return ""


def _bare_turns(sample: FileSample) -> str:
    """Return advice for conversations whose turns are texts without a speaker."""
    values = sample.items[0].values
    for key, value in values.items():
        listed = isinstance(value, list) and len(value) > 1 and all(isinstance(one, str) for one in value)
        if listed and plain_name(key) in (*TURNS, "dialog", "dialogue", "data", "chat", "utterances"):
            return (
                f"{key} is a list of texts that do not say who speaks; write one object per conversation, "
                "with turns of role and content under messages"
            )
    return ""


# Names of a choice of the answer that is not the better one.
def _votes(sample: FileSample) -> str:
    """Return advice for two answers without a choice, perhaps with a column of choices for each person."""
    names = {plain_name(key): key for key in sample.items[0].values}
    sides = answer_columns(sample.items[0].values)
    if not sides or "choice" in names:
        return ""
    columns_of = {
        key: values for key, values in _leaf_columns(sample, sides).items() if not _holds_remarks(key, values)
    }
    people = [key for key, values in columns_of.items() if _holds_choices(values)]
    asked = next((names[name] for name in NAMES["prompt"] if name in names), "...")
    roles = {"prompt": asked, "a": sides[0], "b": sides[1]}
    named = {name: own for name, own in roles.items() if name != own}
    if len(people) < 2 and (
        any(name in names for name in NAMES["choice"]) or choice_column(key for key in columns_of)
    ):
        return ""
    if parts := _one_hot(columns_of):
        return (
            f"{', '.join(parts)} hold one choice in several columns; write a column choice with a, b or tie "
            f"in their place, and add to the source format: rows, {format_columns(named)}"
        )
    scores = propose_scores(columns_of, *sides)
    others = {key: values for key, values in columns_of.items() if key not in people}
    numbered = {} if scores else _numbered_voters(others, sides) or _worded_voters(others)
    # `columns` names keys of the row itself, so a choice in an object is a vote under `fields`.
    nested = bool(people) and people[0] not in names.values()
    if len(people) + len(numbered) < 2 and not nested:
        # A column with some other words, such as `skip`, is the choice anyway.
        likely = people or [key for key, values in columns_of.items() if _holds_choices(values, some=True)]
        if len(likely) == 1:
            columns = format_columns({**named, "choice": likely[0]})
            if names_worse(likely[0]):
                fields = f"fields: {{{yaml_scalar(likely[0])}: {{a: b, b: a}}}}"
                return (
                    f"{sides[0]} and {sides[1]} are two answers; where {likely[0]} names the worse one, add "
                    f"to the source format: rows, {columns}, {fields}"
                )
            return (
                f"{sides[0]} and {sides[1]} are two answers; where {likely[0]} is the choice between them, "
                f"add to the source format: rows, {columns}"
            )
        if scores:
            columns = f", {format_columns(named)}" if named else ""
            return (
                f"{sides[0]} and {sides[1]} are two answers, and {' and '.join(scores)} tell which is "
                f"better; add to the source format: rows{columns}{format_fields(scores)}"
            )
        if listed := propose_listed([item.values for item in sample.items]):
            columns = f", {format_columns(named)}" if named else ""
            return (
                f"{sides[0]} and {sides[1]} are two answers with a list of votes; if each is one person's, "
                f"say which answer each value means, and add to the source format: rows{columns}, {listed}"
            )
        return (
            f"{sides[0]} and {sides[1]} are two answers, but no column has the choice; if one "
            "contains a, b or tie, add to the source format: rows, "
            f"{format_columns({**named, 'choice': '...'})}"
        )
    columns = f", {format_columns(named)}" if named else ""
    # Beside columns of choices, another one with a few of them is a person's too.
    some = [key for key, values in others.items() if _holds_choices(values, some=True) and people]
    voters = {key: numbered.get(key, "vote") for key in columns_of if key in (*people, *some, *numbered)}
    votes = ", ".join(f"{yaml_key(name)}: {meaning}" for name, meaning in voters.items())
    hold = "columns {} hold" if len(voters) > 1 else "column {} holds"
    check = "; say which answer each value means" if set(voters.values()) != {"vote"} else ""
    return (
        f"the {hold.format(', '.join(voters))} a choice each; where each is a person, add to the source "
        f"format: rows{columns}, fields: {{{votes}}}{check}"
    )


def _leaf_columns(sample: FileSample, sides: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the values of each key without the answers, also of keys in objects, as `votes.anna`."""
    rows = []
    for item in sample.items:
        leaves = (leaf for key, value in item.values.items() for leaf in leaves_of(str(key), value, 0))
        rows.append({path: value for path, value in leaves if "[]" not in path and path not in sides})
    return {path: [row.get(path) for row in rows] for path in dict.fromkeys(chain.from_iterable(rows))}


def _numbered_voters(columns: Mapping[str, Sequence[Any]], sides: tuple[str, ...]) -> dict[str, str]:
    """Return the columns in which people may number the answers, each with its meaning under `fields`.

    Numbers that the answers' own names have are votes. Of any other only the person knows the answer.
    """
    numbers: set[str] = set()
    found = []
    for key, values in columns.items():
        given = [value for value in values if not is_empty(value) and not is_undecided(str(value))]
        scores = [score for value in given if (score := as_score(value)) is not None]
        name = key.rpartition(".")[2]
        ordinary = is_ordinary_number(name) or (is_ordinary_flag(name) and not has_choice_word(name))
        ties = [value for value in given if is_tie(str(value))]
        if scores and not ordinary and len(scores) + len(ties) == len(given) and set(scores) <= {0, 1, 2}:
            numbers |= {f"{score:g}" for score in scores}
            found.append(key)
    # All people count in one way, also one who chose the same number always.
    named = numbers <= set(different_parts(sides[0], sides[1]) or ())
    return dict.fromkeys(found, "vote" if named else choice_mapping(numbers))


def _worded_voters(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return columns that have the same few words or signs, as `left` and `right`, each with a mapping.

    Only the person who has the data knows which answer such a word means.
    """
    few: dict[str, set[str]] = {}
    for key, values in columns.items():
        said = {str(value).strip() for value in values if not is_empty(value)}
        short = all(len(value) <= _LONGEST_VOTE and as_flag(value) is None for value in said)
        if said and short and len(said) <= _MOST_VOTES and not _names_measure(key):
            few[key] = {plain_word(value) or value for value in said if not is_undecided(value)}
    alike = {key: words for key, words in few.items() if _shares_words(words, few.items(), key)}
    words = {word for found in alike.values() for word in found if as_score(word) is None}
    if len(alike) < 2 or not 1 < len(words) <= _MOST_VOTES:
        return {}
    return dict.fromkeys(alike, choice_mapping({word for word in words if not is_tie(word)}))


def _names_measure(key: str) -> bool:
    """Return whether a column is named after a measure or a class, and not after a person, as `max_r`."""
    name = key.rpartition(".")[2]
    return is_all_ordinary(name) and all(len(word) > 1 for word in plain_name(name).split("_"))


def _shares_words(words: set[str], columns: Iterable[tuple[str, set[str]]], key: str) -> bool:
    """Return whether another column has a word of a column."""
    return any(words & others for other, others in columns if other != key)


def _one_hot(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the columns of flags of which one is true in each row, as winner_a, winner_b and winner_tie."""
    found = [
        key
        for key, values in columns.items()
        if has_choice_word(key) and all(as_flag(value) is not None for value in values)
    ]
    rows = zip(*(columns[key] for key in found), strict=True)
    return found if len(found) > 1 and all(sum(map(bool, map(as_flag, row))) == 1 for row in rows) else []


def _holds_choices(values: Sequence[Any], some: bool = False) -> bool:
    """Return whether most values name a side or a tie, or with `some` a few do and all are short texts.

    A person may also skip a row, and a few words may be remarks.
    """
    given = [value for value in values if not is_empty(value)]
    if not all(isinstance(value, str) and len(value) <= 40 for value in given):
        return False
    found = sum(map(is_choice, given))
    others = sum(not is_choice(value) and not is_undecided(str(value)) for value in given)
    return found > 0 and (some or not too_many_others(others, found))


def _holds_remarks(key: str, values: Sequence[Any]) -> bool:
    """Return whether a column is named after remarks, and none of them names a side, as `both good`."""
    given = [str(value) for value in values if not is_empty(value)]
    return is_remark_text(key, "") and not any(is_choice(value) and not is_tie(value) for value in given)


def _rows_inside(sample: FileSample) -> str:
    values = sample.items[0].values
    if len(sample.items) > 1:
        return ""
    if {"columns", "data"} <= values.keys() and isinstance(values["data"], list):
        return "it is a pandas table with orient='split'; write it with orient='records'"
    rows = [key for key, value in values.items() if _is_rows(value) and not is_span(value)]
    # A single conversation is also one object with a list of objects.
    if len(rows) == 1 and rows[0] not in TURNS:
        return f"it is one object whose key {rows[0]!r} holds the rows; write that list alone into the file"
    return ""


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _conversation(sample: FileSample) -> str:
    values = sample.items[0].values
    if {"role", "content"} <= values.keys() or {"from", "value"} <= values.keys():
        return "each object is one turn; write one object per conversation, with its turns under messages"
    for key in ("contents", "turns", "conversation"):
        if isinstance(values.get(key), list):
            return f"the conversation is under {key}; move it to messages, with role and content"
    return ""


def _label_studio(sample: FileSample) -> str:
    values = sample.items[0].values
    if "result" in values and values.keys() & {"task", "completed_by"}:
        return "it is one annotation of Label Studio's cloud storage; export the project as JSON instead"
    return ""
