"""The folder data/: the list of files that chatmill wrote there, and the replacement of all rows in one step.

`data/.chatmill` holds that list and, during a replacement, the new rows. It lies inside data/, so that every
rename stays on one disk wherever data/ is mounted. DVC ignores it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from model.atomic_file import atomic_path
from model.errors import UserError, file_error
from tasks.project.owned_folder import MARKER

# The kinds of records, each a folder of shards; `tasks.data.records.TYPES` has their classes.
KINDS = ("text", "pairs", "comparisons", "ratings")
STATE = ".chatmill"
LIST = "files.json"
QUARANTINE = "quarantine"
# Files that chatmill leaves alone in data/: they keep an empty folder in Git, or come with a file system.
TOLERATED = (".gitignore", ".gitkeep", ".keep", ".DS_Store", "lost+found")
SHARD = re.compile(rf"(?:{'|'.join(KINDS)})/[0-9]{{5,}}\.jsonl")
# Versions before the introduction of shards had one file for each kind.
FORMER = tuple(f"{kind}.jsonl" for kind in KINDS)
_PIECE = 1 << 20
_FIRST = b'{"id":"'  # what a canonical row begins with
_ADVICE = (
    "chatmill replaces everything in data/; move your files to another folder, as in `mv data "
    "my-texts && mkdir data`, name that folder in the preset, and run again"
)


class Damaged(Exception):
    """A file's content does not match its hash."""


def data_files(data: Path) -> dict[str, Path]:
    """Return the files of data/ by their path in it, without those that DVC ignores.

    A link to a folder, a socket and the like count as files, because chatmill makes none of them.
    """
    found: dict[str, Path] = {}
    if data.is_dir():
        for entry in sorted(os.scandir(data), key=lambda entry: entry.name):
            if entry.name not in (STATE, QUARANTINE, *TOLERATED):
                found |= {path.relative_to(data).as_posix(): path for path in _walk_files(Path(entry.path))}
    return dict(sorted(found.items()))


def _walk_files(path: Path) -> Iterator[Path]:
    try:
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
        entries = sorted(os.scandir(path), key=lambda entry: entry.name) if is_folder else []
    except FileNotFoundError:
        # The validation of another run is replacing data/quarantine.
        return
    if not is_folder:
        yield path
    for entry in entries:
        yield from _walk_files(Path(entry.path))


def foreign_files(data: Path) -> list[str]:
    """Return the files in data/ that chatmill's list does not name."""
    listed = _listed_files(data)
    return [name for name, path in data_files(data).items() if name not in listed or not _is_regular(path)]


def is_quarantine(name: str) -> bool:
    """Return whether a path below data/quarantine is one that validation writes or used to write."""
    return bool(SHARD.fullmatch(name)) or name in FORMER


def foreign_quarantine(data: Path) -> list[str]:
    """Return the files below data/quarantine that validation did not write."""
    folder = data / QUARANTINE
    names = [path.relative_to(folder).as_posix() for path in _walk_files(folder)] if folder.is_dir() else []
    return [f"{QUARANTINE}/{name}" for name in names if name != MARKER and not is_quarantine(name)]


def _is_regular(path: Path) -> bool:
    # DVC itself may place a shard as a link to a file in its cache.
    return path.is_file() and (not path.is_symlink() or stat.S_ISREG(path.stat().st_mode))


def _listed_files(data: Path) -> set[str]:
    try:
        found = json.loads((data / STATE / LIST).read_text(encoding="utf-8"))
        return {str(name) for name in found["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def list_files(data: Path, names: Iterable[str]) -> None:
    """Write the list of chatmill's files in data/."""
    with explain_disk_errors(data):
        (data / STATE).mkdir(parents=True, exist_ok=True)
        about = "Files in data/ that chatmill wrote and may replace."
        with (
            atomic_path(data / STATE / LIST, data / STATE / f"{LIST}.part") as part,
            part.open("w", encoding="utf-8") as file,
        ):
            json.dump({"about": about, "files": sorted(names)}, file, indent=0)
            file.flush()
            # A list that a power failure emptied would make chatmill's own rows look like the user's.
            os.fsync(file.fileno())


def check_place(root: Path) -> Path:
    """Return the project's data/.

    Raises:
        UserError: It is a file, or a link whose target is missing.
    """
    data = root / "data"
    if data.is_symlink() and not data.exists():
        raise UserError(
            f"data is a link to {os.readlink(data)}, which does not exist; mount or create that folder"
        )
    if data.exists() and not data.is_dir():
        raise UserError(f"data is a file, but chatmill needs a folder of that name. {_ADVICE}")
    return data


def lies_in_data(path: Path, root: Path) -> bool:
    """Return whether a path is the project's data/ or lies in it."""
    return path.resolve().is_relative_to((root / "data").resolve())


def replace_rows(root: Path, files: Mapping[str, Path], hashes: Mapping[str, str] | None = None) -> None:
    """Replace all rows of data/ by copies of `files`.

    The files are copied into data/.chatmill first, then renamed into place kind by kind. After a kill,
    `finish_replacement` completes the replacement.

    Args:
        root: The project's folder.
        files: The new rows, by their path in data/.
        hashes: The MD5 that each file must have, by the same path; None skips the comparison.

    Raises:
        UserError: data/ holds a file that is not chatmill's, or cannot be written.
        Damaged: A file does not have its MD5. data/ is unchanged.
    """
    if strange := [name for name in files if not SHARD.fullmatch(name)]:
        raise UserError(
            f"the version contains {strange[0]!r}, which is not a file of rows; nothing was written"
        )
    data = check_place(root)
    if foreign := foreign_files(data):
        raise UserError(refusal_message(foreign))
    finish_replacement(data)
    new, part = data / STATE / "new", data / STATE / "new.part"
    with explain_disk_errors(data):
        try:
            for kind in KINDS:
                (part / kind).mkdir(parents=True, exist_ok=True)
            for name, path in files.items():
                found = copy_file(path, part / name)
                if hashes is not None and found != hashes[name]:
                    raise Damaged(f"{path} has the MD5 {found}, expected {hashes[name]}")
            # A kill between here and the end leaves old and new files: all of them are chatmill's.
            list_files(data, {*_listed_files(data), *files})
            # This rename is the point of no return: `new` exists only with complete rows.
            part.rename(new)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        finish_replacement(data)


def finish_replacement(data: Path) -> None:
    """Complete a replacement of rows that a kill interrupted; discard it if its rows are incomplete."""
    state = data / STATE
    if not state.is_dir():
        return
    new, old = state / "new", state / "old"
    with explain_disk_errors(data):
        _remove_folder(state / "new.part")
        if new.exists():
            for kind in KINDS:
                if (new / kind).exists():
                    _remove_folder(old / kind)
                    old.mkdir(exist_ok=True)
                    # A kill between the two renames leaves a kind missing in data/; its rows are then in
                    # `new` still.
                    if (data / kind).exists():
                        (data / kind).rename(old / kind)
                    (new / kind).rename(data / kind)
            for name in _listed_files(data) & set(FORMER):
                (data / name).unlink(missing_ok=True)
            list_files(data, (name for name in data_files(data) if SHARD.fullmatch(name)))
            _remove_folder(new)
        _remove_folder(old)


def is_interrupted(data: Path) -> bool:
    """Return whether a kill left a replacement unfinished."""
    return any((data / STATE / name).exists() for name in ("new.part", "new", "old"))


def holds_rows_alone(folder: Path) -> bool:
    """Return whether every file below a folder is a shard of canonical rows."""
    for path in _walk_files(folder):
        if not (_is_regular(path) and SHARD.fullmatch(f"{path.parent.name}/{path.name}")):
            return False
        with path.open("rb") as file:
            if file.read(len(_FIRST)) not in (_FIRST, b""):
                return False
    return True


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def copy_file(source: Path, target: Path) -> str:
    """Copy a file and return the MD5 of the bytes that were written."""
    made = hashlib.md5(usedforsecurity=False)
    with source.open("rb") as reads, target.open("wb") as writes:
        while piece := reads.read(_PIECE):
            made.update(piece)
            writes.write(piece)
    return made.hexdigest()


def refusal_message(foreign: list[str]) -> str:
    """Return a message that names the files in data/ that are not chatmill's, and the remedy."""
    if len(foreign) == 1:
        what = f"data/{foreign[0]} is not a file that chatmill wrote"
    else:
        what = f"data/{foreign[0]} and {len(foreign) - 1:,} more are not files that chatmill wrote"
    return f"{what}; nothing was changed. {_ADVICE}"


@contextmanager
def explain_disk_errors(data: Path) -> Iterator[None]:
    """Turn an OSError on the disk of data/ into a UserError with a remedy."""
    try:
        yield
    except OSError as error:
        place = error.filename or data
        todo = {
            errno.ENOSPC: "free disk space and run again",
            errno.EDQUOT: "free disk space and run again",
            errno.EROFS: "mount it read-write and run again",
            errno.EACCES: "make it writable, and run again",
            errno.EPERM: "make it writable, and run again",
            errno.EIO: "the disk reports errors: check the system log and run again",
        }.get(error.errno or 0, "fix that, and run again")
        raise file_error(place, "cannot be written or read", error, todo) from error
