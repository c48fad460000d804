"""Who may use the project's folder: `var/` is its owner's alone, and chatmill needs to write there."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import sys
from pathlib import Path

from model.errors import UserError
from tasks.project.paths import (
    ARTIFACTS,
    CACHE,
    DATA_LOCK,
    DATABASE_CHECKS,
    DEVICE_LOCKS,
    DIGESTS,
    DOWNLOADS,
    KNOWN_CODE,
    LABELS,
    LAYOUT_LOCK,
    LOGS,
    MLFLOW_DATABASE,
    MLFLOW_FOLDER,
    OUTPUT_DIGESTS,
    PREFECT_HOME,
    RECORDS,
    SECRETS,
    SERVERS,
    SOURCE_SNAPSHOTS,
    STORES,
    SUMMARY,
)
from tasks.project.private_folder import make_private_folder

# One of these is in each `var/` of chatmill's, and in no other folder of that name.
_OWN = (MLFLOW_DATABASE, PREFECT_HOME, SERVERS)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
# What is read or locked by many commands, or by the libraries below them.
FILES = (
    MLFLOW_DATABASE, MLFLOW_FOLDER / "lock", STORES, SUMMARY, SERVERS, SECRETS / "password", DATA_LOCK,
    LAYOUT_LOCK, DATABASE_CHECKS, DIGESTS, OUTPUT_DIGESTS, PREFECT_HOME / "prefect.db", Path("data.dvc"),
    Path(".dvc/config"),
)  # fmt: skip
FOLDERS = (
    MLFLOW_FOLDER, PREFECT_HOME, SECRETS, LOGS, LABELS, KNOWN_CODE, DEVICE_LOCKS, CACHE, ARTIFACTS,
    SOURCE_SNAPSHOTS, DOWNLOADS, Path(".dvc"), Path(".dvc/cache"), Path(".dvc/tmp"),
)  # fmt: skip
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"), (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def prepare_records(root: Path) -> None:
    """Create `var/` for its owner alone, or take from others what they may do there.

    Raises UserError where it cannot be used.
    """
    var = root / RECORDS
    if root == Path(root.anchor):
        raise UserError(
            f"chatmill keeps its records in {RECORDS}/ of the folder where it is started, and {var} is the "
            "machine's own; start it in the folder of a project"
        )
    if var.exists():
        require_access(root)
        check_records(root)
        secure_records(root)
        return
    try:
        make_private_folder(var)
    except OSError as error:
        if error.errno in _CLOSED:
            raise UserError(
                f"{root} cannot be written ({error.strerror}); start chatmill in a folder of your own"
            ) from None
        raise


def require_access(root: Path) -> None:
    """Raises UserError where this user may not read and write the project's `var/`."""
    var = root / RECORDS
    if not var.is_dir():
        raise UserError(
            f"{var} is a file, and chatmill keeps its records in a folder of that name; move it away"
        )
    if os.access(var, os.R_OK | os.X_OK):
        return
    owner = var.stat().st_uid
    if owner != os.geteuid():
        raise UserError(
            f"{var} belongs to {_user_name(owner)}, who alone may use it; start chatmill as that user"
        )
    raise UserError(
        f"{var} cannot be read and written; make it writable for you, and its disk if it is read-only"
    )


def check_records(root: Path) -> None:
    """Raises UserError where a named pipe, a device or a folder is in the place of a file of chatmill's.

    Reading a pipe or a device would wait, or read, for ever. The other way round, a file where a folder is
    needed is as much in the way.
    """
    # Folders first: below a file nothing can be looked at.
    for path in (*FOLDERS, *FILES):
        try:
            mode = (root / path).stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in _CLOSED:
                # Who may only read is told of it where the file is used.
                continue
            raise
        if not (stat.S_ISREG(mode) if path in FILES else stat.S_ISDIR(mode)):
            what = next((name for is_one, name in _KINDS if is_one(mode)), "no file")
            needed = "file" if path in FILES else "folder"
            raise UserError(
                f"{path} is {what}, and chatmill keeps a {needed} of that name; move it and run again"
            )


def secure_records(root: Path) -> None:
    """Take from other users what they may do in the project's `var/`, and say so once."""
    var = root / RECORDS
    if not _is_own(var):
        return
    try:
        tightened = make_private_folder(var)
    except OSError:
        # What cannot be changed is said where the folder is used.
        return
    if tightened:
        print(
            f"other users of this machine could enter {RECORDS}/; now only {_user_name(os.geteuid())} may",
            file=sys.stderr,
        )


def _is_own(var: Path) -> bool:
    """Whether chatmill wrote to a folder. That of the machine is never changed."""
    try:
        return var.parent != Path(var.anchor) and any((var.parent / name).exists() for name in _OWN)
    except OSError:
        return False


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
