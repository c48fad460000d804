"""The restoration of a backup's records.

Nothing is restored before everything is checked, and a restoration that a kill interrupts is completed by
the next command.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from model.atomic_file import fixed_part, replace_text
from model.errors import UserError
from tasks.backup.archive import (
    CONTENTS,
    DATABASES,
    KEPT_RECORDS,
    PAGES,
    Backup,
    begins_as_backup,
    is_record,
    locked_folder,
)
from tasks.project.database_check import fault_in
from tasks.project.dry_run import may_write
from tasks.project.label_site import keep_site
from tasks.project.paths import JUDGEMENTS_LOCK, LABEL_SESSION_KEY, MLFLOW_FOLDER, RECORDS, SERVERS

# SQLite's files beside the former databases. They would damage restored ones, so they are moved with the
# former.
BESIDE = tuple(f"{path.name}-{end}" for path in DATABASES for end in ("journal", "wal", "shm"))
INTENTION = RECORDS / "restoring.json"
_PIECE = 1 << 20


def restore_backup(root: Path, source: Path, force: bool = False) -> tuple[Backup, Path | None]:
    """Restore a backup's records; if there are records and `force` is set, move them to another folder.

    Nothing happens if the records are those of the backup, as after a restoration that was killed when all
    was in place.

    Args:
        root: The project's folder.
        source: The backup.
        force: Replace existing records.

    Returns:
        What was restored, and the folder with the former records, if there were any.

    Raises:
        UserError: The file is not a complete backup, a run or a server is alive, or there are records.
    """
    finish_restore(root)
    if not source.is_file():
        raise UserError(f"{source} is not a file; create one with `chatmill backup FILE`")
    # Before --force is asked for, which would be of no use.
    if not source.stat().st_size or not begins_as_backup(source):
        raise UserError(f"{source} is not a backup; `chatmill backup FILE` writes one; nothing was changed")
    (root / RECORDS).mkdir(mode=0o700, exist_ok=True)
    with _nothing_alive(root):
        there = [name for name in _record_entries(root / RECORDS) if _holds_something(root / RECORDS / name)]
        if there and (same := _find_restored(source, root / RECORDS)):
            _end_sessions(root)
            return same, None
        if there and not force:
            raise UserError(
                f"{RECORDS}/{there[0]} exists; --force replaces it and keeps the old records in "
                f"{RECORDS}/replaced-DATE"
            )
        stamp = _free_stamp(root / RECORDS)
        # Both inside var/: a rename only works on one disk.
        part, replaced = root / RECORDS / f"restoring-{stamp}.part", root / RECORDS / f"replaced-{stamp}"
        part.mkdir(mode=0o700)
        # The system releases the lock when the process ends: `_remove_killed` goes by it.
        with locked_folder(part):
            try:
                sums = _extract_archive(source, part)
                for database in (part / path.name for path in DATABASES):
                    if database.exists() and (fault := fault_in(database)):
                        raise UserError(
                            f"{source} contains a damaged database ({fault}); nothing was changed"
                        )
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            said = json.dumps({"new": part.name, "old": replaced.name})
            # From here on the restoration is decided: after a kill, the next command completes it.
            replace_text(root / INTENTION, said, fixed_part(root / INTENTION))
            _move_records(root, part, replaced)
    found = Backup(source, len(sums), sum(size for _, size in sums.values()))
    return found, replaced if replaced.exists() else None


def finish_restore(root: Path) -> str:
    """Complete a restoration that a kill interrupted; remove what one left that was not decided yet.

    Returns:
        A sentence about the completed restoration; empty if there was none.
    """
    if (found := _read_intention(root)) is None:
        if may_write():
            _remove_killed(root)
        return ""
    if not may_write():
        raise UserError(
            "`chatmill restore` was interrupted, and a dry run writes nothing; run `chatmill models`, which "
            "completes the restoration, then repeat the dry run"
        )
    # The restoration may be alive, or another command may complete it at this moment.
    with _locked_records(root):
        if (found := _read_intention(root)) is None:
            return ""
        part, replaced = found
        _move_records(root, part, replaced)
    kept = f"; the replaced records are in {replaced.relative_to(root)}" if replaced.exists() else ""
    return f"completed a `chatmill restore` that was interrupted{kept}"


def _read_intention(root: Path) -> tuple[Path, Path] | None:
    """Return the folders of the restored and of the replaced records, if a restoration is decided."""
    try:
        found = json.loads((root / INTENTION).read_text(encoding="utf-8"))
        # Only the last part of each name is used: a changed file must not lead outside var/.
        part, replaced = (root / RECORDS / PurePosixPath(str(found[name])).name for name in ("new", "old"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return part, replaced


def _move_records(root: Path, part: Path, replaced: Path) -> None:
    """Move the records of var/ to `replaced`, and those of `part` to var/. The caller holds their lock."""
    _end_sessions(root)
    moved = replaced / "moved"
    if part.is_dir():
        replaced.mkdir(mode=0o700, exist_ok=True)
        if not moved.exists():
            for name in _record_entries(root / RECORDS):
                _rename_path(root / RECORDS / name, replaced / name)
            # After this mark, entries in var/ are restored ones, which must not be moved again.
            moved.touch()
        for name in _record_entries(part):
            _rename_path(part / name, root / RECORDS / name)
        shutil.rmtree(part)
    moved.unlink(missing_ok=True)
    with suppress(OSError):
        replaced.rmdir()  # where there was nothing to keep
    (root / INTENTION).unlink()


def _end_sessions(root: Path) -> None:
    """End all sessions of the label page, also of people who were removed or have a new password since."""
    keep_site(root)
    (root / LABEL_SESSION_KEY).unlink(missing_ok=True)


def _free_stamp(folder: Path) -> str:
    """Return the time as a part of names; with a number if an earlier restoration has the same."""
    stamp = found = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while any(os.path.lexists(folder / name) for name in (f"restoring-{found}.part", f"replaced-{found}")):
        number += 1
        found = f"{stamp}-{number}"
    return found


def _remove_killed(root: Path) -> None:
    """Remove the unpacked records of restorations that were killed before they were decided."""
    for path in (root / RECORDS).glob("restoring-*.part"):
        with suppress(OSError), locked_folder(path) as alone:
            if alone:
                shutil.rmtree(path)


def _rename_path(there: Path, here: Path) -> None:
    here.parent.mkdir(parents=True, exist_ok=True)
    if here.is_dir():
        here.rmdir()
    there.rename(here)


def _record_entries(folder: Path) -> list[str]:
    """Return the records in a folder with the layout of var/, as paths relative to it."""
    return [name for name in (*KEPT_RECORDS, *BESIDE) if (folder / name).exists()] + sorted(
        path.name for path in folder.glob(PAGES)
    )


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0


@contextmanager
def _locked_records(root: Path) -> Iterator[None]:
    """Wait for the lock without which no run starts and no other process moves records, and hold it."""
    folder = root / MLFLOW_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _nothing_alive(root: Path) -> Iterator[None]:
    """Raise UserError if a run or a server of this project is alive; keep new ones from starting."""
    folder = root / MLFLOW_FOLDER
    with _locked_records(root):
        for path in [*sorted((folder / "alive").glob("*")), root / SERVERS]:
            if path.exists():
                with path.open() as file:
                    try:
                        # A shared lock shows whether an exclusive one is held, and does not disturb other
                        # commands that look.
                        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    except BlockingIOError:
                        what = "`chatmill up` runs" if path.name == SERVERS.name else "a run is alive"
                        raise UserError(f"{what} here; stop it before replacing records") from None
        # The label page and the commands that change its store hold a shared lock.
        with (root / JUDGEMENTS_LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError("the label page runs here; stop it before replacing records") from None
            yield


def _find_restored(source: Path, records: Path) -> Backup | None:
    """Return a complete backup whose files are exactly the records that are there; None if any differs."""
    entries = [records / name for name in _record_entries(records)]
    there = {
        path.relative_to(records).as_posix()
        for entry in entries
        for path in (entry.rglob("*") if entry.is_dir() else (entry,))
        if path.is_file()
    }
    found, size, listed = set[str](), 0, False
    try:
        with tarfile.open(source, mode="r|*") as archive:
            for member in archive:
                if member.name == CONTENTS:
                    listed = True
                elif member.name not in there or not _holds_member(archive, member, records / member.name):
                    return None
                else:
                    found.add(member.name)
                    size += member.size
    # A damaged archive is named where it is extracted.
    except (OSError, tarfile.TarError, EOFError, ValueError, zlib.error):
        return None
    return Backup(source, len(found), size) if listed and found == there else None


def _holds_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bool:
    """Return whether a file has the content of a member of an archive."""
    reader = archive.extractfile(member) if member.isreg() else None
    if reader is None or path.stat().st_size != member.size:
        return False
    with path.open("rb") as file:
        while piece := reader.read(_PIECE):
            if file.read(len(piece)) != piece:
                return False
    return True


def _extract_archive(source: Path, part: Path) -> dict[str, tuple[str, int]]:
    """Write the content of a backup to `part` and check it.

    Raises:
        UserError: The file is not a complete backup.
    """
    cut = f"{source} is not a complete backup; nothing was changed"
    sums: dict[str, tuple[str, int]] = {}
    listed: dict[str, Any] | None = None
    try:
        with tarfile.open(source, mode="r|*") as archive:
            for member in archive:
                reader = archive.extractfile(member) if member.isreg() else None
                # The archive may come from anywhere: a link or a path outside could otherwise overwrite any
                # file.
                if reader is None or not is_record(member.name):
                    raise UserError(
                        f"{source} holds {member.name!r}, which is not a record; nothing was changed"
                    )
                if member.name == CONTENTS:
                    listed = json.loads(reader.read())
                    continue
                place = part / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                # Mode "x" refuses a second member of the same name.
                with place.open("xb") as file:
                    digest = hashlib.sha256()
                    while piece := reader.read(_PIECE):
                        digest.update(piece)
                        file.write(piece)
                sums[member.name] = (digest.hexdigest(), member.size)
    except (tarfile.TarError, EOFError, ValueError, zlib.error, gzip.BadGzipFile, FileExistsError) as error:
        raise UserError(f"{cut} ({str(error) or type(error).__name__})") from error
    if listed is None:
        raise UserError(f"{cut} (its list of files is missing: it was truncated)")
    wanted = {str(name): tuple(value) for name, value in listed.get("files", {}).items()}
    if wrong := sorted(name for name in {*wanted, *sums} if wanted.get(name) != sums.get(name)):
        raise UserError(f"{cut} ({wrong[0]} is missing or differs from its checksum)")
    return sums
