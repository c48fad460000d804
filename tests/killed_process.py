"""A process that is killed before one of its file operations."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

# Audit events of Python; each is raised before its operation.
_CHANGES = (
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate",
)  # fmt: skip
# For an action that kills itself.
NO_OPERATION = sys.maxsize
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def run_killed(action: Callable[[], object], number: int, folder: Path) -> bool:
    """Run an action in a process of its own, which is killed before an operation on files in a folder.

    Args:
        action: What the process does.
        number: The operation: 0 kills before the first one.
        folder: The folder; its path must be absolute.

    Returns:
        Whether it was killed; False if the action has fewer operations and ended.

    Raises:
        RuntimeError: The action failed; its traceback is on standard error.
    """
    process = os.fork()
    if process == 0:
        try:
            sys.addaudithook(_hook(number, folder))
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            # The cleanup of the test process must not run in this one too.
            os._exit(1)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the action ended with code {code} before operation {number}")
    return code != 0


def kills(action: Callable[[Path], object], make: Callable[[Path], object], place: Path) -> Iterator[Path]:
    """Kill an action before each of its file operations, and yield what each kill leaves.

    Args:
        action: What is killed; it gets the folder.
        make: Fills the new folder before each attempt.
        place: An absolute path; the folders are created in it.
    """
    number = 0
    while True:
        folder = place / f"kill-{number}"
        folder.mkdir(parents=True)
        make(folder)
        if not run_killed(lambda folder=folder: action(folder), number, folder):  # type: ignore[misc]
            return
        yield folder
        number += 1


def _hook(number: int, folder: Path) -> Callable[[str, tuple[object, ...]], None]:
    left = number

    def hook(event: str, words: tuple[object, ...]) -> None:
        nonlocal left
        if event == "open":
            if not (isinstance(words[2], int) and words[2] & _WRITES):
                return
        elif event not in _CHANGES:
            return
        path = words[0]
        # Below a folder that was opened, as by shutil.rmtree, names are relative to its descriptor.
        if isinstance(path, int) or not isinstance(path, str | bytes | os.PathLike):
            return
        at = words[-1] if event in ("os.remove", "os.rmdir") else -1
        above = os.readlink(f"/proc/self/fd/{at}") if isinstance(at, int) and at >= 0 else os.getcwd()
        if not os.path.join(above, os.fsdecode(path)).startswith(f"{folder}{os.sep}"):
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    return hook
