"""Bounds of parameters, with one sentence for the first that lies outside."""

from __future__ import annotations

# No training takes this many steps; a larger number is a typing error.
MOST_STEPS = 1_000_000_000
# The longest answer in tokens, and the most answers that are drawn at once. Both are held in memory.
MOST_TOKENS = MOST_SAMPLES = 1_000_000
MOST_EPOCHS = 1000
# In the metadata of a field that code fills from other keys, so that it is no key of a preset.
NO_KEY = "no_key"
# In the metadata of a field that outputs of earlier versions lack: their cache keys stay as they are.
KEYED_IF_SET = "keyed_if_set"


def check_bounds(parameters: object, least: float, most: float, *names: str) -> None:
    """Raise ValueError for the first field that lies outside `least` to `most`.

    Args:
        parameters: The object with the fields.
        least: The lower bound, inclusive.
        most: The upper bound, inclusive.
        names: The fields to check.
    """
    for name in names:
        value = getattr(parameters, name)
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")
        if value > most:
            raise ValueError(f"{name} is {value}; it must be at most {most}")
