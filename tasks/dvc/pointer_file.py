"""The pointer file data.dvc, which is committed: the hash of a version of data/ and facts about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from model.atomic_file import fixed_part, replace_text
from model.errors import UserError
from tasks.common.link_check import is_present
from tasks.common.merge_conflict import conflict_line

POINTER = "data.dvc"
# Layout 1 was one file for each kind of rows, layout 2 is a folder of shards for each kind.
LAYOUT = 2


def read_pointer(root: Path) -> dict[str, Any] | None:
    """Return the folder's `md5` and the `meta` of data.dvc; None if there is no version yet.

    `meta` has the digest of the sources and counts of rows. Raises UserError if the file is damaged.
    """
    path = root / POINTER
    if not is_present(path, POINTER):
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(_broken(path, "it is not text")) from error
    return parse_pointer(text, path)


def parse_pointer(text: str, path: Path) -> dict[str, Any]:
    """Return the content of a data.dvc from its text. Raises UserError if it is not valid."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if line := conflict_line(text):
            raise UserError(
                f"{POINTER} has a merge conflict in line {line}; take one side with `git checkout --ours "
                f"{POINTER}` or `--theirs`, then run again: the sources are read again"
            ) from error
        mark = getattr(error, "problem_mark", None)
        said = f"it is not valid YAML from line {mark.line + 1} on" if mark else "it is not valid YAML"
        raise UserError(_broken(path, said)) from error
    if found is None:
        raise UserError(_broken(path, "it is empty"))
    try:
        meta = dict(found.get("meta") or {})
        int(meta.get("layout", 1))
        if isinstance(meta.get("rows"), dict) and "sources" in meta:
            _check_meta(meta)
        return {"md5": str(found["outs"][0]["md5"]), "meta": meta}
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        raise UserError(_broken(path, "it has no outs with an md5, or its meta is not valid")) from error


def _check_meta(meta: dict[str, Any]) -> None:
    """Raise ValueError or TypeError if counts or withdrawals that chatmill wrote have other types."""
    for count in meta["rows"].values():
        int(count)
    withdrawn = meta.get("withdrawn") or {}
    if not isinstance(withdrawn, dict) or not isinstance(withdrawn.get("members") or [], list):
        raise TypeError("withdrawn")


def _broken(path: Path, said: str) -> str:
    return f"{path.name} is broken ({said}); restore it with `git checkout {POINTER}`"


def is_own(pointer: dict[str, Any]) -> bool:
    """Return whether chatmill wrote a data.dvc: one of DVC's own has no `meta` with rows and sources."""
    meta = pointer["meta"]
    return isinstance(meta, dict) and isinstance(meta.get("rows"), dict) and "sources" in meta


def is_former_layout(pointer: dict[str, Any]) -> bool:
    """Return whether a version has one file for each kind. Its hash can never equal that of shards."""
    return int(pointer["meta"].get("layout", 1)) < LAYOUT


def explain_mismatch(pointer: dict[str, Any], found: str) -> str:
    """Return why rows of unchanged sources have another hash than data.dvc says, and what the user can do."""
    if is_former_layout(pointer):
        return (
            f"data.dvc names a version of the former layout, a file a kind, and data/ is in shards now "
            f"({found}); take it once with `--set data.accept_changes=true`, then commit data.dvc"
        )
    return (
        f"the sources are those of data.dvc, but their rows have the hash {found} and data.dvc says "
        f"{pointer['md5']}: the parsers changed, or data.dvc was edited; restore data.dvc, or set "
        "data.accept_changes=true to take the rows as a new version"
    )


def write_pointer(
    root: Path, version: str, meta: dict[str, Any], size: int | None = None, files: int | None = None
) -> None:
    """Write a version's hash and `meta` to data.dvc in one rename."""
    path = root / POINTER
    # `Repo.add` writes the new hash beside the old `meta`: a crash would leave counts of another version.
    before = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    out = {"md5": version, "size": size, "nfiles": files, "hash": "md5", "path": "data"}
    kept = {name: value for name, value in before.items() if name not in ("outs", "meta")}
    outs = [{name: value for name, value in out.items() if value is not None}]
    found = {**kept, "outs": outs, "meta": {"layout": LAYOUT, **meta}}
    replace_text(path, yaml.safe_dump(found, sort_keys=False), fixed_part(path))
