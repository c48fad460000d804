"""Recognize names of keys that mean nothing to any rule, so that rows of very many keys are read fast."""

from __future__ import annotations

import re

from tasks.data.questions import gold_answers
from tasks.data.values import scale_direction
from tasks.data.verdicts import (
    correction_names,
    doubt_flags,
    mark_columns,
    removal_names,
    verdict_names,
    verdict_phrases,
    verdict_values,
)

_PLAIN = re.compile(r"[a-z0-9_.]+")
_LETTERS = re.compile("[a-z]+")
# The letters alone of every word, as the rules split names in different ways.
_RULES = (
    correction_names,
    doubt_flags,
    gold_answers,
    mark_columns,
    removal_names,
    scale_direction,
    verdict_names,
    verdict_phrases,
    verdict_values,
)
_WORDS = frozenset(part for module in _RULES for word in module.NAME_WORDS for part in _LETTERS.findall(word))


def is_ordinary_name(path: str) -> bool:
    """Return whether a path of lower-case ASCII has no word by which a name means a verdict, mask or mark.

    Any other path may mean one. Only its value can then make an ordinary name a verdict.
    """
    return _PLAIN.fullmatch(path) is not None and _WORDS.isdisjoint(_LETTERS.findall(path))
