"""Derive the values of a corrected row again that ingestion had derived from the corrected values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.data.records import group_digest


def derive_again(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return a corrected row whose derived values follow from its corrected values.

    A pair's references contain its completion, and most groups are digests of a text of the row. A person
    who corrects that text leaves these values as they were. The id stays: releases and withdrawals find the
    row by it. A value that the person changed stays too.

    Args:
        before: The row before the correction.
        after: The row as the person corrected it, with all fields of its kind.
    """
    row = dict(after)
    if "references" in after and after["references"] == before.get("references"):
        row["references"] = _follow_completion(before, after)
    # A row that could not be read has its id as group, because it has no text.
    if after.get("group") == before.get("group"):
        row["group"] = _follow_text(before, after)
    return row


def follows_text(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Return whether the group of a corrected row changes only because its text was corrected.

    A correction may have the former group still, or the new one that was derived when it was released.
    """
    new = _follow_text(before, {**after, "group": before.get("group")})
    return new != before.get("group") and after.get("group") in (before.get("group"), new)


def _follow_completion(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the references with the new completion at the place of the former one, each once."""
    right = str(after["completion"])
    found = [right if each == before.get("completion") else each for each in after["references"]]
    return list(dict.fromkeys(found)) or [right]


def _follow_text(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before.get("fault"):
        return next(iter(_digests(after).values()), str(after["group"]))
    whose = next((name for name, found in _digests(before).items() if found == before.get("group")), "")
    return _digests(after).get(whose, str(after["group"]))


def _digests(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests that the formats use as groups, by the name of their text.

    The first is that of a row without a format's own rule.
    """
    return {name: group_digest(text) for name, text in _texts(row)}


def _texts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "text" in row:
        yield "text", str(row["text"])
        return
    prompt, completion = str(row.get("prompt") or ""), str(row.get("completion") or "")
    asked = [str(turn["content"]) for turn in row.get("history") or () if turn.get("role") == "user"]
    # A rating without earlier turns has the whole exchange as its text, as answers to one prompt may be many.
    alone = prompt + completion if "scores" in row else prompt
    yield "first turn", asked[0] if asked else alone
    yield "exchange", prompt + completion
    yield "prompt", prompt
    yield "completion", completion
