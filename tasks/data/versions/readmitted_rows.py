"""Stop a version of the data that has rows again which the last version left out as withdrawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.atomic_file import replace_text
from model.errors import UserError
from tasks.data.withdrawals import WITHDRAWN, Withdrawn
from tasks.dvc.pointer_file import read_pointer

# The withdrawals of the last version made in this folder. It is beside DVC's cache, because var/ may be
# deleted.
LAST = Path(".dvc") / "cache" / "withdrawn.json"
DIGITS = 16


def member_digests(withdrawn: Withdrawn) -> list[str]:
    """Return a sorted list with a digest of each withdrawn row and person.

    data.dvc is committed and may be public, so it has digests instead of names.
    """
    return sorted(
        hashlib.sha256(f"{kind}:{value}".encode("utf-8", "replace")).hexdigest()[:DIGITS]
        for kind, values in withdrawn.withdrawals_content.items()
        for value in values
    )


def check_readmitted(root: Path, withdrawn: Withdrawn, allowed: bool) -> None:
    """Raise UserError if something was withdrawn from the last version and is not withdrawn any more.

    The last version is that of data.dvc, and the last one made in this folder. An emptied, damaged or stashed
    file of withdrawals, or a branch without it, would otherwise silently restore rows and people.

    Args:
        root: The project's folder.
        withdrawn: The present withdrawals.
        allowed: The preset's data.readmit.
    """
    if allowed:
        return
    pointer = read_pointer(root)
    meta = (pointer["meta"].get("withdrawn") or {}) if pointer else {}
    # data.dvc alone is not enough: a branch without the withdrawals has an older data.dvc too.
    before = {*_withdrawn_members(meta), *_last_withdrawals(root)}
    gone = len(before - set(member_digests(withdrawn)))
    # Older releases recorded no members, only that something was withdrawn.
    if not gone and not (meta and not withdrawn and "members" not in meta):
        return
    said = f"{gone:,} of {len(before):,} withdrawals" if gone else "the withdrawals"
    raise UserError(
        f"{WITHDRAWN} lacks {said} that the last data version had; nothing was changed, because "
        f"these rows and people would return. Restore the file (`git checkout HEAD {WITHDRAWN}`, "
        "`git stash pop`, "
        "or from the branch that has it); to revoke withdrawals, run once with "
        "`--set data.readmit=true`"
    )


def note_withdrawn(root: Path, withdrawn: Withdrawn) -> None:
    """Record the withdrawals of the version that is now in data/."""
    path = root / LAST
    members = member_digests(withdrawn)
    if members != sorted(_last_withdrawals(root)):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps({"members": members}))


def _last_withdrawals(root: Path) -> list[str]:
    try:
        return _withdrawn_members(json.loads((root / LAST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return []


def _withdrawn_members(found: Mapping[str, Any]) -> list[str]:
    return [str(member) for member in found.get("members") or ()]
