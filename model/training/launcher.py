"""A launcher that runs a training function in a process group of its own and receives its events.

torch's elastic launcher starts the processes: one for each GPU, or several on a CPU. GPU memory is freed when
the group ends, and a crash of the group does not end the caller. Events arrive as one JSON object a line on
the group's standard output; everything else that it prints goes to the log.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.events import (
    FULL,
    Event,
    EventCallback,
    Failure,
    ImportedSources,
    Result,
    Usage,
    from_json,
    to_json,
)
from model.file_guard import refuse_special_files
from model.processes import child_environment, die_with_parent, write_private

# glibc returns freed memory to the system eagerly, but training asks for the same sizes again each step.
# Keeping it gains a fifth of the speed on a CPU.
RUNTIME = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
MODULE = "model.training.launcher"
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
        UserError: The function raised it.
        OSError: The group's disk was full.
        TrainingFailed: The group died.
    """
    job = {"function": f"{function.__module__}:{function.__qualname__}", "arguments": arguments}
    environment = {**RUNTIME, **child_environment()}
    # torchrun pins OpenMP to one thread a process unless told otherwise.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    # Events must arrive while the function runs, not when a buffer is full.
    environment["PYTHONUNBUFFERED"] = "1"
    # Not on the command line, which every user of the machine can read and which holds 128 KB only.
    order = job_file(log)
    write_private(order, json.dumps(job))
    command = [sys.executable, "-m", MODULE, "agent", str(os.getpid()), str(processes), str(order)]
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
            # The first failure is kept: those of other processes are usually its consequence.
            failure = failure or event
        else:
            on_event(event)
    code = group.wait()
    if failure and failure.kind == "user":
        raise UserError(failure.text)
    if failure and failure.kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), failure.text or str(log.parent))
    if failure:
        with log.open("a") as notes:
            notes.write(failure.traceback)
        raise TrainingFailed(f"{failure.text} (full error: {log})")
    if result is None:
        raise TrainingFailed(f"the training process {_last_words(code, log)}; see {log}")
    return result


def _last_words(code: int, log: Path) -> str:
    """Return how a group ended that reported neither a result nor an error; usually it was killed."""
    said = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    last = next((line for line in reversed(said) if any(letter.isalnum() for letter in line)), "")
    killed = re.search(r"Signal \d+ \((SIG[A-Z]+)\) received", last)
    name = killed[1] if killed else signal.Signals(-code).name if code < 0 else ""
    if name:
        memory = "; the usual cause is a lack of memory" if name == "SIGKILL" else ""
        return f"was killed ({name}{memory})"
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


def _run_agent(parent: str, processes: str, order: str) -> None:
    die_with_parent(int(parent))
    from torch.distributed.run import main as elastic

    worker = ["-m", MODULE, "worker", str(os.getpid()), order]
    elastic(["--standalone", "--nproc-per-node", processes, *worker])


def _run_worker(parent: str, order: str) -> int:
    die_with_parent(int(parent))
    refuse_special_files()
    first = os.environ.get("RANK", "0") == "0"

    def on_event(event: Event) -> None:
        if first:
            _print_event(event)

    # Errors come from every process: any of them may be the first to fail.
    def report_error(kind: str, text: str) -> None:
        _print_event(Failure(kind, text, traceback.format_exc()))

    task = json.loads(Path(order).read_text(encoding="utf-8"))
    module, _, name = task["function"].partition(":")
    try:
        try:
            function = getattr(importlib.import_module(module), name)
            on_event(ImportedSources(imported_sources()))
            value = function(**task["arguments"], on_event=on_event)
            on_event(ImportedSources(imported_sources()))
        finally:
            _tell_memory()
    except UserError as error:
        report_error("user", str(error))
        return 1
    except Exception as error:
        full = _full_disk(error)
        if full is not None:
            report_error("full", str(full.filename or ""))
        else:
            report_error("crash", f"{type(error).__name__}: {error}")
        return 1
    on_event(Result(value))
    return 0


def _print_event(event: Event) -> None:
    print(json.dumps(to_json(event)), flush=True)


def imported_sources() -> dict[str, str]:
    """Return the SHA-256 of each module file that this process imported from its source tree, by name."""
    root = Path(__file__).resolve().parents[2]
    found = {}
    for name, module in sorted(sys.modules.items()):
        path = Path(getattr(module, "__file__", None) or "/")
        # A virtual environment may be inside the tree.
        own = path.is_relative_to(root) and "site-packages" not in path.parts
        if own and path.suffix == ".py" and not name.startswith("__"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _full_disk(error: BaseException | None) -> OSError | None:
    """Return the disk's error in an exception chain: torch raises one of its own after it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def _tell_memory() -> None:
    """Report the most memory that this process held on its GPU, in bytes; each process reports its own."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        _print_event(Usage(gpu_memory=torch.cuda.max_memory_allocated()))


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        _run_agent(*sys.argv[2:])
    else:
        sys.exit(_run_worker(*sys.argv[2:]))
