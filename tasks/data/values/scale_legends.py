"""Find cells that say that lower scores are better, as `1 = best` in a legend below a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.data.values.key_text import ascii_controls, format_sample, shown_key, yaml_key
from tasks.data.values.scale_direction import LOWER, scale_direction

_LONGEST = 200  # characters of a legend
_MOST = 4  # legends that are kept
# Other texts are not searched for words: most cells have no number with a sign before or behind it.
_SIGN = re.compile(r"\d\s*(?:[=:–-]|is\b|ist\b|means\b)|[=:]\s*-?\d|\b(?:low|high|niedrig|hoch|höher)", re.I)
# The ends of a usual scale: a legend may name its lower end only.
_ENDS = ("1", "5")


@dataclass
class ScaleLegends:
    """The cells of a source that turn its scale round, as (place, text).

    Only a row without a score, a row that cannot be read, and a column that nothing reads are searched. The
    texts of other rows are prompts and answers, which may be about a scale of their own.
    """

    found: list[tuple[str, str]] = field(default_factory=list)

    def note(self, value: Any, where: str) -> None:
        """Record a cell that says that lower is better."""
        if not isinstance(value, str) or len(value) > _LONGEST or len(self.found) >= _MOST:
            return
        if _SIGN.search(value) and scale_direction(value, _ENDS) == LOWER:
            self.found.append((where, value))

    def note_row(self, values: Mapping[str, Any], where: str) -> None:
        """Record the cells of a row that say that lower is better."""
        for value in values.values():
            self.note(value, where)

    def update(self, other: ScaleLegends) -> None:
        """Add the legends of the part that follows."""
        self.found = [*self.found, *other.found][:_MOST]

    def question(self, key: str) -> str:
        """Return the question about a key whose scores are read as higher is better."""
        where, text = self.found[0]
        return (
            f"{ascii_controls(where)}: {format_sample(text)} says that lower is better, and higher scores "
            f"under {shown_key(key)} are read as better; set fields: {{{yaml_key(key)}: penalty}}, or "
            "verdict if higher is better"
        )
