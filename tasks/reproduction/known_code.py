"""Digests of the code and presets that ran on this host.

MLflow may be shared, and whoever can write to it could change a run's commit, diff or preset. So each run
records its digests here, in files that only this user can write. `reproduce` checks them before it runs what
MLflow holds. They are records: no command removes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from model.errors import UserError
from tasks.common.git_checkout import Code, is_on_branch
from tasks.project.paths import KNOWN_CODE

# Git names commits by SHA-1, or by SHA-256 in repositories that were created so.
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
DATA_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")
# Digits of a digest in messages.
SHOWN_DIGITS = 12


def remember_code(root: Path, code: Code, preset: str) -> None:
    """Record that this code and this preset ran here; `preset` is the text of the run's preset.json."""
    folder = root / KNOWN_CODE
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for digest in (_code_digest(code), _preset_digest(json.loads(preset))):
        path = folder / digest
        if not path.exists():
            path.touch(mode=0o600)
    # The files are empty; their names are entries of the folder, which is what must reach the disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_trusted(root: Path, run: str, code: Code, preset: Mapping[str, Any]) -> None:
    """Raise UserError if a run in MLflow asks for code or stores that this host does not know.

    Args:
        root: The project's folder.
        run: The start of the run's id, for messages.
        code: The run's commit and diff as MLflow holds them.
        preset: The run's preset as MLflow holds it.
    """
    known_code = _is_known(root, _code_digest(code))
    if code.diff and not known_code:
        raise UserError(
            f"run {run} used changed code, and this host has no record of that diff: another host "
            "or an older version made the run, or its diff was changed in MLflow; read git.diff of "
            f"that run in MLflow, then run it with `chatmill reproduce {run} --trust`"
        )
    # A commit on a local branch or tag was fetched or made by the user, so it is trusted.
    if not known_code and not is_on_branch(root, code.commit):
        raise UserError(
            f"commit {code.commit[:SHOWN_DIGITS]} of run {run} is in no branch or tag of this repository, "
            "and this host has no record of running it; read it with `git show`, then run it with --trust"
        )
    if _is_known(root, _preset_digest(preset)):
        return
    asked = preset.get("data") or {}
    remote, endpoint = str(asked.get("remote") or ""), str(asked.get("endpoint") or "")
    if (remote or endpoint) and (remote, endpoint) not in _own_remotes(root):
        raise UserError(
            f"the preset of run {run} reads data from {remote} {endpoint}, which no preset in "
            "configs/ names, and this host has no record of running that preset; use --trust to use "
            "your credentials there"
        )


def check_plain(run: str, code: Code, data: str, preset: Mapping[str, Any]) -> None:
    """Raise UserError if a run's commit, data hash or preset in MLflow does not have the right form.

    Commit and hash become arguments of Git and DVC, where another text could be taken for an option or a
    path.
    """
    for value, right, what in ((code.commit, COMMIT, "commit"), (data, DATA_HASH, "hash of its data")):
        if value and not right.fullmatch(value):
            raise UserError(f"run {run} has {value[:40]!r} for the {what} in MLflow, which is invalid")
    data_section = preset.get("data")
    if not isinstance(data_section, Mapping) or not isinstance(data_section.get("sources"), list):
        raise UserError(
            f"run {run} has a preset.json in MLflow that is not a preset: it lists no data.sources"
        )


def _is_known(root: Path, digest: str) -> bool:
    return (root / KNOWN_CODE / digest).is_file()


def _code_digest(code: Code) -> str:
    return hashlib.sha256(f"code\0{code.commit}\0{code.diff}".encode("utf-8", "surrogatepass")).hexdigest()


def _preset_digest(preset: Mapping[str, Any]) -> str:
    # The parsed preset is compared, so that the format of the JSON does not matter.
    text = json.dumps(preset, sort_keys=True)
    return hashlib.sha256(f"preset\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _own_remotes(root: Path) -> set[tuple[str, str]]:
    """Return the remotes of the presets in configs/, each with its endpoint."""
    found = set()
    # Reading a named pipe would wait for ever.
    for path in filter(Path.is_file, sorted((root / "configs").glob("*.yaml"))):
        try:
            data = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("data") or {}
            found.add((str(data.get("remote") or ""), str(data.get("endpoint") or "")))
        except (OSError, ValueError, AttributeError, yaml.YAMLError, RecursionError):
            continue
    return found
