"""The program that a process group runs for a training: it reads a job, calls its function and prints events.

The group's first process imports the function and forks the others: one for each GPU, or several on a CPU.
A single process runs the function itself. `model/training/launcher.py` starts this program.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import UserError
from model.events import (
    FULL,
    Event,
    Failure,
    ImportedSources,
    Message,
    Result,
    Usage,
    to_json,
)
from model.file_guard import refuse_special_files
from model.processes import die_with_parent
from model.training.memory_errors import describe_lack_of_memory
from model.training.nodes import FAILED, JOB, NUMBER, Nodes, describe_job

if TYPE_CHECKING:
    from torch.distributed import TCPStore
    from torch.multiprocessing import ProcessContext

_HOST = "127.0.0.1"
_LOOK_SECONDS, _TOLD_SECONDS = 0.5, 5.0
# The time that the other processes of a group have after one of them failed.
_GRACE_SECONDS = 10.0


def _run_group(parent: int, processes: int, order: Path) -> int:
    """Run a job in a group of processes, of which this one is the first, and return the exit code."""
    die_with_parent(parent)
    refuse_special_files()
    job = json.loads(order.read_text(encoding="utf-8"))
    nodes, number = Nodes.from_environment(), int(os.environ.get(NUMBER, "0"))
    if processes == 1 and nodes is None:
        return _run_job(job)
    with suppress(Exception):
        # Each fork has the modules from its start, and reports the error of a module that cannot be imported.
        _find_function(job)
    import torch.multiprocessing as multiprocessing

    count = nodes.count if nodes else 1
    # The processes find each other at this address. The system chooses a free port of a single machine.
    with _listen(nodes) if number == 0 else nullcontext() as listener:
        address = (nodes.host, nodes.port) if nodes else (_HOST, listener.getsockname()[1] if listener else 0)
        members = (os.getpid(), processes, number, count, address, job)
        group = multiprocessing.start_processes(
            _run_member, members, processes, join=False, start_method="fork"
        )
        return _wait_for_members(group, listener, nodes, describe_job(job, processes))


def _listen(nodes: Nodes | None) -> socket.socket:
    """Return the socket of the store. Raise OSError if another training uses the address."""
    if nodes is None:
        return socket.create_server((_HOST, 0))
    family = socket.AF_INET6 if ":" in nodes.host else socket.AF_INET
    return socket.create_server((nodes.host, nodes.port), family=family)


def _run_member(
    rank: int,
    parent: int,
    processes: int,
    number: int,
    count: int,
    address: tuple[str, int],
    job: dict[str, Any],
) -> None:
    """Run a job as one of a machine's processes.

    Args:
        rank: The number of the process on this machine.
        parent: The process that started it.
        processes: The number of processes of each machine.
        number: The number of this machine.
        count: The number of machines.
        address: The host and the port of the store.
        job: The job.
    """
    die_with_parent(parent)
    # The variables that torchrun sets, too; the last one says that the store runs in another process.
    os.environ |= {
        "RANK": str(number * processes + rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count * processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": address[0],
        "MASTER_PORT": str(address[1]),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    sys.exit(_run_job(job))


def _wait_for_members(
    group: ProcessContext, listener: socket.socket | None, nodes: Nodes | None, order: str
) -> int:
    """Serve the store in which the members find each other until all have ended; return the exit code.

    Args:
        group: The members on this machine.
        listener: The socket of the store; None: the first machine serves it.
        nodes: The machines that train together; None: this one alone.
        order: The job, for the other machines.
    """
    from torch.distributed import TCPStore
    from torch.multiprocessing import ProcessExitedException

    def forward(number: int, frame: object) -> None:
        for process in group.processes:
            if process.is_alive():
                os.kill(process.pid, number)

    # The members save a checkpoint and end, and then this process ends too.
    signal.signal(signal.SIGTERM, forward)
    store = None
    if listener is not None:
        host, port = listener.getsockname()[:2]
        # Its thread starts after the forks: a fork copies locks but not the threads that hold them.
        store = TCPStore(
            host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
        )
    if store is not None and nodes is not None:
        store.set(JOB, order)
        missing, address = nodes.count - 1, f"{nodes.host}:{nodes.port}"
        _print_event(Message(f"waiting for {missing} more of {nodes.count} machines to join at {address}"))
    killed = 0
    try:
        while True:
            killed = killed or _wait_for_end(group, _LOOK_SECONDS if nodes else None)
            if group.join(0 if nodes else None, _GRACE_SECONDS):
                break
            if store is not None and nodes is not None and _print_other_failure(store, 0.0):
                # Theirs would wait for the machine that failed.
                for process in group.processes:
                    process.kill()
                return 1
    except ProcessExitedException as ended:
        if number := killed or max(0, -ended.exit_code):
            # The launcher learns from the way this process ends that a member was killed.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if store is not None and nodes is not None and ended.exit_code == 1:
            # The connection to a machine that failed may end before that machine has told why.
            _print_other_failure(store, _TOLD_SECONDS)
        return ended.exit_code
    finally:
        del store
    return 0


def _wait_for_end(group: ProcessContext, seconds: float | None) -> int:
    """Wait until a member ends, for some seconds at most; return the signal that killed one, or 0.

    `ProcessContext.join` names the first member that failed in the order of ranks. That one may have failed
    for lack of a member that was killed, and `join` kills the others.
    """
    members = [process for process in group.processes if process.exitcode is None]
    if members:
        connection.wait([process.sentinel for process in members], seconds)
    codes = [process.exitcode for process in group.processes]
    return next((-code for code in codes if code is not None and code < 0), 0)


def _print_other_failure(store: TCPStore, seconds: float) -> bool:
    """Print the failure of another machine if it tells of one within some seconds; return whether it does."""
    deadline = time.monotonic() + seconds
    while not store.check([FAILED]):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    sys.stdout.write(store.get(FAILED).decode())
    sys.stdout.flush()
    return True


def _find_function(job: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    module, _, name = job["function"].partition(":")
    found: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), name)
    return found


def _run_job(job: dict[str, Any]) -> int:
    """Run a job's function in this process, print its events, and return the exit code."""
    first = os.environ.get("RANK", "0") == "0"

    def on_event(event: Event) -> None:
        if first:
            _print_event(event)

    # Errors come from every process: any of them may be the first to fail.
    def report_error(kind: str, text: str) -> None:
        _print_event(Failure(kind, text, traceback.format_exc()))

    try:
        try:
            function = _find_function(job)
            on_event(ImportedSources(imported_sources()))
            value = function(**job["arguments"], on_event=on_event)
            on_event(ImportedSources(imported_sources()))
        finally:
            _tell_memory()
    except UserError as error:
        report_error("user", str(error))
        return 1
    except Exception as error:
        full, memory = _full_disk(error), describe_lack_of_memory(error, job)
        if full is not None:
            report_error("full", str(full.filename or ""))
        elif memory:
            report_error("memory", memory)
        else:
            report_error("crash", f"{type(error).__name__}: {error}")
        return 1
    on_event(Result(value))
    return 0


def _print_event(event: Event) -> None:
    # One write for the whole line: print writes its end separately, and a line of another process may come
    # between.
    sys.stdout.write(f"{json.dumps(to_json(event))}\n")
    sys.stdout.flush()


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
    sys.exit(_run_group(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
