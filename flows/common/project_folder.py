"""Access to the project folder: `var/` is private to its owner, and chatmill must be able to write to it."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import sys
from pathlib import Path

from model.atomic_file import fixed_part, replace_text
from model.errors import UserError, file_error
from model.events import FULL
from tasks.common.link_check import is_present
from tasks.project.dry_run import may_write
from tasks.project.paths import (
    ARTIFACTS,
    CACHE,
    DATA_LOCK,
    DATABASE_CHECKS,
    DEVICE_LOCKS,
    DIGESTS,
    DOWNLOADS,
    DVC_LOCK,
    JUDGEMENTS_DATABASE,
    KNOWN_CODE,
    LABEL_STORE,
    LABELS,
    LAYOUT_LOCK,
    LOGS,
    MEMORY_ESTIMATES,
    MLFLOW_DATABASE,
    MLFLOW_FOLDER,
    OUTPUT_DIGESTS,
    PAGES_LOCK,
    PREFECT_HOME,
    RECORDS,
    SECRETS,
    SERVERS,
    SOURCE_SNAPSHOTS,
    STORES,
    SUMMARY,
)
from tasks.project.private_folder import make_private_folder

# Each `var/` of chatmill's has one of these, and no other folder of that name does.
_OWN = (MLFLOW_DATABASE, PREFECT_HOME, SERVERS)
# SQLite opens no file whose path has 512 bytes or more; the longest is that of Prefect's journal.
_LONGEST_PATH = 512 - len("/var/prefect/prefect.db-journal") - 1
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
# Paths that many commands, or the libraries below them, read or lock.
FILES = (
    MLFLOW_DATABASE, JUDGEMENTS_DATABASE, LABEL_STORE, MLFLOW_FOLDER / "lock", STORES, SUMMARY, SERVERS,
    SECRETS / "password", DATA_LOCK,
    LAYOUT_LOCK, PAGES_LOCK, DVC_LOCK, DATABASE_CHECKS, DIGESTS, OUTPUT_DIGESTS,
    MEMORY_ESTIMATES, PREFECT_HOME / "prefect.db", Path("data.dvc"), Path(".dvc/config"), Path(".git/HEAD"),
    Path(".git/config"), Path(".git/index"),
)  # fmt: skip
FOLDERS = (
    MLFLOW_FOLDER, PREFECT_HOME, SECRETS, LOGS, LABELS, KNOWN_CODE, DEVICE_LOCKS, CACHE, ARTIFACTS,
    SOURCE_SNAPSHOTS, DOWNLOADS, Path(".dvc"), Path(".dvc/cache"), Path(".dvc/tmp"),
)  # fmt: skip
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"), (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def current_folder() -> Path:
    """Return the current folder. Raise UserError if it is gone, closed, or no place for the records."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise UserError("the current folder was removed; change to the project's folder") from None
    check_path(folder)
    # `sudo -u` and `su` stay in the folder of the first user.
    if not os.access(folder, os.X_OK):
        owner = _user_name(folder.stat().st_uid)
        raise UserError(
            f"{folder} belongs to {owner}, and your user may not enter it; run chatmill as {owner}"
        )
    return folder


def require_place(root: Path) -> None:
    """Raise UserError if a command would create `var/` in a folder that this user may not write to."""
    if not os.path.lexists(root / RECORDS) and not os.access(root, os.W_OK | os.X_OK):
        raise UserError(f"{root} cannot be written by your user; run chatmill in a folder that you own")


def check_path(root: Path) -> None:
    """Raise UserError for a path that the addresses of the databases cannot hold.

    In sqlite:///PATH a "?" ends the path, so the records would be written to a file outside of the project.
    A path that is too long cannot be opened at all.
    """
    shown = os.fsencode(root).decode(errors="backslashreplace")
    if shown != str(root):
        raise UserError(f"the path {shown} is not UTF-8; rename its folders, or move the project")
    if "?" in shown:
        raise UserError(
            f'the path {shown} contains "?", which the address of a database cannot hold; rename it, '
            "or move the project"
        )
    if (length := len(os.fsencode(root))) > _LONGEST_PATH:
        raise UserError(
            f"the path of the project has {length} bytes ({shown[:60]}…), and its databases allow "
            f"{_LONGEST_PATH}; move the project to a folder with a shorter path"
        )


def prepare_records(root: Path) -> None:
    """Create `var/` with access for its owner alone, or remove the access of others to an existing one.

    Raises:
        UserError: `var/` cannot be used.
    """
    check_path(root)
    var = root / RECORDS
    if root == Path(root.anchor):
        raise UserError(
            f"chatmill keeps records in {RECORDS}/ below the current folder, and {var} belongs to "
            "the system; run it in a project folder"
        )
    if is_present(var, f"{RECORDS}/"):
        require_access(root)
        check_records(root)
        secure_records(root)
        _ignore_records(root)
        return
    try:
        make_private_folder(var)
    except OSError as error:
        if error.errno in _CLOSED:
            advice = "run chatmill in a folder that you own"
            raise file_error(root, "cannot be written", error, advice) from None
        raise
    _ignore_records(root)


def _ignore_records(root: Path) -> None:
    """Keep `var/`, with its password, out of git, by a file in it that ignores the folder and itself.

    The user's own .gitignore stays as it is. An existing file in `var/` stays too.
    """
    path = root / RECORDS / ".gitignore"
    # Older releases made `var/` without it. Who may only read the records cannot commit them either.
    if may_write() and not os.path.lexists(path) and os.access(path.parent, os.W_OK | os.X_OK):
        try:
            # In one step: a file that a kill or a full disk left empty would ignore nothing, and stay so.
            text = "# chatmill's records and the password of its servers\n*\n"
            replace_text(path, text, fixed_part(path))
        except FileNotFoundError:
            # Another command wrote it at the same moment.
            pass
        except OSError as error:
            # The next command writes it. This one may be the one that frees the disk.
            if error.errno not in FULL:
                raise


def require_project(root: Path) -> None:
    """Raise UserError if the folder is no project: a command that reads would leave new records there."""
    if not _holds_project(root):
        above = enclosing_project(root)
        raise UserError(
            f"{root} has no chatmill project: there is no var/, configs/ or data.dvc; "
            + (
                f"the project is in {above}: change to that folder"
                if above
                else "change to the project's folder, or begin a project with `chatmill init FOLDER`"
            )
        )


def refuse_nested_project(root: Path) -> None:
    """Raise UserError if a new project would begin inside another one, as in a subfolder by mistake."""
    if not _holds_project(root) and (above := enclosing_project(root)):
        raise UserError(
            f"{root} is inside the project {above}; change to that folder, or create configs/ here first "
            "if a project of its own is meant"
        )


def enclosing_project(root: Path) -> Path | None:
    """Return the nearest folder above with chatmill's records, or with data.dvc and configs/; else None."""
    for folder in root.parents:
        if any((folder / own).exists() for own in _OWN):
            return folder
        if (folder / "data.dvc").is_file() and (folder / "configs").is_dir():
            return folder
    return None


def _holds_project(root: Path) -> bool:
    return any((root / name).exists() for name in (RECORDS, "configs", "data.dvc"))


def require_access(root: Path) -> None:
    """Raise UserError if this user may not read the project's `var/`."""
    var = root / RECORDS
    if not var.is_dir():
        raise UserError(f"{var} is a file, but chatmill needs a folder of that name; move the file away")
    if os.access(var, os.R_OK | os.X_OK):
        return
    owner = var.stat().st_uid
    if owner != os.geteuid():
        raise UserError(f"{var} belongs to {_user_name(owner)}; run chatmill as that user")
    raise UserError(
        f"{var} cannot be read and written; make the folder writable, and its disk if that is read-only"
    )


def check_records(root: Path) -> None:
    """Raise UserError if a file of chatmill's is a pipe, device or folder, or one of its folders is a file.

    Reading a pipe or a device would wait, or read, for ever.
    """
    # Folders first: if a folder is a file, the paths below it cannot be examined.
    for path in (*FOLDERS, *FILES):
        try:
            mode = (root / path).stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            # Raises UserError for a link whose target is missing: the records are on a disk that is not
            # mounted. In a worktree or a submodule of git, .git is a file.
            is_present(root / path, str(path))
            continue
        except OSError as error:
            if error.errno in _CLOSED:
                # A user who may only read gets the error where the file is used.
                continue
            raise
        if not (stat.S_ISREG(mode) if path in FILES else stat.S_ISDIR(mode)):
            what = next((name for is_one, name in _KINDS if is_one(mode)), "no file")
            needed = "file" if path in FILES else "folder"
            raise UserError(
                f"{path} is {what}, but chatmill needs a {needed} of that name; move it and run again"
            )


def secure_records(root: Path) -> None:
    """Remove other users' access to the project's `var/`, and say so once."""
    var = root / RECORDS
    if not _is_own(var) or not may_write():
        return
    try:
        tightened = make_private_folder(var)
    except OSError:
        # The error is reported where the folder is used.
        return
    if tightened:
        print(
            f"other users of this machine had access to {RECORDS}/; now only {_user_name(os.geteuid())} may",
            file=sys.stderr,
        )


def _is_own(var: Path) -> bool:
    """Return whether chatmill wrote to this folder. The system's own /var is never changed."""
    try:
        return var.parent != Path(var.anchor) and any((var.parent / name).exists() for name in _OWN)
    except OSError:
        return False


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
