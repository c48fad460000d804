"""A check that parameters lie between two bounds, with one sentence for the first that does not."""

from __future__ import annotations

# More steps than any training takes: what lies above is a mistyped number.
MOST_STEPS = 1_000_000_000
# Of an answer; and of answers that are drawn at once. They are held in memory.
MOST_TOKENS = MOST_SAMPLES = 1_000_000
MOST_EPOCHS = 1000


def check_bounds(parameters: object, least: float, most: float, *names: str) -> None:
    """Raise ValueError, naming the field, where a field lies outside of `least` to `most`."""
    for name in names:
        value = getattr(parameters, name)
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")
        if value > most:
            raise ValueError(f"{name} is {value}; it must be at most {most}")
