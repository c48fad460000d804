"""The choice of stage outputs to remove, by age and size.

Outputs that a model, a running run or the newest run needs always stay.
"""

from __future__ import annotations

import errno
import fcntl
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from model.errors import UserError, error_reason
from tasks.engine.output import GONE, MANIFEST

KEY = re.compile(r"([0-9a-f]{20})((?:\.part|\.view|\.fetch|\.log|\.job|\.lock)?(?:\.gone)?)")
RUNNING = "a running run"
OUTPUT, UNFINISHED, REMAINS, HALF = "output", "unfinished", "remains", "half removed"
# Errors that say that there is no file of that name, unlike those of a disk or a missing permission.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO)
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
UNITS = {"B": 1, **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)}}
UNITS |= {f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)}


@dataclass(frozen=True)
class CachedOutput:
    """Files of var/cache/artifacts/STAGE that are removed together: an output, or an unfinished one.

    `unreadable` is the system's reason if it refuses to read the manifest.
    """

    stage: str
    key: str
    kind: str
    paths: tuple[Path, ...]
    size: int
    made: float
    digest: str = ""
    run: str = ""
    inputs: dict[str, tuple[str, str]] = field(default_factory=dict, hash=False)
    held: bool = False
    unreadable: str = ""


@dataclass(frozen=True)
class Root:
    """Something that must stay, and the reason; it is given by key, content or run.

    `stage` alone means all outputs of that stage. With `begun`, it means the latest unfinished output of the
    stage.
    """

    reason: str
    stage: str = ""
    key: str = ""
    digest: str = ""
    run: str = ""
    begun: bool = False


@dataclass(frozen=True)
class GCPlan:
    """The outputs to remove and those to keep, each with the reason."""

    goes: list[tuple[CachedOutput, str]]
    kept: list[tuple[CachedOutput, str]]

    @property
    def kept_bytes(self) -> int:
        """Bytes that are kept."""
        return sum(entry.size for entry, _ in self.kept)


def plan_gc(
    entries: Sequence[CachedOutput],
    needs: Sequence[Root],
    now: float,
    older_than: float,
    keep_under: int | None,
    unwanted: Mapping[tuple[str, str], str] = {},
) -> GCPlan:
    """Choose the outputs to remove: unneeded ones beyond an age, then the oldest until a size is met.

    What an earlier cleanup removed only in part goes at any age.

    Args:
        entries: All outputs.
        needs: What must stay, with what it was made from.
        now: The time in seconds since 1970.
        older_than: Unneeded outputs go if they are older than this many seconds.
        keep_under: Bytes that all outputs may take together; None for no limit.
        unwanted: Outputs that go even if something was made from them, by stage and key, with the reason.
            Those that a running run reads stay.
    """
    wanted = reachable_outputs(entries, needs)
    kept: list[tuple[CachedOutput, str]] = []
    goes: list[tuple[CachedOutput, str]] = []
    free: list[CachedOutput] = []
    # The oldest first: they go first if a size must be met.
    for entry in sorted(entries, key=lambda entry: (entry.made, entry.stage, entry.key, entry.kind)):
        if entry.held:
            kept.append((entry, "a process holds its file lock"))
        elif entry.unreadable:
            # What it is needed for is unknown, and a disk's error may be over tomorrow.
            kept.append((entry, f"its manifest cannot be read ({entry.unreadable})"))
        elif entry.kind == HALF and all(path.name.endswith(GONE) for path in entry.paths):
            goes.append((entry, "half removed before"))
        elif (reason := unwanted.get((entry.stage, entry.key))) and RUNNING not in wanted.get(
            (entry.stage, entry.key), ""
        ):
            goes.append((entry, reason))
        elif (reason := wanted.get((entry.stage, entry.key))) is not None:
            kept.append((entry, reason))
        elif entry.kind == HALF:
            goes.append((entry, "without a manifest, so incomplete"))
        elif now - entry.made > older_than:
            goes.append((entry, f"unused, older than {show_age(older_than)}"))
        else:
            free.append(entry)
    # What must stay counts towards the size too, so the bound may be out of reach.
    over = sum(entry.size for entry, _ in kept) + sum(entry.size for entry in free)
    for entry in free:
        if keep_under is not None and over > keep_under:
            goes.append((entry, f"unused, the oldest, to keep under {show_size(keep_under)}"))
            over -= entry.size
        else:
            kept.append((entry, f"unused, younger than {show_age(older_than)}"))
    return GCPlan(goes, kept)


def reachable_outputs(entries: Sequence[CachedOutput], needs: Sequence[Root]) -> dict[tuple[str, str], str]:
    """Return stage and key of all outputs that are needed, directly or as inputs, with the first reason.

    If the folder of an input is gone, outputs with the same content count instead.
    """
    outputs = {(entry.stage, entry.key): entry for entry in entries if entry.kind == OUTPUT}
    found: dict[tuple[str, str], str] = {}
    for need in needs:
        waiting = [(place, need.reason) for place in _matching_outputs(entries, need)]
        while waiting:
            place, reason = waiting.pop()
            if place in found:
                continue
            found[place] = reason
            if place in outputs:
                below = reason if reason.startswith("an input of ") else f"an input of {reason}"
                for stage, (key, digest) in outputs[place].inputs.items():
                    places = (
                        [(stage, key)] if (stage, key) in outputs else _same_outputs(entries, stage, digest)
                    )
                    waiting.extend((place, below) for place in places)
    return found


def _matching_outputs(entries: Sequence[CachedOutput], need: Root) -> list[tuple[str, str]]:
    if need.key:
        return [(need.stage, need.key)]
    if need.begun:
        begun = [entry for entry in entries if entry.kind == UNFINISHED and entry.stage == need.stage]
        return [(entry.stage, entry.key) for entry in sorted(begun, key=lambda entry: entry.made)[-1:]]
    if need.stage:
        return [(entry.stage, entry.key) for entry in entries if entry.stage == need.stage]
    return [
        (entry.stage, entry.key)
        for entry in entries
        if (need.digest and entry.digest == need.digest) or (need.run and entry.run == need.run)
    ]


def _same_outputs(entries: Sequence[CachedOutput], stage: str, digest: str) -> list[tuple[str, str]]:
    return [(entry.stage, entry.key) for entry in entries if (entry.stage, entry.digest) == (stage, digest)]


def list_outputs(artifacts: Path) -> list[CachedOutput]:
    """Return everything in var/cache/artifacts whose name has the form of a stage's key."""
    found: list[CachedOutput] = []
    for stage in sorted(path for path in artifacts.glob("*") if path.is_dir() and not path.is_symlink()):
        by_key: dict[str, dict[str, Path]] = {}
        for path in sorted(stage.iterdir()):
            match = KEY.fullmatch(path.name)
            if match and not path.is_symlink():
                by_key.setdefault(match[1], {})[match[2]] = path
        for key, paths in by_key.items():
            found.extend(_entries_of_key(stage.name, key, paths))
    return found


def _entries_of_key(stage: str, key: str, paths: dict[str, Path]) -> Iterator[CachedOutput]:
    """Yield the entries of one key: the output with its log and lock, unfinished and partly removed ones."""
    manifest, unreadable = _read_json(paths[""] / MANIFEST) if "" in paths else (None, "")
    gone = [path for suffix, path in paths.items() if suffix.endswith(GONE)]
    beside = [paths[suffix] for suffix in (".log", ".job", ".lock") if suffix in paths]
    busy = is_lock_held(paths[".lock"]) if ".lock" in paths else False
    if "" in paths and manifest is None:
        yield replace(_make_entry(stage, key, HALF, [paths[""]], busy), unreadable=unreadable)
    if gone:
        yield _make_entry(stage, key, HALF, gone, busy)
    if unfinished := [paths[suffix] for suffix in (".fetch", ".view") if suffix in paths]:
        yield _make_entry(stage, key, HALF, unfinished, busy)
    if manifest is not None:
        given = {name: (str(of["key"]), str(of["digest"])) for name, of in manifest["inputs"].items()}
        made = (paths[""] / MANIFEST).stat().st_mtime
        size = sum(_total_size(path) for path in (paths[""], *beside))
        told = (str(manifest.get("digest", "")), str(manifest.get("run", "")))
        yield CachedOutput(stage, key, OUTPUT, (paths[""], *beside), size, made, *told, given, busy)
        beside = []
    if ".part" in paths:
        # A training outlives a killed run for a while; it holds a lock in the folder that it writes to.
        training = any(is_lock_held(path) for path in paths[".part"].rglob("training.lock"))
        yield _make_entry(stage, key, UNFINISHED, [paths[".part"], *beside], busy or training)
    elif beside:
        yield _make_entry(stage, key, REMAINS, beside, busy)


def _make_entry(stage: str, key: str, kind: str, paths: Sequence[Path], busy: bool) -> CachedOutput:
    # A lock is as new as the last process that made it: a killed gc would keep what it began to remove.
    dated = [path for path in paths if path.suffix != ".lock"] or paths
    times = [path.stat().st_mtime for path in _all_files(dated)] or [path.stat().st_mtime for path in dated]
    return CachedOutput(
        stage, key, kind, tuple(paths), sum(_total_size(path) for path in paths), max(times), held=busy
    )


def _all_files(paths: Iterable[Path]) -> list[Path]:
    return [
        file
        for path in paths
        for file in ([path] if not path.is_dir() else path.rglob("*"))
        if file.is_file() and not file.is_symlink()
    ]


def _total_size(path: Path) -> int:
    return sum(file.stat().st_size for file in _all_files([path]))


def _read_json(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Return a manifest, or None if there is no whole one, and why the system refuses to read it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return None, "" if error.errno in _NO_FILE else error_reason(error)
    except (ValueError, RecursionError):
        return None, ""
    return (found if isinstance(found, dict) and isinstance(found.get("inputs"), dict) else None), ""


def is_lock_held(path: Path) -> bool:
    """Return whether a live process holds the lock on a file."""
    try:
        # Opened for reading, so that a user who may not write can ask.
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def parse_age(text: str) -> float:
    """Return the seconds of an age such as `30d`, `12h`, `2w` or `90m`.

    Raises:
        UserError: The text is not an age.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip().lower())
    if not match:
        raise UserError(
            f"--older-than {text!r} is not a valid age; write a number and m, h, d or w, as in 30d"
        )
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `20GB`, `1.5 TB` or `512MiB`.

    Raises:
        UserError: The text is not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)", text.strip().upper())
    if not match or match[2] not in UNITS:
        raise UserError(
            f"--max-size {text!r} is not a valid size; write a number and MB, GB or TB, as in 20GB"
        )
    return int(float(match[1]) * UNITS[match[2]])


def show_age(seconds: float) -> str:
    """Return an age in the largest unit that fits."""
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= unit:
            count = f"{seconds / unit:.1f}".removesuffix(".0")
            return f"{count} {name[:-1] if count == '1' else name}"
    return f"{max(0, seconds):.0f} s"


def show_size(size: int) -> str:
    """Return a number of bytes in the largest unit that fits."""
    for unit, name in ((1000**4, "TB"), (1000**3, "GB"), (1000**2, "MB"), (1000, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}".replace(".0 ", " ")
    return f"{size} B"
