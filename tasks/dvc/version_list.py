"""The list of the versions that were made in this folder, beside DVC's cache.

Without a commit, data.dvc keeps no former version.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model.atomic_file import fixed_part, replace_text
from tasks.common.file_lock import exclusive_lock
from tasks.dvc.pointer_file import POINTER, is_own, read_pointer
from tasks.project.paths import RECORDS, VERSIONS_LOCK
from tasks.project.private_folder import make_private_folder

KNOWN = Path(".dvc") / "cache" / "versions.jsonl"


def is_kept(root: Path) -> bool:
    """Return whether DVC is set up in this folder; chatmill's notes lie beside its cache."""
    return (root / ".dvc" / "config").is_file()


def complete_list(root: Path) -> None:
    """Add the version of data.dvc to the list if a process was killed after it wrote that file alone.

    Raises UserError if data.dvc is damaged.
    """
    pointer = read_pointer(root)
    if pointer is None or not is_own(pointer) or not is_kept(root):
        return
    if all(entry["md5"] != pointer["md5"] for entry in remembered_versions(root)):
        remember_versions(root, [(pointer, pointer_time(root))])


def pointer_time(root: Path) -> str:
    """Return the time when data.dvc was written: its version was made then, or restored here."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((root / POINTER).stat().st_mtime))


def remember_versions(root: Path, versions: Iterable[tuple[dict[str, Any], str]]) -> None:
    """Add versions to the list, each with the time when it was made; a version that it has stays as it is."""
    path, given = root / KNOWN, list(versions)
    make_private_folder(root / RECORDS)
    # Commands that only read may complete the list while an ingestion adds to it.
    with exclusive_lock(root / VERSIONS_LOCK, lambda event: None, ""):
        entries = remembered_versions(root)
        known = {entry["md5"] for entry in entries}
        new = [{**pointer, "made": made} for pointer, made in given if pointer["md5"] not in known]
        if new:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = "".join(json.dumps(entry) + "\n" for entry in [*entries, *new])
            replace_text(path, text, fixed_part(path))


def remembered_versions(root: Path) -> list[dict[str, Any]]:
    """Return `md5`, `meta` and `made` of the versions that were made in this folder, the oldest first.

    `made` is empty for a version that is older than this list.
    """
    path = root / KNOWN
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            entries.append(
                {"md5": str(entry["md5"]), "meta": dict(entry["meta"]), "made": str(entry["made"])}
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # a line that a crash cut short
    return entries
