"""A copy of a project's records in one file, and the way back.

The file is a tar of the records and, last, `backup.json` with the SHA-256 of each: a file that was cut short
lacks it. Nothing is in place before all of it is checked.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from model.errors import UserError
from tasks.project.database_check import fault_in
from tasks.project.paths import (
    KNOWN_CODE,
    LABELS,
    MLFLOW_DATABASE,
    MLFLOW_FOLDER,
    RECORDS,
    REPORT,
    SERVERS,
    STORES,
    SUMMARY,
)
from tasks.project.whole_file import write_whole

# Paths below var/. Credentials, locks, logs and Prefect's database are none of them.
_KEPT = tuple(
    path.relative_to(RECORDS).as_posix()
    for path in (MLFLOW_DATABASE, MLFLOW_FOLDER / "artifacts", LABELS, KNOWN_CODE, SUMMARY, REPORT, STORES)
)
PAGES = "compare-*.html"
CONTENTS = "backup.json"
FORMAT = 1
UNCHANGED = "nothing was changed"
# What SQLite keeps beside a database of its own: it belongs to the former one.
BESIDE = tuple(f"{MLFLOW_DATABASE.name}-{end}" for end in ("journal", "wal", "shm"))
INTENTION = RECORDS / "restoring.json"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Backup:
    """What a backup holds: its file, how many files are in it and their bytes.

    `damaged` has a sentence for each registered version with a file that is not the one that was registered.
    """

    path: Path
    files: int
    size: int
    damaged: tuple[str, ...] = ()


def write_backup(root: Path, target: Path, force: bool = False) -> Backup:
    """Write the records to a file, or to a new file in a folder. Servers and runs may go on meanwhile.

    Raises:
        UserError: there are no records, the database is damaged, or the file exists and `force` is not set.
    """
    if target.is_dir():
        target = target / f"chatmill-{time.strftime('%Y%m%d-%H%M%S')}.tar"
    if os.path.lexists(target) and not target.is_symlink() and not target.is_file():
        raise UserError(f"{target} is no file, and is not replaced; name another file")
    if os.path.lexists(target) and not force:
        raise UserError(f"{target} exists; name another file, or --force replaces it")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is no folder; make it first")
    if not any((root / RECORDS / name).exists() for name in _KEPT):
        raise UserError("there are no records here yet; `chatmill run` makes the first")
    database = root / MLFLOW_DATABASE
    if database.exists() and database.stat().st_size and (fault := fault_in(database)):
        raise UserError(f"{MLFLOW_DATABASE} is damaged ({fault}); a backup of it would be of no use")
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        # Records hold people's names and texts: nobody else may read them.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            compressed = target.name.endswith((".gz", ".tgz"))
            sums, damaged = _write_archive(file, root, target.parent, compressed)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return Backup(target, len(sums), sum(size for _, size in sums.values()), tuple(damaged))


def _write_archive(
    file: IO[bytes], root: Path, beside: Path, compressed: bool
) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Write the archive; return the checksum and size of each file, and what is damaged, in sentences."""
    from tasks.tracking.registered_model import damaged_versions

    sums: dict[str, tuple[str, int]] = {}
    damaged: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="chatmill-backup-", dir=_scratch_place(root, beside)) as scratch,
        gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, filename="")
        if compressed
        else _as_it_is(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        # First the database: files that a run adds afterwards are known to no record in it, and do no harm.
        if (root / MLFLOW_DATABASE).exists():
            copy = Path(scratch) / "database"
            with (
                closing(sqlite3.connect(root / MLFLOW_DATABASE, timeout=60)) as there,
                closing(sqlite3.connect(copy)) as here,
            ):
                there.backup(here)
            _add_file(archive, copy, MLFLOW_DATABASE.name, sums)
        for path in _record_files(root):
            with suppress(FileNotFoundError):
                _add_file(archive, path, path.relative_to(root / RECORDS).as_posix(), sums)
        if MLFLOW_DATABASE.name in sums:
            found = {name: digest for name, (digest, _) in sums.items()}
            artifacts = (MLFLOW_FOLDER / "artifacts").relative_to(RECORDS).as_posix()
            with suppress(sqlite3.DatabaseError):
                damaged = damaged_versions(Path(scratch) / "database", artifacts, found, root)
        contents = {"format": FORMAT, "time": time.time(), "files": sums}
        data = json.dumps(contents, indent=1).encode()
        about = tarfile.TarInfo(CONTENTS)
        about.size, about.mode = len(data), 0o600
        archive.addfile(about, io.BytesIO(data))
    return sums, damaged


def _scratch_place(root: Path, beside: Path) -> Path:
    """Return the folder for a copy of the database: var/, or `beside` where var/ is read-only."""
    return root / RECORDS if os.access(root / RECORDS, os.W_OK) else beside


@contextmanager
def _as_it_is(file: IO[bytes]) -> Iterator[IO[bytes]]:
    yield file


def _record_files(root: Path) -> Iterator[Path]:
    places = [root / RECORDS / name for name in _KEPT if name != MLFLOW_DATABASE.name]
    for place in [*places, *sorted((root / RECORDS).glob(PAGES))]:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and not path.is_symlink():
                yield path


def _add_file(archive: tarfile.TarFile, path: Path, name: str, sums: dict[str, tuple[str, int]]) -> None:
    """Add a file as it is at one moment: its bytes are read once, for the archive and for the checksum."""
    with path.open("rb") as file:
        about = archive.gettarinfo(arcname=name, fileobj=file)
        about.uid = about.gid = 0
        about.uname = about.gname = ""
        about.mode = 0o600
        reader = _Summed(file, about.size)
        archive.addfile(about, reader)  # type: ignore[arg-type]
    sums[name] = (reader.sum.hexdigest(), about.size)


class _Summed:
    """A file that is summed while it is read; one that becomes shorter meanwhile is filled with zeros."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.left, self.sum = file, size, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, self.left)).ljust(min(size, self.left), b"\0")
        self.left -= len(data)
        self.sum.update(data)
        return data


def restore_backup(root: Path, source: Path, force: bool = False) -> tuple[Backup, Path | None]:
    """Put a backup's records in place; where records are, and `force` is set, they are kept aside.

    Returns:
        What was restored, and the folder that the former records are in now.

    Raises:
        UserError: the file is no whole backup, a run or a server is alive, or records are there.
    """
    finish_restore(root)
    if not source.is_file():
        raise UserError(f"{source} is no file; `chatmill backup FILE` writes one")
    (root / RECORDS).mkdir(mode=0o700, exist_ok=True)
    with _nothing_alive(root):
        there = [name for name in _record_entries(root / RECORDS) if _holds_something(root / RECORDS / name)]
        if there and not force:
            raise UserError(
                f"{RECORDS}/{there[0]} is there already; --force puts the backup in its place and keeps what "
                f"is there in {RECORDS}/replaced-DATE"
            )
        stamp = time.strftime("%Y%m%d-%H%M%S")
        part, aside = root / RECORDS / f"restoring-{stamp}.part", root / RECORDS / f"replaced-{stamp}"
        part.mkdir(mode=0o700)
        try:
            sums = _extract_archive(source, part)
            database = part / MLFLOW_DATABASE.name
            if database.exists() and (fault := fault_in(database)):
                raise UserError(f"{source} holds a damaged database ({fault}); nothing was changed")
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        said = json.dumps({"new": part.name, "old": aside.name})
        write_whole(root / INTENTION, said)
        finish_restore(root)
    found = Backup(source, len(sums), sum(size for _, size in sums.values()))
    return found, aside if aside.exists() else None


def finish_restore(root: Path) -> None:
    """Complete a restoration that a kill interrupted; nothing where none was begun."""
    try:
        found = json.loads((root / INTENTION).read_text(encoding="utf-8"))
        part, aside = (root / RECORDS / PurePosixPath(str(found[name])).name for name in ("new", "old"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if part.is_dir():
        aside.mkdir(mode=0o700, exist_ok=True)
        moved = aside / "moved"
        if not moved.exists():
            for name in _record_entries(root / RECORDS):
                _rename_path(root / RECORDS / name, aside / name)
            moved.touch()
        for name in _record_entries(part):
            _rename_path(part / name, root / RECORDS / name)
        shutil.rmtree(part)
        moved.unlink()
        with suppress(OSError):
            aside.rmdir()  # where there was nothing to keep
    (root / INTENTION).unlink()


def _rename_path(there: Path, here: Path) -> None:
    here.parent.mkdir(parents=True, exist_ok=True)
    if here.is_dir():
        here.rmdir()
    there.rename(here)


def _record_entries(folder: Path) -> list[str]:
    """The records in a folder that is laid out as var/, by their paths from there."""
    return [name for name in (*_KEPT, *BESIDE) if (folder / name).exists()] + sorted(
        path.name for path in folder.glob(PAGES)
    )


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0


@contextmanager
def _nothing_alive(root: Path) -> Iterator[None]:
    """Raises UserError while a run or a server of this project is alive; none begins meanwhile."""
    folder = root / MLFLOW_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in [*sorted((folder / "alive").glob("*")), root / SERVERS]:
            if path.exists():
                with path.open() as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    except BlockingIOError:
                        what = "`chatmill up` runs" if path.name == SERVERS.name else "a run is alive"
                        raise UserError(f"{what} here; end it before records are replaced") from None
        yield


def _extract_archive(source: Path, part: Path) -> dict[str, tuple[str, int]]:
    """Write what a backup holds to `part`, checked. Raises UserError for what is no whole backup."""
    cut = f"{source} is no whole backup; nothing was changed"
    sums: dict[str, tuple[str, int]] = {}
    listed: dict[str, Any] | None = None
    try:
        with tarfile.open(source, mode="r|*") as archive:
            for member in archive:
                reader = archive.extractfile(member) if member.isreg() else None
                if reader is None or not _is_record(member.name):
                    raise UserError(
                        f"{source} holds {member.name!r}, which is no record; nothing was changed"
                    )
                if member.name == CONTENTS:
                    listed = json.loads(reader.read())
                    continue
                place = part / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("xb") as file:
                    digest = hashlib.sha256()
                    while piece := reader.read(_PIECE):
                        digest.update(piece)
                        file.write(piece)
                sums[member.name] = (digest.hexdigest(), member.size)
    except (tarfile.TarError, EOFError, ValueError, zlib.error, gzip.BadGzipFile, FileExistsError) as error:
        raise UserError(f"{cut} ({str(error) or type(error).__name__})") from error
    if listed is None:
        raise UserError(f"{cut} (its list of files is missing: it was cut short)")
    wanted = {str(name): tuple(value) for name, value in listed.get("files", {}).items()}
    if wrong := sorted(name for name in {*wanted, *sums} if wanted.get(name) != sums.get(name)):
        raise UserError(f"{cut} ({wrong[0]} is missing or not what was backed up)")
    return sums


def _is_record(name: str) -> bool:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return False
    known = name == CONTENTS or name in _KEPT or any(path.is_relative_to(kept) for kept in _KEPT)
    return known or (len(path.parts) == 1 and path.match(PAGES))
