"""Supervision of services: they run until they are asked to stop, and are restarted when they die."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from flows.common.disk_space import is_disk_full, start_failure
from flows.servers.credentials import without_secrets
from flows.servers.state_file import Process
from model.processes import die_with_parent

# Creating a database takes long on a busy machine. A process that ends early is noticed at once.
_STARTING_SECONDS = 180.0
WAIT_NOTE_SECONDS = 20.0
_GRACE_SECONDS = 8.0
# A service that ends soon after its start is restarted after 1, 2, 4, 8 and 16 seconds, and then no more.
LONGEST_TRIES = 5
STEADY_SECONDS = 60.0
# An environment variable that marks a service and all that it starts.
MARK = "CHATMILL_SERVED_FROM"

Note = Callable[[str], None]


@dataclass(frozen=True)
class Service:
    """A service: its command, its address and its purpose.

    `silent` returns why the service is unreachable, and "" if it answers. `environment` is added to the
    inherited one, from which passwords are removed. `grace` is the number of seconds that it gets to end.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    silent: Callable[[], str]
    shows: str
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float = _GRACE_SECONDS


class SupervisedProcess:
    """A service and its present process."""

    def __init__(self, service: Service, root: Path) -> None:
        self.service, self.root = service, root
        self.tries = 0
        self.due = 0.0
        self.process = self._start_process()

    def _start_process(self) -> subprocess.Popen[bytes]:
        self.started = time.monotonic()
        self.service.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**without_secrets(os.environ), **self.service.environment, MARK: str(self.root)}
        with self.service.log.open("ab") as log:
            self.log_begins = log.tell()
            # In a session of its own: Ctrl-C must reach only the supervisor, which ends the others in order.
            return subprocess.Popen(
                self.service.command, cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, start_new_session=True, preexec_fn=partial(_prepare_service, os.getpid()),
            )  # fmt: skip

    def wait_until_ready(self, say: Note | None = None) -> None:
        """Wait until the service answers; `say` gets a sentence from time to time while it does not.

        Raises:
            RuntimeError: It ended, or did not answer in time.
            UserError: The disk is full.
        """
        deadline, told = self.started + _STARTING_SECONDS, time.monotonic()
        while (now := time.monotonic()) < deadline and self.process.poll() is None:
            if not self.service.silent():
                return
            if say and now - told > WAIT_NOTE_SECONDS:
                told, waited = now, now - self.started
                say(f"{self.service.name} does not answer yet, {waited:.0f} s after its start")
            time.sleep(0.2)
        raise start_failure(self.service.name, self.service.log, self.log_begins)

    def restart_if_ended(self, note: Note) -> bool:
        """Restart the service if it has ended and its pause is over; return whether it was restarted.

        Raises:
            RuntimeError: It ended soon after its start too often.
            UserError: The disk is full.
        """
        now = time.monotonic()
        code = self.process.poll()
        if code is None:
            return False
        if not self.due:
            self.tries = 0 if now - self.started > STEADY_SECONDS else self.tries + 1
            if self.tries > LONGEST_TRIES:
                if is_disk_full(self.service.log, self.log_begins):
                    raise start_failure(self.service.name, self.service.log, self.log_begins)
                raise RuntimeError(
                    f"{self.service.name} ended {self.tries} times soon after its start; see "
                    f"{self.service.log}"
                )
            wait = 2.0 ** max(0, self.tries - 1)
            self.due = now + wait
            how = f"was killed (signal {-code})" if code < 0 else f"ended (code {code})"
            note(f"{self.service.name} {how}; restarting in {wait:.0f} s (log: {self.service.log})")
        if now < self.due:
            return False
        # Its own child processes may live on and hold its port.
        _end_group(self.process.pid, signal.SIGKILL)
        self.due = 0.0
        self.process = self._start_process()
        return True

    def describe_process(self) -> Process:
        """Return the process as the state file records it."""
        return Process(self.service.name, self.process.pid, self.service.address, self.service.shows)


def _prepare_service(parent: int) -> None:
    """Set the signals of a new service, in it, before its command starts."""
    # A shell starts `chatmill up &` with SIGINT ignored, and children inherit that. Prefect's worker turns
    # SIGTERM into SIGINT, so it would never end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent(parent)


def stop_processes(kept: Iterable[SupervisedProcess], note: Note) -> None:
    """End all services, workers before the servers that they report to; kill those that take too long."""
    every = list(kept)
    workers = [one for one in every if not one.service.address]
    servers = [one for one in every if one.service.address]
    _end_runs(workers)
    for wave in (workers, servers):
        for one in wave:
            if one.process.poll() is None:
                with suppress(ProcessLookupError):
                    one.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        for one in wave:
            try:
                # All were asked at once, so the time that one took counts for the others too.
                one.process.wait(max(0.0, asked + one.service.grace - time.monotonic()))
            except subprocess.TimeoutExpired:
                note(f"{one.service.name} does not stop; killing it")
            _end_group(one.process.pid, signal.SIGKILL)
            one.process.wait()


def _end_runs(workers: Iterable[SupervisedProcess]) -> None:
    """Ask the workers' runs to end, and wait as long as their workers' grace.

    A worker that ends kills its run outright. A run that is asked first closes its records, and a training
    saves a checkpoint.
    """
    runs: list[psutil.Process] = []
    grace = 0.0
    for one in workers:
        with suppress(psutil.Error):
            runs += psutil.Process(one.process.pid).children()
            grace = max(grace, one.service.grace)
    for run in runs:
        with suppress(psutil.Error):
            run.terminate()
    psutil.wait_procs(runs, timeout=grace)


def _end_group(group: int, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sign)


def end_leftovers(processes: Iterable[Process], root: Path) -> list[str]:
    """End the processes that a killed supervisor left; return the names of those that were still there.

    A process id may belong to another program by now, so a process without this folder's mark is left alone.
    """
    groups = {one.pid: one.name for one in processes}
    found: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        # Processes end, or belong to other users, while the list is read.
        with suppress(ProcessLookupError, psutil.Error, OSError):
            group = os.getpgid(process.pid)
            if group in groups and process.environ().get(MARK) == str(root):
                found.setdefault(group, []).append(process)
    left = [process for members in found.values() for process in members]
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with suppress(psutil.Error):
                process.send_signal(sign)
        _, left = psutil.wait_procs(left, timeout=_GRACE_SECONDS)
    return [groups[group] for group in found]
