"""List the formats that chatmill reads, by name."""

from __future__ import annotations

from model.errors import UserError
from tasks.data.parsing.base import Format


def formats() -> dict[str, Format]:
    """Return all formats by name, in the order in which they are shown."""
    from tasks.data.formats import (
        alpaca,
        argilla,
        hh_rlhf,
        label_studio,
        markdown,
        messages,
        mlflow_feedback,
        natural_questions,
        openai_preference,
        passages,
        plain,
        preferences,
        rated_snippets,
        rows,
        sharegpt,
        unpaired,
    )

    found = (
        plain, markdown, rows, alpaca, sharegpt, messages, preferences, hh_rlhf, openai_preference, unpaired,
        label_studio, argilla, mlflow_feedback, passages, natural_questions, rated_snippets,
    )  # fmt: skip
    return {module.FORMAT.name: module.FORMAT for module in found}


def find_format(name: str) -> Format:
    """Return a format by name. Raise UserError with the known names for any other."""
    known = formats()
    if name not in known:
        raise UserError(f"unknown format {name!r}; expected one of {', '.join(known)}")
    return known[name]
