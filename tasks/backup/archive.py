"""A backup of a project's records in one file.

The file is a tar archive of the records. Its last member `backup.json` has the SHA-256 of each file, so a
truncated archive lacks it.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import re
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
from typing import IO

from model.errors import UserError, file_error
from model.events import FULL
from tasks.labelling.people import forget_logins
from tasks.project.database_check import check_judgements_database, database_address, fault_in
from tasks.project.paths import (
    JUDGEMENTS_DATABASE,
    KNOWN_CODE,
    LABEL_STORE,
    LABELS,
    MLFLOW_DATABASE,
    MLFLOW_FOLDER,
    RECORDS,
    REPORT,
    STORES,
    SUMMARY,
)

# Paths below var/. Credentials, locks, logs and Prefect's database are not among them.
KEPT_RECORDS = tuple(
    path.relative_to(RECORDS).as_posix()
    for path in (
        MLFLOW_DATABASE, JUDGEMENTS_DATABASE, MLFLOW_FOLDER / "artifacts", LABELS, KNOWN_CODE, SUMMARY,
        REPORT, STORES, LABEL_STORE,
    )
)  # fmt: skip
# Databases that servers write to. They are copied by SQLite, and the records that they name come after them.
DATABASES = (MLFLOW_DATABASE, JUDGEMENTS_DATABASE)
PAGES = "compare-*.html"
# The folder of the database's copy, and the names of archives in a folder that the user names.
_SCRATCH = "chatmill-backup-"
_SCRATCH_FILES = {f"{path.name}{end}" for path in DATABASES for end in ("", "-journal")}
_DATED = r"chatmill-[0-9]{8}-[0-9]{6}\.tar"
CONTENTS = "backup.json"
FORMAT = 1


@dataclass(frozen=True)
class Backup:
    """A backup: its path, the number of its files and their size in bytes.

    `damaged` has a sentence for each registered version with a file that is not the registered one.
    `left_out` has the paths in var/ of links, pipes and the like, which are not in the backup.
    """

    path: Path
    files: int
    size: int
    damaged: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def write_backup(root: Path, target: Path, force: bool = False) -> Backup:
    """Write the records to a file, or to a new file in a folder. Servers and runs may continue meanwhile.

    Args:
        root: The project's folder.
        target: The file or the folder.
        force: Replace an existing backup.

    Raises:
        UserError: There are no records, a database is damaged, the judgements are missing, the file exists
            and `force` is not set or it is no backup, or the place is a folder that chatmill empties.
    """
    if target.is_dir():
        target = target / f"chatmill-{time.strftime('%Y%m%d-%H%M%S')}.tar"
    for folder in (root / "data", root / RECORDS):
        # A backup in data/ would stop the next run, and one in var/ would be lost with the records.
        if target.parent.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{target} is in {folder.name}/, which chatmill writes to; name a file elsewhere")
    if os.path.lexists(target) and not target.is_symlink() and not target.is_file():
        raise UserError(f"{target} is not a regular file and is not replaced; name another file")
    if os.path.lexists(target) and not force:
        raise UserError(f"{target} exists; name another file, or replace it with --force")
    if target.exists() and not begins_as_backup(target):
        raise UserError(f"{target} is not a backup and is not replaced; name another file, or remove it")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; create it first")
    if not any((root / RECORDS / name).exists() for name in KEPT_RECORDS):
        raise UserError("there are no records yet; `chatmill run` creates them")
    if not (root / LABEL_STORE).exists():
        # A backup without the judgements would look complete, and could replace the last one that has them.
        check_judgements_database(root)
    for name in DATABASES:
        database = root / name
        if database.exists() and database.stat().st_size and (fault := fault_in(database)):
            raise UserError(f"{name} is damaged ({fault}), so a backup would be unusable")
    # An interrupted backup must not replace the former one; the process number keeps two backups apart.
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    _remove_killed(root, target)
    try:
        # Records hold people's names and texts, so nobody else may read them.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            # The system releases the lock when the process ends: `_remove_killed` goes by it.
            _lock_alone(file.fileno())
            compressed = target.name.endswith((".gz", ".tgz"))
            left_out: list[str] = []
            sums, damaged = _write_archive(file, root, target.parent, compressed, left_out)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        # An error of writing names no file, and the archive's disk may be another than the project's.
        if error.filename is None and error.errno in FULL:
            raise file_error(
                target, "cannot be written", error, "free space there, or name another"
            ) from error
        raise
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return Backup(target, len(sums), sum(size for _, size in sums.values()), tuple(damaged), tuple(left_out))


def _lock_alone(descriptor: int) -> bool:
    """Lock a file or folder for this process; return whether no other process has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def locked_folder(folder: str | Path) -> Iterator[bool]:
    """Lock a folder while the context lasts; its value says whether no other process has it locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock_alone(descriptor)
    finally:
        os.close(descriptor)


def _remove_killed(root: Path, target: Path) -> None:
    """Remove what killed backups left: their part of this archive, and their copies of the database."""
    parts = re.compile(rf"(?:{re.escape(target.name)}|{_DATED})\.[0-9]+\.part")
    for path in target.parent.iterdir():
        if parts.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with suppress(OSError), path.open("rb") as file:
                if _lock_alone(file.fileno()) and begins_as_backup(path):
                    path.unlink()
    for path in {*(root / RECORDS).glob(f"{_SCRATCH}*"), *target.parent.glob(f"{_SCRATCH}*")}:
        with suppress(OSError), locked_folder(path) as alone:
            if alone and {entry.name for entry in path.iterdir()} <= _SCRATCH_FILES:
                shutil.rmtree(path)


def begins_as_backup(path: Path) -> bool:
    """Return whether a file begins as a backup does, or is empty. A truncated backup begins so too."""
    if not path.stat().st_size:
        return True
    try:
        with tarfile.open(path, mode="r|*") as archive:
            first = archive.next()
    except (tarfile.TarError, EOFError, ValueError, zlib.error, gzip.BadGzipFile):
        return False
    return first is not None and is_record(first.name)


def _write_archive(
    file: IO[bytes], root: Path, beside: Path, compressed: bool, left_out: list[str]
) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Write the archive; return the checksum and size of each file, and sentences about damage.

    The paths of entries that are no regular files are appended to `left_out`.
    """
    from tasks.tracking.registered_model import damaged_versions

    sums: dict[str, tuple[str, int]] = {}
    damaged: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=_scratch_place(root, beside)) as scratch,
        locked_folder(scratch),
        gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, filename="")
        if compressed
        else _as_it_is(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        # The databases come first. Files that a run adds later are unknown to them, which does no harm; the
        # other order could lose files.
        for database in DATABASES:
            # An empty file is a database whose creation was interrupted: it has no tables yet.
            if (root / database).exists() and (root / database).stat().st_size:
                copy = Path(scratch) / database.name
                with (
                    closing(
                        sqlite3.connect(database_address(root / database), uri=True, timeout=60)
                    ) as there,
                    closing(sqlite3.connect(copy)) as here,
                ):
                    # SQLite's backup is consistent while a server writes; a copy of the file would not be.
                    there.backup(here)
                    # A copy in WAL mode would need further files beside it.
                    here.execute("PRAGMA journal_mode = DELETE")
                if database == JUDGEMENTS_DATABASE:
                    try:
                        forget_logins(copy)
                    except sqlite3.DatabaseError as error:
                        raise UserError(
                            f"{database}, which contains people's judgements, is damaged ({error}); restore "
                            "a backup with `chatmill restore BACKUP`"
                        ) from error
                _add_file(archive, copy, database.name, sums)
        for path in _record_files(root, left_out):
            # A run may remove a file between its listing and this line.
            with suppress(FileNotFoundError):
                _add_file(archive, path, path.relative_to(root / RECORDS).as_posix(), sums)
        if MLFLOW_DATABASE.name in sums:
            found = {name: digest for name, (digest, _) in sums.items()}
            artifacts = (MLFLOW_FOLDER / "artifacts").relative_to(RECORDS).as_posix()
            # A database of another MLflow version may lack these tables; it is backed up anyway.
            with suppress(sqlite3.DatabaseError):
                damaged = damaged_versions(Path(scratch) / MLFLOW_DATABASE.name, artifacts, found, root)
        contents = {"format": FORMAT, "time": time.time(), "files": sums}
        data = json.dumps(contents, indent=1).encode()
        about = tarfile.TarInfo(CONTENTS)
        about.size, about.mode = len(data), 0o600
        archive.addfile(about, io.BytesIO(data))
    return sums, damaged


def _scratch_place(root: Path, beside: Path) -> Path:
    """Return the folder for a copy of the database: var/, or `beside` if var/ is read-only."""
    return root / RECORDS if os.access(root / RECORDS, os.W_OK) else beside


@contextmanager
def _as_it_is(file: IO[bytes]) -> Iterator[IO[bytes]]:
    yield file


def _record_files(root: Path, left_out: list[str]) -> Iterator[Path]:
    """Yield the regular files of the records, and note the other entries: a link may lead anywhere."""
    places = [root / RECORDS / name for name in KEPT_RECORDS if RECORDS / name not in DATABASES]
    for place in [*places, *sorted((root / RECORDS).glob(PAGES))]:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and not path.is_symlink():
                yield path
            elif os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
                left_out.append(path.relative_to(root / RECORDS).as_posix())


def _add_file(archive: tarfile.TarFile, path: Path, name: str, sums: dict[str, tuple[str, int]]) -> None:
    """Add a file as it is at one moment: its bytes are read once, for the archive and for the checksum."""
    with path.open("rb") as file:
        about = archive.gettarinfo(arcname=name, fileobj=file)
        # Owners of this machine mean nothing on another one.
        about.uid = about.gid = 0
        about.uname = about.gname = ""
        about.mode = 0o600
        reader = _Summed(file, about.size)
        archive.addfile(about, reader)  # type: ignore[arg-type]
    sums[name] = (reader.sum.hexdigest(), about.size)


class _Summed:
    """A file whose checksum is computed during reading.

    A tar header states the size in advance, so a file that shrinks meanwhile is padded with zeros.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.left, self.sum = file, size, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, self.left)).ljust(min(size, self.left), b"\0")
        self.left -= len(data)
        self.sum.update(data)
        return data


def is_record(name: str) -> bool:
    """Return whether a path in an archive is that of a record, or of the list of files."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return False
    known = (
        name == CONTENTS or name in KEPT_RECORDS or any(path.is_relative_to(kept) for kept in KEPT_RECORDS)
    )
    return known or (len(path.parts) == 1 and path.match(PAGES))
