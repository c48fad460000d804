"""A launcher that runs a training function in a process group of its own and receives its events.

The group runs `model/training/job.py`. GPU memory is freed when the group ends, and a crash of the group does
not end the caller. Events arrive as one JSON object a line on the group's standard output; everything else
that it prints goes to the log.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.events import (
    Event,
    EventCallback,
    Failure,
    Result,
    from_json,
)
from model.processes import child_environment, write_private

# glibc returns freed memory to the system eagerly, but training asks for the same sizes again each step.
# Keeping it gains a fifth of the speed on a CPU. Pages of 2 MB gain another third: with pages of 4 KB, a step
# of the demo waits more for addresses than for data.
RUNTIME = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 26),
    # oneDNN keeps the program and the packed weights of each shape of a product in bfloat16, up to 1,024 of
    # them in two caches. The rows of answers have another shape in each step of PPO: a process of the demo
    # grew by 90 MB a step. With 64 of them it stays at 0.5 GB and is as fast.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}
MODULE = "model.training.job"
JOB = ".job"
_GRACE_SECONDS = 60.0


class TrainingFailed(RuntimeError):
    """The error of a process group that ended without a result; its text has the last error and the log."""


def launch_training(
    function: Callable[..., dict[str, Any]],
    arguments: dict[str, Any],
    *,
    processes: int = 1,
    on_event: EventCallback = lambda event: None,
    log: Path,
) -> dict[str, Any]:
    """Run `function(**arguments, on_event=...)` in its own process group and return its result.

    On an exception here, Ctrl-C included, the group gets SIGTERM, time to write a checkpoint, and then
    SIGKILL.

    Args:
        function: A function of a module that the processes can import.
        arguments: Its arguments, which JSON can hold. So must its result be.
        processes: The number of processes.
        on_event: Called with each reported event as it arrives.
        log: The file for all other output of the group.

    Raises:
        UserError: The function raised it, or had too little memory.
        OSError: The group's disk was full.
        TrainingFailed: The group died.
    """
    job = {"function": f"{function.__module__}:{function.__qualname__}", "arguments": arguments}
    environment = {**RUNTIME, **child_environment()}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    # Events must arrive while the function runs, not when a buffer is full.
    environment["PYTHONUNBUFFERED"] = "1"
    # Not on the command line, which every user of the machine can read and which holds 128 KB only.
    order = job_file(log)
    write_private(order, json.dumps(job))
    command = [sys.executable, "-m", MODULE, str(os.getpid()), str(processes), str(order)]
    with log.open("ab") as errors:
        group = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            # Ctrl-C must reach the launcher alone, which then ends the group in order.
            start_new_session=True,
            text=True,
        )
        try:
            return _read_events(group, on_event, log)
        finally:
            _end_group(group)
            order.unlink(missing_ok=True)


def job_file(log: Path) -> Path:
    """Return the file with the job of a group's processes; it exists while they run."""
    return log.with_suffix(JOB)


def _read_events(group: subprocess.Popen[str], on_event: EventCallback, log: Path) -> dict[str, Any]:
    result: dict[str, Any] | None = None
    failure: Failure | None = None
    assert group.stdout is not None
    for line in group.stdout:
        event = _parse_event(line)
        if event is None:
            with log.open("a") as notes:
                notes.write(line)
        elif isinstance(event, Result):
            result = event.value
        elif isinstance(event, Failure):
            # The first failure is kept: those of other processes are usually its consequence. A crash may be
            # the lost connection to a process that tells later what the user can do.
            if failure is None or (failure.kind == "crash" and event.kind != "crash"):
                failure = event
        else:
            on_event(event)
    code = group.wait()
    if failure and failure.kind == "user":
        raise UserError(failure.text)
    if failure and failure.kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), failure.text or str(log.parent))
    if failure and failure.kind == "memory":
        with log.open("a") as notes:
            notes.write(failure.traceback)
        raise UserError(f"{failure.text} (full error: {log})")
    # If one process was killed, the others fail for lack of it.
    if failure and code >= 0:
        with log.open("a") as notes:
            notes.write(failure.traceback)
        raise TrainingFailed(f"{failure.text} (full error: {log})")
    if result is None:
        raise TrainingFailed(f"the training process {_last_words(code, log)}; see {log}")
    return result


def _last_words(code: int, log: Path) -> str:
    """Return how a group ended that reported neither a result nor an error; usually it was killed."""
    # A training that handles SIGTERM ends with 128 and the signal's number.
    number = -code if code < 0 else code - 128
    if number > 0:
        name = signal.Signals(number).name
        memory = "; the usual cause is a lack of memory" if name == "SIGKILL" else ""
        return f"was killed ({name}{memory})"
    said = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    last = next((line for line in reversed(said) if any(letter.isalnum() for letter in line)), "")
    return f"ended with code {code} and no result{f': {last}' if last else ''}"


def _parse_event(line: str) -> Event | None:
    if not line.startswith("{"):
        return None
    try:
        return from_json(json.loads(line))
    except json.JSONDecodeError:
        return None


def _end_group(group: subprocess.Popen[str]) -> None:
    if group.poll() is None:
        # The whole group: the agent's workers are separate processes.
        for sign, grace in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(group.pid, sign)
                group.wait(grace)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
    if group.stdout is not None:
        group.stdout.close()
