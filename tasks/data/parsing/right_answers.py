"""Read the right answers of a question about a passage, as SQuAD lists them with their offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.data.parsing.base import ParseOptions
from tasks.data.questions.companion_keys import is_prose
from tasks.data.values.field_meanings import flatten_name, is_empty
from tasks.data.values.list_literals import read_literal

# The key of the right answers in a row for OpenAI's evals, whose turns are under `input`.
IDEAL = "ideal"
_LONGEST = 1 << 20  # characters of a cell with answers


def right_answers(value: Any) -> list[str] | None:
    """Return the different answers of `{text: [...], answer_start: [...]}`, or of a list of such objects.

    A cell may contain them as JSON or as Python prints them. A question without an answer in its passage has
    an empty list. None: the value is something else.
    """
    if isinstance(value, str):
        bare = value.strip()
        if bare[:1] not in ("{", "[") or "answer_start" not in bare or len(bare) > _LONGEST:
            return None
        try:
            value = read_literal(bare)
        except ValueError:
            return None
    spans = value if isinstance(value, list) else [value]
    # An empty list alone may be anything.
    if not spans or not all(isinstance(one, dict) and _is_span(one) for one in spans):
        return None
    texts = [
        text for one in spans for text in (one["text"] if isinstance(one["text"], list) else [one["text"]])
    ]
    return list(dict.fromkeys(text for text in texts if text.strip()))


def is_span(value: Any) -> bool:
    """Return whether a value holds answers with their offsets in a passage."""
    return right_answers(value) is not None


def _is_span(one: dict[str, Any]) -> bool:
    text = one.get("text")
    listed = text if isinstance(text, list) else [text]
    return "answer_start" in one and all(isinstance(said, str) for said in listed)


def write_right_answers(values: Mapping[str, Any], reading: ParseOptions) -> dict[str, Any]:
    """Return a row of a question with its first right answer as completion, and all of them as references.

    Several texts in a list are right answers only beside a passage, or under `ideal`, as in OpenAI's evals.
    Elsewhere they may be answers of several models, of which nobody said that they are right.
    """
    key = reading.column("completion")
    value = values.get(key)
    found = right_answers(value)
    if found is None and isinstance(value, list) and len(value) > 1:
        passage = any(is_prose(reading.optional(values, name)) for name in ("context", "input"))
        told = passage or flatten_name(key) == IDEAL
        found = value if told and all(isinstance(one, str) for one in value) else None
    if found is None:
        return dict(values)
    given = values.get("references")
    return {**values, key: found[0] if found else [], "references": found if is_empty(given) else given}
