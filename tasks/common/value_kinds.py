"""Name the kinds of values in JSON's terms, for messages."""

from __future__ import annotations

from datetime import date

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "a text"), (bytes, "bytes that are not UTF-8"), ((int, float), "a number"),
    ((list, tuple), "a list"), (dict, "an object"), (date, "a date"),
)  # fmt: skip


def kind_of(value: object) -> str:
    """Return the kind of a value in JSON's terms, such as `a text` or `null`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return next((what for kinds, what in _KINDS if isinstance(value, kinds)), "a value of another kind")
