"""List the versions of the data: data.dvc in git's history, and uncommitted versions made in this folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.errors import UserError
from tasks.common.git_checkout import git_problem, is_empty, run_git
from tasks.dvc.pointer_file import POINTER, parse_pointer, read_pointer
from tasks.dvc.version_list import complete_list, pointer_time, remembered_versions

WORKING = "working"
_SHORTEST = 4


@dataclass(frozen=True)
class Version:
    """A version of the data.

    Attributes:
        hash: The hash of the data.
        date: The time of the commit, or else when it was made (ISO 8601; empty if unknown).
        commit: The commit; empty if there is none.
        subject: The subject of the commit; empty if there is none.
        rows: Rows by kind.
        sources: The digest of the sources. If it equals that of the version before, another parser made the
            difference.
        withdrawn: The digest of the withdrawals; empty if there are none.
    """

    hash: str
    date: str
    commit: str
    subject: str
    rows: dict[str, int]
    sources: str
    withdrawn: str = ""


def version_log(root: Path) -> list[Version]:
    """Return the versions that can be named here, the newest first.

    A version that was restored later is listed twice. First is data.dvc if it is not committed. Then come
    git's history of data.dvc and, by date, the versions made in this folder that were never committed.
    """
    # A project that may not be written to, or a full disk, must not hinder the listing.
    with suppress(OSError):
        complete_list(root)
    committed = _committed_versions(root)
    hashes = {version.hash for version in committed}
    now = read_pointer(root)
    made = {entry["md5"]: entry["made"] for entry in remembered_versions(root)}
    loose = [
        _parse_version(entry, entry["made"])
        for entry in reversed(remembered_versions(root))
        # Committed versions are listed with their commits.
        if entry["md5"] not in hashes and (now is None or entry["md5"] != now["md5"])
    ]
    # `sorted` is stable: commits of the same second stay in git's order.
    past = sorted([*committed, *loose], key=lambda version: version.date, reverse=True)
    if now is not None and not (committed and committed[0].hash == now["md5"]):
        # A disk without space may keep it out of the list.
        return [_parse_version(now, made.get(now["md5"]) or pointer_time(root)), *past]
    return past


def _parse_version(pointer: dict[str, Any], date: str, commit: str = "", subject: str = "") -> Version:
    meta = pointer["meta"]
    rows = {str(kind): int(count) for kind, count in (meta.get("rows") or {}).items()}
    withdrawn = str((meta.get("withdrawn") or {}).get("digest", ""))
    return Version(pointer["md5"], date, commit, subject, rows, str(meta.get("sources", "")), withdrawn)


def _committed_versions(root: Path) -> list[Version]:
    """Return data.dvc at each commit that changed it, in git's order, without damaged ones."""
    listed = _git_output(root, "log", "--format=%H%x00%cI%x00%s", "--", POINTER)
    found = []
    for line in (listed or "").splitlines():
        commit, date, subject = line.split("\0", 2)
        text = _git_output(root, "show", f"{commit}:./{POINTER}")
        try:
            pointer = parse_pointer(text or "", Path(f"{commit[:10]}:{POINTER}"))
        except UserError:
            continue
        # Dates of commits have the committer's time zone, and the log sorts them as texts.
        made = datetime.fromisoformat(date).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found.append(_parse_version(pointer, made, commit, subject))
    return found


def _git_output(root: Path, *words: str) -> str | None:
    """Return the output of git; None if git is not installed or fails."""
    done = run_git(root, *words)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def find_version_hash(root: Path, name: str) -> str:
    """Return the hash of a version by its name: a git revision, or the hash or its beginning.

    A git revision takes precedence. Raises UserError if no version matches, or several do.
    """
    # --end-of-options: a name that begins with "-" must not become an option of git.
    commit = _git_output(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit is not None:
        text = _git_output(root, "show", f"{commit.strip()}:./{POINTER}")
        if text is None:
            raise UserError(f"{POINTER} does not exist at {name}; `chatmill data log` lists the versions")
        return str(parse_pointer(text, Path(f"{name}:{POINTER}"))["md5"])
    plain = name.lower().removesuffix(".dir")
    if re.fullmatch(rf"[0-9a-f]{{{_SHORTEST},32}}", plain):
        hashes = dict.fromkeys(
            version.hash for version in version_log(root) if version.hash.startswith(plain)
        )
        if len(hashes) == 1:
            return next(iter(hashes))
        if hashes:
            raise UserError(f"{name} matches {_join_hashes(hashes)}; give more characters")
    raise UserError(
        f"{name} is not a version: neither a git revision nor {_SHORTEST} or more digits of a "
        "version's hash; "
        "`chatmill data log` lists them"
    )


def _join_hashes(hashes: Sequence[str] | dict[str, None]) -> str:
    return " and ".join(text.removesuffix(".dir") for text in hashes)


def last_accepted(root: Path) -> str:
    """Return the version to compare with by default: that of HEAD, or without git the previous one.

    Raises UserError if there is none, or if git cannot read the repository that has it.
    """
    if _git_output(root, "show", f"HEAD:./{POINTER}") is not None:
        return find_version_hash(root, "HEAD")
    if (problem := git_problem(root)) and not is_empty(problem):
        raise UserError(
            f"the committed version of the data is unknown: {problem}; name a version that "
            "`chatmill data log` lists"
        )
    now = read_pointer(root)
    past = [version.hash for version in version_log(root) if now is None or version.hash != now["md5"]]
    if not past:
        raise UserError(
            "there is no earlier version of the data to compare with: data.dvc is not committed, "
            "and this folder has no earlier version"
        )
    return past[0]
