"""Reproduction of a past run: its code in a worktree, with its data and configuration, run again."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from model.processes import die_with_parent
from model.training.devices import describe_processor
from tasks.common.disk_space import full_disk_error, is_folder_full, little_space
from tasks.common.program_call import REPRODUCTION
from tasks.engine.output import MANIFEST, read_manifest
from tasks.project.paths import ARTIFACTS
from tasks.reproduction.checkout import Checkout
from tasks.reproduction.recorded_run import RecordedRun
from tasks.reproduction.verdict import StageResult
from tasks.tracking.reference_version import STAGE as CHAMPION

# Long enough for a training to save its checkpoint.
_ENDING_SECONDS = 90.0


class ReproductionFailed(Exception):
    """The reproduction did not finish; its files stay, and the next attempt continues from them."""


def command_module(project: Path) -> str:
    """Return the module of the command line in a checkout; older commits have it under another name."""
    own = project / "flows" / "cli" / "main.py"
    return "flows.cli.main" if own.exists() else "flows.command"


def make_anew(
    checkout: Checkout, original: RecordedRun, python: Path, environment: Mapping[str, str]
) -> dict[str, StageResult]:
    """Run the checkout's own code on its own var/, and return the results of each stage by name.

    The output of the run is shown. On an exception in this process, Ctrl-C included, the run is asked to end,
    which saves checkpoints, and waited for.

    Args:
        checkout: The place of the reproduction.
        original: The run.
        python: The interpreter with the packages of that time.
        environment: The environment variables of the run.

    Raises:
        ReproductionFailed: The run did not finish.
    """
    words = [
        str(python), "-m", command_module(checkout.project), original.command, "--config",
        str(checkout.preset),
    ]  # fmt: skip
    process = subprocess.Popen(
        words,
        cwd=checkout.project,
        env={**environment, REPRODUCTION: "1"},
        # Ctrl-C would otherwise reach the run too, besides the SIGTERM below.
        start_new_session=True,
        # The process group is its own, so a kill of this process would otherwise leave the run as an orphan.
        preexec_fn=partial(die_with_parent, os.getpid()),
    )
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(_ENDING_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        raise
    made = read_made(checkout.project)
    if code:
        # Code of earlier versions does not name the folder.
        if is_folder_full(checkout.project):
            raise full_disk_error(checkout.project)
        done = [each.stage for each in original.stages if each.stage in made]
        after = f"after {done[-1]}" if done else "before its first stage was done"
        raise ReproductionFailed(
            f"the run of that code ended {after} with exit code {code}; see its output above"
            f"{little_space(checkout.project)}"
        )
    return made


def read_made(project: Path) -> dict[str, StageResult]:
    """Return the results of each stage under a checkout's var/ by name; the newest of several."""
    made: dict[str, tuple[float, StageResult]] = {}
    for path in sorted((project / ARTIFACTS).glob(f"*/*/{MANIFEST}")):
        found = read_manifest(path.parent)
        written = path.stat().st_mtime
        # The champion was fetched, not made here.
        if found and found["stage"] != CHAMPION and written >= made.get(found["stage"], (0.0,))[0]:
            made[found["stage"]] = (
                written,
                StageResult(found["stage"], found["digest"], found["metrics"], found),
            )
    return {stage: each for stage, (_, each) in made.items()}


def describe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the reproduction, with the same names as `RecordedRun.environment`."""
    threads = environment.get("OMP_NUM_THREADS", "")
    return {
        "threads": threads,
        "processor": describe_processor(),
        "python": platform.python_version(),
    }
