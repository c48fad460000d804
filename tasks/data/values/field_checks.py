"""Check the meanings that a source's `fields` gives to keys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.data.values.field_meanings import ANNOTATOR, FIELD_MEANINGS, MAPPING_EXAMPLE, REVIEWS, SIDES
from tasks.data.values.key_text import yaml_key
from tasks.data.values.roles import ROLE_KEYS, SPEAKERS
from tasks.data.values.score_values import as_score

_EXPECTED = f"expected {', '.join(FIELD_MEANINGS)}, or a mapping of values such as {MAPPING_EXAMPLE}"


def check_fields(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a source's `fields`, in sentences that follow the source's name."""
    for name, meaning in given.items():
        if isinstance(meaning, str):
            if meaning not in FIELD_MEANINGS:
                yield f"fields: {name} is {meaning!r}; {_EXPECTED}"
            if meaning == ANNOTATOR and "[]." not in name:
                yield (
                    f"fields: {name} is {meaning}, which is for a key in a list of objects, as ratings[].by; "
                    f"for a key of the row, write columns: {{annotator: {yaml_key(name)}}}"
                )
        elif isinstance(meaning, Mapping) and meaning:
            for value, said in meaning.items():
                role = name.rpartition("[].")[2] in ROLE_KEYS and "[]" in name
                words = SPEAKERS if role else (*REVIEWS, *SIDES)
                fits = said in words if isinstance(said, str) else not isinstance(said, bool) and not role
                if not fits or (isinstance(said, float) and not math.isfinite(said)):
                    right = f"expected {'' if role else 'a number, or '}one of {', '.join(words)}"
                    # YAML 1.1 reads 1e3 as a text.
                    number = as_score(said) if isinstance(said, str) and not role else None
                    right += (
                        f"; {said} is a text in YAML, so write {number:.16g}" if number is not None else ""
                    )
                    yield f"fields: {name} maps {value!r} to {said!r}; {right}"
        else:
            yield f"fields: {name} is empty; {_EXPECTED}"
