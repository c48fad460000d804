"""The smoke chain in a folder of its own, with servers beside it, and kills of its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.servers.environment import checkout_environment, free_port
from flows.servers.state_file import read_served
from model.training.launcher import MODULE
from tests.benchmarks.smoke import REPOSITORY, SMOKE, lay

COMMAND = (sys.executable, "-m", "flows.cli.main")
STARTING_SECONDS = 120.0
LONGEST_SECONDS = 600.0
# How often a chain that nobody killed may end without having come to the end.
STUMBLES = 2


@dataclass(frozen=True)
class Kill:
    """A kill: the victim, and the seconds since the last kill or the start; `which` selects among several."""

    victim: str
    after: float
    which: float


class Chain:
    """Runs the smoke chain in `root` until it is complete; it is started again after each kill.

    Its code is that of this repository, or of another checkout in the folder `code`.
    """

    def __init__(self, root: Path, *words: str, log: str = "chain.log", code: Path = REPOSITORY) -> None:
        self.root, self.words, self.log = root, words, root / log
        self.environment = {**checkout_environment(code), "COLUMNS": "110"}
        self.flow: psutil.Popen | None = None
        root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def servers(self) -> Iterator[None]:
        """Run Prefect's and MLflow's servers, supervised, while the context lasts."""
        prefect, mlflow = free_port(), free_port()
        words = (*COMMAND, "dashboards", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow))
        with (self.root / "servers.log").open("ab") as log:
            watch = subprocess.Popen(words, cwd=self.root, env=self.environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + STARTING_SECONDS
            while not ((served := read_served(self.root)) and served.ready):
                if watch.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the servers did not start; {self.root / 'servers.log'} says why")
                time.sleep(0.2)
            self.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{mlflow}"
            yield
        finally:
            watch.send_signal(signal.SIGTERM)
            watch.wait(STARTING_SECONDS)

    def start(self) -> None:
        """Start the chain, or start it again."""
        if not (self.root / "tests").exists():
            lay(self.root)
        with self.log.open("ab") as log:
            self.flow = psutil.Popen(
                [*COMMAND, "run", "--config", str(SMOKE), *self.words],
                cwd=self.root, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip

    def beside(self, *words: str) -> Chain:
        """Return another chain in the same folder."""
        return Chain(self.root, *words, log=f"beside-{len(list(self.root.glob('*.log')))}-{len(words)}.log")

    def said(self) -> str:
        """Return the output so far."""
        return self.log.read_text(errors="replace")

    def flow_ends(self, code: int) -> None:
        """Wait until the process ends. Raise RuntimeError if its exit code is another one."""
        assert self.flow is not None
        try:
            found = self.flow.wait(LONGEST_SECONDS)
        except psutil.TimeoutExpired as error:
            raise RuntimeError(
                f"the chain did not end in {LONGEST_SECONDS:.0f} s; {self.log} says where it is"
            ) from error
        if found != code:
            raise RuntimeError(f"the chain ended with code {found}; {self.log} says why")

    def stop(self) -> None:
        """Stop the process if it still runs, as after a fault of another chain in the same folder."""
        if self.flow is not None and self.flow.poll() is None:
            self.flow.terminate()
            try:
                self.flow.wait(STARTING_SECONDS)
            except psutil.TimeoutExpired:
                self.flow.kill()

    def ended(self) -> bool:
        """Return whether the process has ended."""
        return self.flow is None or self.flow.poll() is not None

    def whole(self) -> bool:
        """Return whether the chain is complete."""
        return self.flow is not None and self.flow.poll() == 0

    def kill(self, kill: Kill) -> str:
        """Wait for the moment, kill the victim and return its name; empty if the chain is complete before."""
        until = time.monotonic() + kill.after
        while time.monotonic() < until:
            if self.whole():
                return ""
            if self.ended():
                self.start()
            time.sleep(0.05)
        while not (found := self._victims(kill.victim)):
            if self.whole():
                return ""
            if self.ended():
                self.start()
            time.sleep(0.02)
        victim = found[int(kill.which * len(found))]
        told = f"{kill.victim} {victim.pid}"
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if kill.victim == "server":
                # With the processes that it started.
                os.killpg(victim.pid, signal.SIGKILL)
            else:
                victim.kill()
        if kill.victim in ("flow", "trainer"):
            assert self.flow is not None
            # Of a trainer that is gone, the flow hears by itself.
            self.flow.wait(LONGEST_SECONDS)
            self.start()
        return told

    def _victims(self, kind: str) -> list[psutil.Process]:
        if kind == "flow":
            return [self.flow] if self.flow and self.flow.poll() is None else []
        if kind == "server":
            served = read_served(self.root)
            pids = [one.pid for one in served.processes] if served else []
            return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        return self.trainings()

    def trainings(self) -> list[psutil.Process]:
        """Return the training processes of the folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if MODULE in words and str(self.root) in words[-1]:
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def finish(self) -> None:
        """Wait until the chain is complete. Raise RuntimeError if it fails although nobody kills it."""
        deadline = time.monotonic() + LONGEST_SECONDS
        stumbles = 0
        while not self.whole():
            if self.ended():
                stumbles += 1
                if stumbles > STUMBLES:
                    raise RuntimeError(f"the chain does not come to its end; {self.log} says why")
                self.start()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the chain stands still; {self.log} says where")
            time.sleep(0.1)
