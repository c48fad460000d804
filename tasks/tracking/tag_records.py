"""Records that tags in MLflow hold as JSON, checked: anybody with MLflow's page can change a tag."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from model.errors import UserError

_SHOWN = 60


def read_record(tags: Mapping[str, str], tag: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """Return the record in a tag.

    Args:
        tags: The tags of a run, a model or a version.
        tag: The tag's name.
        keys: The keys that the record must have.

    Raises:
        UserError: The tag holds no JSON object, or one that lacks a key.
    """
    try:
        found = json.loads(tags[tag])
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and set(keys) <= set(found):
        return found
    value = tags[tag] if len(tags[tag]) <= _SHOWN else f"{tags[tag][:_SHOWN]}…"
    raise UserError(
        f"the tag {tag} in MLflow holds {value!r}, which is not the record that chatmill keeps there; put it "
        "right on MLflow's page, or `chatmill restore BACKUP` restores a backup's records"
    )
