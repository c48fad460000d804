"""The header of a Qualtrics export: below the names stand the questions' texts, then their import ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SURVEY_HEADER = "rows of the header of a Qualtrics export (the questions' texts and their ImportId)"
_KEY = "ImportId"


def holds_import_ids(values: Mapping[str, Any]) -> bool:
    """Return whether each cell of a row that is not empty is an object with an ImportId."""
    given = [value for value in values.values() if value not in (None, "")]
    return bool(given) and all(map(_is_import_id, given))


def _is_import_id(value: Any) -> bool:
    if isinstance(value, str) and _KEY in value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return isinstance(value, Mapping) and isinstance(value.get(_KEY), str)
