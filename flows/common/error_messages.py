"""Messages for system errors: a full disk, a missing permission, a damaged or locked database."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from model.errors import one_line_path
from model.events import FULL
from tasks.common.disk_space import fullest_folder
from tasks.project.paths import JUDGEMENTS_DATABASE, MLFLOW_DATABASE, PREFECT_HOME, RECORDS

_ADVICE = {
    errno.ENOSPC: "free disk space and run again: finished outputs are kept",
    errno.EDQUOT: "free space within your quota and run again: finished outputs are kept",
    errno.EFBIG: "raise the limit on the size of files and run again",
    errno.EROFS: "mount it read-write and run again",
    errno.EACCES: "make it accessible to your user, or run as its owner",
    errno.EPERM: "make it accessible to your user, or run as its owner",
    errno.EIO: "the disk reports errors: check the system log; `chatmill restore` restores a backup",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`) and run again",
    errno.ENFILE: "close other programs and run again: the system has no more files to open",
    errno.ENOMEM: "close other programs or use a smaller batch, and run again",
    errno.ENAMETOOLONG: "shorten the name, or move the project to a folder with a shorter path",
    errno.ELOOP: "its symbolic links form a loop: fix them and run again",
    errno.ENOTDIR: "a file is where a folder is needed: move it elsewhere and run again",
    errno.EISDIR: "a folder is where a file is needed: move it elsewhere and run again",
    errno.ESTALE: "mount the network disk again, and run again",
    errno.ENOTCONN: "mount the network disk again, and run again",
    errno.EXDEV: "keep the project's folders on one disk, or run again after moving them",
    errno.EAGAIN: "close other programs or raise the limit on processes (`ulimit -u`), and run again",
    errno.EEXIST: "another file has that name: move it and run again",
    errno.ENOTEMPTY: "files that are not chatmill's are in that folder: move them elsewhere and run again",
    errno.EBUSY: "another program uses it, or a disk is mounted there: free it and run again",
    errno.ENXIO: "it is a named pipe or a device where a file is needed: move it elsewhere and run again",
    errno.ENODEV: "it is a named pipe or a device where a file is needed: move it elsewhere and run again",
    errno.ESPIPE: "it is a named pipe or a device where a file is needed: move it elsewhere and run again",
    errno.EUCLEAN: "the disk's file system is damaged: check it (`fsck`) and run again",
    errno.EREMOTEIO: "the disk reports errors: check the system log and run again",
    errno.ENOLCK: "the file system does not support locks: move the project to one that does",
    errno.EMLINK: "the folder has as many entries as its disk allows: move the project to another disk",
    errno.E2BIG: "shorten the command's arguments",
}
# ENOENT has no entry above: a missing file may be a fault of the program. A link to nothing is none.
_MISSING = "mount its disk, or repair the link, and run again"
# SQLite's texts for these errors. SQLAlchemy and MLflow pass on the text but not the error code.
DATABASE = (
    (
        "database or disk is full",
        "its disk is full; free disk space and run again: finished outputs are kept",
    ),
    ("database is locked", "another process holds its lock; end that process and run again"),
    ("disk i/o error", "its disk is faulty or full; check the system log and run again"),
    ("attempt to write a readonly database", "it cannot be written; make it writable and run again"),
    ("unable to open database file", "it cannot be opened; make it accessible to your user"),
    ("database disk image is malformed", "it is damaged; `chatmill restore` restores a backup"),
    ("file is not a database", "it is damaged; `chatmill restore` restores a backup"),
    ("no such table", "a table is missing, so it is damaged; `chatmill restore` restores a backup"),
    ("no such column", "a column is missing, so it is damaged; `chatmill restore` restores a backup"),
    (
        "out-of-date database schema",
        "its tables are not those of the installed MLflow. If another version of MLflow wrote it, install "
        f"that version, or make a copy and run `mlflow db upgrade sqlite:///{MLFLOW_DATABASE}`; if "
        "it is damaged, `chatmill restore` restores a backup",
    ),
    (
        "database migration in unexpected state",
        "tables are missing, so it is damaged; `chatmill restore` restores a backup",
    ),
)
# MLflow creates its tables one by one, and does not go on with those of an interrupted creation.
_MADE_AGAIN = re.compile(r"operationalerror\) table \S+ already exists")
_HALF_MADE = (
    "its creation was interrupted, as by a full disk. If it has no runs yet, move the file away and run "
    "again; else `chatmill restore` restores a backup"
)
# The dynamic loader's texts if the memory does not suffice for a library.
_UNLOADED = (
    "failed to map segment from shared object", "cannot map zero-fill pages",
    "cannot allocate memory in static tls block", "cannot create shared object descriptor",
)  # fmt: skip
_SCRIPT = re.compile(r"^\s*\[Errno (\d+)\]")


def explain_error(error: BaseException) -> str:
    """Return one sentence with the reason, the path and what to do; empty for an error of another kind."""
    for each in _exception_chain(error):
        if said := _explain_database(each) or _explain_system(each):
            return said
    return ""


def _exception_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, those that it was raised from, and the members of exception groups."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _explain_database(error: BaseException) -> str:
    module = type(error).__module__.partition(".")[0]
    # The texts alone are too common to judge errors of other libraries by.
    if module not in ("sqlite3", "sqlalchemy", "mlflow"):
        return ""
    text = str(error).lower()
    found = _HALF_MADE if _MADE_AGAIN.search(text) else ""
    found = found or next((advice for words, advice in DATABASE if words in text), "")
    where = f"{MLFLOW_DATABASE}, {JUDGEMENTS_DATABASE} or {PREFECT_HOME}"
    return f"the records' database ({where}): {found}" if found else ""


def _dangling_link(name: object) -> str:
    """Return the link on the way to a path whose target is missing; empty if there is none."""
    path = Path(_display_path(name))
    found = next((each for each in (path, *path.parents) if each.is_symlink() and not each.exists()), None)
    return str(found) if found else ""


def _is_unloaded(error: BaseException) -> bool:
    """Return whether the memory did not suffice to load a library."""
    return any(text in str(error).lower() for text in _UNLOADED)


def _explain_system(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        # Python's own text, with the folders that it tried.
        if (said := str(error.strerror or "")).startswith("No usable temporary directory"):
            return f"{said}; set TMPDIR to a folder that you can write to, on a disk with free space"
        for name in filter(None, (error.filename, error.filename2)):
            if link := _dangling_link(name):
                target = one_line_path(os.readlink(link))
                return f"{one_line_path(link)} is a link to {target}, which is missing; {_MISSING}"
    # The dynamic loader gives no error number, and begins with the library's name.
    if isinstance(error, MemoryError) or (isinstance(error, ImportError | OSError) and _is_unloaded(error)):
        return f"out of memory; {_ADVICE[errno.ENOMEM]}"
    code, path = 0, ""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list) and error.args[0]:
        # shutil.Error has one entry a file: source, target, and the reason as text.
        first = error.args[0][0]
        if isinstance(first, tuple) and len(first) == 3 and (match := _SCRIPT.match(str(first[2]))):
            code, path = int(match[1]), str(first[1])
    elif isinstance(error, OSError) and error.errno:
        names = (error.filename, error.filename2)
        # A copy names its source first, and its target is what has no room.
        names = names[::-1] if error.errno in FULL else names
        code, path = error.errno, next((_display_path(name) for name in names if name is not None), "")
    if code not in _ADVICE:
        return ""
    if not path and code in FULL:
        # A failed write, unlike a failed open, does not name its file.
        folders = (Path.cwd() / RECORDS, Path.cwd() / "data", Path.cwd(), Path(tempfile.gettempdir()))
        path = f"the disk with {fullest_folder(folders)}"
    reason = os.strerror(code)
    return f"{one_line_path(path)}: {reason}; {_ADVICE[code]}" if path else f"{reason}; {_ADVICE[code]}"


def _display_path(name: object) -> str:
    text = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    try:
        # Relative paths are short, but only inside the project do they help a reader.
        return os.path.relpath(text) if text.startswith(os.getcwd() + os.sep) else text
    except OSError:
        return text
