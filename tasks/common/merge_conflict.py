"""Detection of merge conflicts that git left in a text."""

from __future__ import annotations

import re

# Git's mark before the first side of a conflict.
_MARK = re.compile(r"^<{7}( |$)", re.MULTILINE)


def conflict_line(text: str) -> int:
    """Return the number of the line with git's first mark of a merge conflict; 0 if there is none."""
    found = _MARK.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else 0
