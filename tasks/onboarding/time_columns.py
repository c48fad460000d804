"""Find the column with the time of each label, by its values where no table knows its name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.data.values.column_names import yaml_scalar
from tasks.data.values.field_meanings import TIME_WORDS, flatten_name, is_empty, plain_word, word_set
from tasks.data.values.key_text import format_sample, shown_key
from tasks.data.values.label_times import iso_time
from tasks.data.values.score_values import as_score

# Words for what a person did at a time, besides those for a date or a time of day.
_DONE = frozenset(
    plain_word(word)
    for word in word_set(
        """
        annotated answered completed created edited evaluated finished judged labeled labelled modified rated
        recorded reviewed saved scored submitted updated voted bewertet erstellt geändert créé cree modifié
        creado creada modificado creato modificato criado aangemaakt ended end enddate
        """
    )
)
# Dates of something other than the label.
_OTHERS = frozenset(
    plain_word(word)
    for word in word_set(
        """
        appointment arrival birth birthday birthdate born deadline departure dob due event expires expiry
        expiration hired joined published publication release released signup start started startdate valid
        geburt geburtstag geburtsdatum frist naissance nacimiento nascita nascimento veröffentlicht
        """
    )
)
# Seconds since 1970 from the year 2000 to 2100; milliseconds are a thousand times as many.
_SECONDS = (946_684_800, 4_102_444_800)
_FILLED = 0.8  # the least share of rows with a time
_SHOWN = 3  # columns that a question names


class TimeChoice(NamedTuple):
    """The column that is taken for the time of a label; empty for none. `note` says why, or asks."""

    column: str = ""
    note: str = ""


def choose_time(rows: Iterable[Mapping[str, Any]], among: Collection[str]) -> TimeChoice:
    """Return the only column whose values are times, or a question about those that are.

    Numbers are seconds or milliseconds since 1970 only if the column's name is a word for a time, as an
    identifier may be as large. If one of several columns has such a name, it is the one.

    Args:
        rows: The rows of a source of labels without a time.
        among: The columns that nothing reads.
    """
    values: dict[str, list[Any]] = {name: [] for name in among if not _words_of(name) & _OTHERS}
    count = 0
    for row in rows:
        count += 1
        for name in list(values):
            given = row.get(name)
            if is_empty(given):
                continue
            if not _is_time(name, given):
                del values[name]
                continue
            values[name].append(given)
    found = [name for name, given in values.items() if count and len(given) >= _FILLED * count]
    named = [name for name in found if _names_time(name)]
    chosen = found if len(found) == 1 else named
    if len(chosen) == 1:
        (name,) = chosen
        return TimeChoice(
            name,
            f"{shown_key(name)} is taken for the time of each label: its values are times, as "
            f"{format_sample(values[name][0])}. If it is something else, take time: {yaml_scalar(name)} out "
            "of columns.",
        )
    return TimeChoice(note=_ask_which(found))


def _ask_which(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = [shown_key(name) for name in names[:_SHOWN]]
    more = f" (and {len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    return (
        f"Which column has the time of each label: {', '.join(shown[:-1])} or {shown[-1]}{more}? None is "
        f"used; add it to this source, as in columns: {{time: {yaml_scalar(names[0])}}}. Until then its "
        "labels have no time."
    )


def _words_of(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", plain_word(flatten_name(name))))


def _names_time(name: str) -> bool:
    return bool(_words_of(name) & (TIME_WORDS | _DONE))


def _is_time(name: str, value: Any) -> bool:
    number = as_score(value)
    if number is None or isinstance(value, bool):
        return not isinstance(value, bool) and bool(iso_time(value))
    low, high = _SECONDS
    return _names_time(name) and (low <= number < high or 1000 * low <= number < 1000 * high)
