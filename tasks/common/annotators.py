"""Count the people who gave labels: those with a name, as nobody knows how many the others are."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.common.counts import counted

NOBODY = "unknown"


def is_nobody(annotator: object) -> bool:
    """Return whether a label's annotator is unknown."""
    return not isinstance(annotator, str) or not annotator or annotator.startswith(NOBODY)


def count_named(annotators: Iterable[str]) -> int:
    """Return the number of different annotators with a name."""
    return len({name for name in annotators if not is_nobody(name)})


def describe_people(annotators: Iterable[str]) -> str:
    """Return who gave labels: `3 people`, `1 person and some without a name`, `people without a name`.

    The labels of an export without annotators are by `unknown-0`, `unknown-1` and so on, which says nothing
    about how many people gave them.

    Args:
        annotators: The annotators, each once or several times; empty texts for unknown ones.
    """
    names = list(annotators)
    named = count_named(names)
    if not any(map(is_nobody, names)):
        return counted(named, "people")
    return f"{counted(named, 'people')} and some without a name" if named else "people without a name"
