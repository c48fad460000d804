"""A copy of the program's sources, taken when a run starts, from which the whole run imports.

The cache keys, the recorded Git diff and the running code then describe the same files. Edits, pulls and
checkouts during the run do not matter.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import shutil
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from model.errors import UserError
from tasks.common.file_lock import exclusive_lock
from tasks.project.paths import RECORDS, SOURCE_SNAPSHOTS
from tasks.project.private_folder import make_private_folder

PACKAGES = ("flows", "tasks", "model")
LOCK_FILE = "requirements.txt"
# The folder that this copy of the program was started from.
ORIGIN = Path(__file__).resolve().parents[2]
# These modules stay loaded, as both sides of the switch share them: the error that the command line catches,
# and the state of this module.
KEPT_MODULES = ("model", "model.errors", "tasks", "tasks.engine", __name__)
# A process that has loaded one of these has already built its stages, so it keeps its code.
STAGES_LOADED = ("flows.pipeline_run", "flows.config")
ATTEMPTS = 5


@dataclass(frozen=True)
class Snapshot:
    """The sources of a run: the folder of the copy, its digest, and the state of Git at that moment."""

    folder: Path
    digest: str
    code: Any
    lock: IO[str]
    first: Path | None = None  # the highest folder that was made for it, if any was

    def discard(self) -> None:
        """Remove the copy, and the folders that were made for it: the run does not begin.

        What another run has begun to use meanwhile stays.
        """
        if self.first is None:
            return
        place = self.folder.parent
        with suppress(OSError), exclusive_lock(place / "lock", lambda event: None, ""):
            # Raises BlockingIOError if another run imports from the copy.
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.folder)
            self.folder.with_suffix(".lock").unlink()
            if [path.name for path in place.iterdir()] == ["lock"]:
                (place / "lock").unlink()
        with suppress(OSError):
            # Unlike rmtree, rmdir fails if another run has written there.
            for path in (place, *place.parents):
                path.rmdir()
                if path == self.first:
                    break


_taken: list[Snapshot] = []
_switching = threading.Lock()


def current_snapshot() -> Snapshot | None:
    """Return the snapshot that this process imports from; None if it imports from the installed files."""
    return _taken[-1] if _taken else None


def take_snapshot(root: Path) -> Snapshot | None:
    """Copy the sources to var/cache/sources/DIGEST of the project and import from that folder from now on.

    Call it before the modules that define the stages are imported. A process that has imported them, such as
    a notebook, keeps its code and gets None. The check before an output is published still applies there.

    Raises:
        OSError: The folder cannot be written.
        UserError: The sources keep changing while they are read.
    """
    if _taken or any(name in sys.modules for name in STAGES_LOADED):
        return current_snapshot()
    from tasks.common.git_checkout import describe_code

    for _ in range(ATTEMPTS):
        # Git's state is read between two readings of the sources. If both readings agree, all three describe
        # one state.
        files = read_sources(ORIGIN)
        digest = snapshot_digest(files)
        code = describe_code(root, ORIGIN, digest)
        if read_sources(ORIGIN) == files:
            break
    else:
        raise UserError(f"the sources in {ORIGIN} changed while the run started; start it again")
    above = (root / SOURCE_SNAPSHOTS, *(root / SOURCE_SNAPSHOTS).parents)
    first = next((path.resolve() for path in reversed(above) if not path.exists()), None)
    if not (root / RECORDS).exists():
        make_private_folder(root / RECORDS)
    lock = _store_snapshot((root / SOURCE_SNAPSHOTS).resolve(), digest, files)
    folder = (root / SOURCE_SNAPSHOTS / digest).resolve()
    import_from(folder)
    _taken.append(Snapshot(folder, digest, code, lock, first))
    return _taken[-1]


def running_code(root: Path) -> Any:
    """Return what a run without a snapshot records of its code."""
    from tasks.common.git_checkout import describe_code

    return describe_code(root, ORIGIN, snapshot_digest(read_sources(ORIGIN)))


def use_snapshot(folder: Path) -> bool:
    """Import from the snapshot that another process has taken; return False if this process does already.

    Raises:
        UserError: This machine does not have that folder.
    """
    with _switching:
        if sys.modules["tasks"].__path__[0] == str(folder / "tasks"):
            return False
        if not folder.is_dir():
            raise UserError(
                f"{folder} does not exist on {socket.gethostname()}; every worker needs the project "
                "folder under the same path"
            )
        import_from(folder)
        return True


def import_from(folder: Path) -> None:
    """Import the program's modules from `folder` from now on, including those that are already loaded.

    Processes that this one spawns inherit the folder by `sys.path`.
    """
    # A worker that serves several runs still has the snapshot of the former run in its path.
    sys.path[:] = [
        str(folder),
        *(entry for entry in sys.path if Path(entry).parent.name != SOURCE_SNAPSHOTS.name),
    ]
    # Packages that stay loaded must find their modules in the copy.
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES and hasattr(module, "__path__"):
            module.__path__[:] = [str(folder.joinpath(*name.split(".")))]
    for name in list(sys.modules):
        if name.partition(".")[0] in ("tasks", "model") and name not in KEPT_MODULES:
            del sys.modules[name]
            # A module is also an attribute of its package: `from tasks import x` would find the old one
            # there.
            parent, _, last = name.rpartition(".")
            vars(sys.modules.get(parent, sys)).pop(last if parent in sys.modules else "", None)
    importlib.invalidate_caches()


def read_sources(root: Path) -> dict[str, bytes]:
    """Return the content of the program's source files and of its lock file, by path."""
    paths = [path for name in PACKAGES for path in sorted((root / name).rglob("*"))]
    found = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in [*paths, root / LOCK_FILE]
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    return dict(sorted(found.items()))


def snapshot_digest(files: dict[str, bytes]) -> str:
    """Return the first 20 hex digits of a digest over paths and content."""
    whole = hashlib.sha256()
    for name, content in files.items():
        whole.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()[:20]


def _store_snapshot(place: Path, digest: str, files: dict[str, bytes]) -> IO[str]:
    """Write the copy unless it exists, remove unused copies, and return a shared lock on the copy."""
    with exclusive_lock(place / "lock", lambda event: None, ""):
        # An editor or a full disk may have changed the copy, so its content is checked before it is used
        # again.
        folder = place / digest
        if folder.exists() and snapshot_digest(read_sources(folder)) != digest:
            shutil.rmtree(folder)
        if not folder.exists():
            part = place / f"{digest}.part"
            try:
                _write_files(part, files)
                part.rename(folder)
            except BaseException:
                # On a full disk, the incomplete copy would take the room that the next run needs.
                shutil.rmtree(part, ignore_errors=True)
                raise
        lock = (place / f"{digest}.lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_SH)
        # `chatmill gc` removes copies by the time of their last use.
        os.utime(folder)
        for path in sorted(place.iterdir()):
            if path.is_dir() and path != folder:
                _remove_unused(path)
    return lock


def _write_files(part: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(part, ignore_errors=True)
    for name, content in files.items():
        path = part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        # The folder is named after the digest of its files, so an edit would make the name wrong.
        path.chmod(0o444)


def _remove_unused(folder: Path) -> None:
    lock = folder.with_suffix(".lock")
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
