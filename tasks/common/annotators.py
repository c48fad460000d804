"""Count the people who gave labels: those with a name, as nobody knows how many the others are."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from tasks.common.counts import counted
from tasks.common.names import latin_letters

NOBODY = "unknown"
_SHOWN_GROUPS = 5
_SELECTORS = "\ufe0e\ufe0f"


def visible_name(name: str) -> str:
    """Return a person's name without characters that have no width, by which two names only seem equal."""
    if name.isascii():
        return name
    composed = unicodedata.normalize("NFC", name)
    seen = (c for c in composed if unicodedata.category(c) != "Cf" and c not in _SELECTORS)
    return " ".join("".join(seen).split())


def similarity_key(name: str) -> str:
    """Return a name by which similar names are equal.

    It has no case, white space, accents and punctuation. Letters that only look Latin are Latin.
    """
    parts = unicodedata.normalize("NFKD", latin_letters(name).casefold())
    kept = (c for c in parts if not unicodedata.combining(c) and unicodedata.category(c)[0] not in "PZSC")
    # A name of signs only, such as an emoji, is similar to itself alone.
    return "".join(kept) or name


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


def describe_similar_names(names: Iterable[str]) -> str:
    """Return a notice about names that differ in case, accents, spaces or signs alone; empty if none do."""
    alike: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if not is_nobody(name):
            alike[similarity_key(name)].add(name)
    groups = sorted(sorted(group) for group in alike.values() if len(group) > 1)
    if not groups:
        return ""
    shown = "; ".join(" and ".join(map(repr, group)) for group in groups[:_SHOWN_GROUPS])
    more = f"; and {len(groups) - _SHOWN_GROUPS:,} more such groups" if len(groups) > _SHOWN_GROUPS else ""
    return (
        f"names of annotators that are nearly the same count as different people: {shown}{more}; if they are "
        "one person, write one name in the files (a preset cannot merge people)"
    )
