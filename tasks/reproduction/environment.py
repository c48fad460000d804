"""The packages of another lock file, installed once by pip in a separate environment under var/cache/."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from model.errors import UserError
from tasks.common.disk_space import check_room
from tasks.engine.cache_key import LOCK, lock_digest
from tasks.project.owned_folder import claim_folder, remove_folder
from tasks.project.paths import ENVIRONMENTS

_WHOLE = "installed"
SIGNS = (_WHOLE, "pyvenv.cfg")  # what an older chatmill, which wrote no marker, left there
_FIRST = "torch=="


def prepare_interpreter(
    root: Path, project: Path, environment: Mapping[str, str], say: Callable[[str], None]
) -> Path:
    """Return a Python with the packages of a checkout's lock file; this one if the lock file is the same.

    Args:
        root: The project's folder.
        project: The project's folder in the checkout.
        environment: The environment variables for pip.
        say: Receives a message before a long installation.

    Raises:
        UserError: The commit has no lock file, or the packages cannot be installed. The unfinished
            environment is removed.
    """
    if not (project / LOCK).is_file():
        raise UserError(
            f"the commit of that run has no {LOCK}, so this repository does not hold the code of the run; "
            "only runs in a clone of chatmill's repository can be made again"
        )
    digest = lock_digest(project)
    if digest == lock_digest():
        return Path(sys.executable)
    folder = root / ENVIRONMENTS / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(folder):
            say(
                f"installing the packages of its lock file in {folder.relative_to(root)}; this "
                "takes minutes, once"
            )
            try:
                _make_environment(folder, project / LOCK, environment)
            except BaseException:
                remove_folder(folder, SIGNS)
                raise
        # `chatmill gc` removes environments by the time of their last use.
        os.utime(folder)
    return folder / "bin" / "python"


def _is_whole(folder: Path) -> bool:
    """Return whether an environment is complete and was made by the present version of Python."""
    made = folder / _WHOLE
    return made.exists() and made.read_text() == platform.python_version()


def _make_environment(folder: Path, lock: Path, environment: Mapping[str, str]) -> None:
    remove_folder(folder, SIGNS)
    claim_folder(folder)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    pins = [line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    # torch alone and with its exact version first: pip then takes a build that is at hand, if there is one.
    first = [pin for pin in pins if pin.startswith(_FIRST)]
    for words in (
        [sys.executable, "-m", "venv", str(folder)],
        *([[*pip, *first]] if first else []),
        [*pip, "-r", str(lock)],
    ):
        done = subprocess.run(words, capture_output=True, text=True, env=dict(environment), check=False)
        if done.returncode:
            check_room(folder, f"{done.stdout}{done.stderr}")
            raise UserError(
                f"the packages of that commit's {LOCK} could not be installed "
                f"({_pip_error(done)}); provide them or a network connection; the same command then resumes"
            )
    # Last, as the mark that the installation was not interrupted.
    (folder / _WHOLE).write_text(platform.python_version())


def _pip_error(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    told = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (told or lines or ["pip gave no reason"])[-1].strip()
