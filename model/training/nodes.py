"""Several machines that train together: the first one runs the pipeline, the others join its trainings.

The first machine of a training serves the store in which all processes find each other, as torch's
rendezvous does, and writes the job into it. A machine that joins takes the job and starts its processes. All
machines need the project's folder at the same path.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from model.errors import UserError
from model.events import Failure, from_json
from model.processes import write_private

if TYPE_CHECKING:
    from torch.distributed import TCPStore

# The setting, and the variable of torchrun with a machine's number.
NODES, NUMBER = "CHATMILL_NODES", "GROUP_RANK"
# The keys of the store.
JOB, FAILED, JOINED = "chatmill-job", "chatmill-failed", "chatmill-joined"
# Variables of the arithmetic and of the memory, which are those of the first machine.
_SHARED = (
    "OMP_NUM_THREADS", "GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"
)  # fmt: skip
_LOOK_SECONDS, _GRACE_SECONDS = 0.5, 60.0


@dataclass(frozen=True)
class Nodes:
    """The machines that train together.

    Attributes:
        count: Their number.
        host: The address of the first one.
        port: The port that it serves.
    """

    count: int
    host: str
    port: int

    @staticmethod
    def read(text: str) -> Nodes:
        """Return the machines of a setting like 2@10.0.0.5:29500. Raise UserError if it is not like that."""
        count, at, address = text.partition("@")
        host, colon, port = address.rpartition(":")
        valid = at and colon and host and count.isdecimal() and port.isdecimal()
        if not valid or not (2 <= int(count) <= 4096 and 0 < int(port) < 65536):
            raise UserError(
                f"{NODES} is {text!r}; expected the number of machines, 2 or more, and the address of the "
                "first, as in 2@10.0.0.5:29500"
            )
        return Nodes(int(count), host.strip("[]"), int(port))

    @staticmethod
    def from_environment() -> Nodes | None:
        """Return the machines that the environment names; None: this one alone."""
        text = os.environ.get(NODES, "")
        return Nodes.read(text) if text else None

    def is_training(self) -> bool:
        """Return whether the first machine serves the store of a training."""
        try:
            socket.create_connection((self.host, self.port), 2.0).close()
        except OSError:
            return False
        return True

    def connect(self) -> TCPStore | None:
        """Return the store of a running training; None if there is none."""
        from torch.distributed import TCPStore

        # Asked first: torch prints a warning for each attempt that fails.
        if not self.is_training():
            return None
        try:
            return TCPStore(self.host, self.port, wait_for_workers=False, timeout=timedelta(seconds=20))
        except RuntimeError:
            return None


def describe_job(job: dict[str, Any], processes: int) -> str:
    """Return a job for the machines that join: with the number of processes, the folder, the environment."""
    return json.dumps(
        {
            "job": job,
            "processes": processes,
            "folder": str(Path.cwd()),
            "environment": {
                **{name: os.environ[name] for name in _SHARED if name in os.environ},
                "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
                "PYTHONSAFEPATH": "1",
            },
        }
    )


def join_trainings(nodes: Nodes, note: Callable[[str], None], trainings: int = 0) -> None:
    """Take part in the trainings of the first machine, one after the other.

    Args:
        nodes: The machines.
        note: Called with a sentence about each training.
        trainings: The number of trainings after which to return; 0: never.
    """
    served = 0
    while not trainings or served < trainings:
        store = nodes.connect()
        if store is None:
            time.sleep(_LOOK_SECONDS)
            continue
        try:
            # The first machine has the number 0.
            number = store.add(JOINED, 1)
            if number >= nodes.count:
                # A training that is complete, or one that has just ended.
                time.sleep(2 * _LOOK_SECONDS)
                continue
            order = json.loads(store.get(JOB))
        except RuntimeError:
            continue
        name = order["job"]["function"]
        note(f"machine {number + 1} of {nodes.count} takes part in {name}")
        code = _run_order(nodes, number, order, store)
        note(f"{name} has ended{'' if code == 0 else f' with code {code}'}")
        served += 1


def _run_order(nodes: Nodes, number: int, order: dict[str, Any], store: TCPStore) -> int:
    """Run a job's processes of this machine and return their exit code."""
    with tempfile.TemporaryDirectory(prefix="chatmill-join-") as folder:
        path = Path(folder) / "job"
        write_private(path, json.dumps(order["job"]))
        own = {NODES: f"{nodes.count}@{nodes.host}:{nodes.port}", NUMBER: str(number)}
        arguments = str(os.getpid()), str(order["processes"]), str(path)
        process = subprocess.Popen(
            [sys.executable, "-m", "model.training.job", *arguments],
            env={**os.environ, **order["environment"], **own},
            cwd=order["folder"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        reader = Thread(target=_report_failures, args=(process, store))
        reader.start()
        try:
            while process.poll() is None:
                time.sleep(_LOOK_SECONDS)
                # The first machine has ended the training: processes on a GPU would wait for it.
                if not nodes.is_training():
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_LOOK_SECONDS * 10)
                    break
        finally:
            _end_process(process)
            reader.join()
        return process.wait()


def _report_failures(process: subprocess.Popen[str], store: TCPStore) -> None:
    """Tell the first machine of the first error that a process of this one prints."""
    assert process.stdout is not None
    for line in process.stdout:
        with suppress(ValueError, RuntimeError):
            if isinstance(from_json(json.loads(line)), Failure) and not store.check([FAILED]):
                store.set(FAILED, line)


def _end_process(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
