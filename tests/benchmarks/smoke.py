"""Prepare a folder in which the smoke preset runs, and time programs in it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from flows.servers.environment import QUIET, checkout_environment

REPOSITORY = Path(__file__).parents[2]
SMOKE = REPOSITORY / "configs" / "smoke.yaml"
EXPORTS = Path("tests", "fixtures", "exports", "smoke")


def lay(root: Path) -> None:
    """Create the files that the smoke preset reads."""
    (root / EXPORTS).parent.mkdir(parents=True)
    (root / EXPORTS).symlink_to(REPOSITORY / EXPORTS)


@dataclass(frozen=True)
class Timed:
    """The start and end of a program in seconds since 1970, and its processor time in seconds.

    Other programs on the machine lengthen the first, but hardly the second.
    """

    began: float
    ended: float
    processor: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def call(root: Path, module: str, *words: str) -> Timed:
    """Run a module of this repository in the folder. Raise RuntimeError if it fails."""
    before, began = _processor(), time.time()
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=root, env={**checkout_environment(REPOSITORY), **QUIET},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ended = time.time()
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return Timed(began, ended, _processor() - before)


def _processor() -> float:
    """Return the processor seconds of all finished children and of the children that those waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
