"""Further failures of a machine: each scenario runs the smoke chain in one and checks the result.

Mounting needs root, and moving the clock needs a C compiler; a scenario without them reports that.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from flows.servers.commands import ListenAddress, mlflow_server
from flows.servers.credentials import read_login, stored_login
from flows.servers.environment import LOOPBACK, Settings, free_port
from flows.servers.state_file import read_served
from flows.servers.supervisor import SupervisedProcess
from tests.benchmarks.events import call, lay
from tests.chaos.chain import Chain
from tests.chaos.outcome import differences, left_over, read_outcome
from tests.waiting import until

AWAY_SECONDS = 60.0
LOGIN = read_login("chaos:kills-at-any-moment")
CLOCK = Path(__file__).parent / "clock.c"
# The chain's outputs take 20 MB, those up to the first training three.
SMALL, LARGE = "4m", "200m"
MODELS = ("pretrain", "sft", "reward", "judge", "rlhf")


class Missing(RuntimeError):
    """A requirement of a scenario that this machine lacks; the text names it."""


@contextmanager
def mlflow_away(chain: Chain) -> Iterator[list[str]]:
    """Stop MLflow's server for a minute in the middle of a training."""
    port = free_port()
    settings = Settings(chain.root, f"sqlite:///{chain.root / 'var' / 'mlflow.db'}", "", LOGIN)
    (chain.root / "var").mkdir()
    address = f"http://{LOOPBACK}:{port}"
    chain.environment |= {"MLFLOW_TRACKING_URI": address, "CHATMILL_PASSWORD": LOGIN.text}
    server = SupervisedProcess(mlflow_server(settings, ListenAddress(LOOPBACK, port)), chain.root)
    faults = []
    try:
        server.wait_until_ready()
        chain.start()
        until(lambda: "  pretrain" in chain.said(), "the first training")
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        time.sleep(AWAY_SECONDS)
        if not [path for path in (chain.root / "var/cache/artifacts/pretrain").glob("*") if not path.suffix]:
            faults.append("the training waited for MLflow")
        server = SupervisedProcess(mlflow_server(settings, ListenAddress(LOOPBACK, port)), chain.root)
        server.wait_until_ready()
        chain.flow_ends(0)
        if "MLflow is unreachable" not in chain.said():
            faults.append("nothing was said of the server that was away")
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
    yield faults


@contextmanager
def disk_full(chain: Chain) -> Iterator[list[str]]:
    """Fill the disk of the outputs. When space is freed, the same command must resume."""
    with _disk(chain.root / "var" / "cache" / "artifacts", SMALL) as change:
        chain.start()
        chain.flow_ends(2)
        named = "is full; free disk space and run again" in chain.said()
        change(f"size={LARGE}")
        chain.finish()
        yield [] if named else ["the disk is not named"]


@contextmanager
def read_only(chain: Chain) -> Iterator[list[str]]:
    """Make the folder of the outputs read-only. When it is writable, the same command must resume."""
    with _disk(chain.root / "var" / "cache" / "artifacts", LARGE) as change:
        change("ro")
        chain.start()
        chain.flow_ends(2)
        named = "make it writable and run again" in chain.said()
        change("rw")
        chain.finish()
        yield [] if named else ["the folder is not named"]


@contextmanager
def clock_jumps(chain: Chain) -> Iterator[list[str]]:
    """Set the clock back two hours during the first training, and forward three days during the last."""
    if not (compiler := shutil.which("cc")):
        raise Missing("there is no C compiler")
    library, clock = chain.root / "clock.so", chain.root / "clock"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, CLOCK, "-ldl"], check=True)
    clock.write_bytes(bytes(8))
    chain.environment |= {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(clock)}
    chain.start()
    for stage, shift in (("  pretrain", -2 * 3600), ("  rlhf", 3 * 86400)):
        until(lambda stage=stage: stage in chain.said(), stage.strip())
        # In place: who runs has mapped the file.
        with clock.open("r+b") as file:
            file.write(shift.to_bytes(8, sys.byteorder, signed=True))
    chain.flow_ends(0)
    # Prefect's server ignores the end of a task that lies before its start; a later start corrects that.
    chain.start()
    chain.flow_ends(0)
    yield []


@contextmanager
def two_at_once(chain: Chain) -> Iterator[list[str]]:
    """Start two chains of one preset and one of another at the same moment."""
    others = [chain.beside(), chain.beside("--set", "rlhf.steps=12")]
    every = [chain, *others]
    for each in every:
        each.start()
    try:
        for each in every:
            each.flow_ends(0)
    finally:
        for each in every:
            each.stop()
    artifacts = chain.root / "var" / "cache" / "artifacts"
    outputs = [path for stage in MODELS for path in (artifacts / stage).glob("*") if not path.suffix]
    # The other preset has an RLHF of its own.
    yield [] if len(outputs) == len(MODELS) + 1 else [f"{len(outputs)} models were made"]


@contextmanager
def worker_killed(chain: Chain) -> Iterator[list[str]]:
    """Kill the worker of `nightly` during a training. The next night's run must take over."""
    lay(chain.root)
    ports = ("--prefect-port", str(free_port()), "--mlflow-port", str(free_port()), "--no-label")
    call(chain.root, "-m", "flows.cli.main", "up", "--detach", *ports)
    try:
        served = read_served(chain.root)
        assert served is not None
        nightly = ("-m", "prefect", "deployment", "run", "chatmill-nightly/nightly")
        asks = {"PREFECT_API_URL": served.prefect, **stored_login(chain.root).client_environment}
        call(chain.root, *nightly, **asks)
        until(chain.trainings, "a training")
        [worker] = [one.pid for one in served.processes if one.name == "gpu"]
        os.kill(worker, signal.SIGKILL)
        call(chain.root, *nightly, "--watch", **asks)
    finally:
        call(chain.root, "-m", "flows.cli.main", "down")
    yield []


SCENARIOS: dict[str, Callable[[Chain], AbstractContextManager[list[str]]]] = {
    found.__name__.replace("_", "-"): found
    for found in (mlflow_away, worker_killed, disk_full, read_only, clock_jumps, two_at_once)
}


def play(name: str, folder: Path, unbroken: Path) -> list[str]:
    """Run a scenario; return its differences from the unbroken chain. Raise Missing if it cannot run."""
    chain = Chain(folder / name)
    chain.root.mkdir(exist_ok=True)
    try:
        with SCENARIOS[name](chain) as faults:
            # Which of three that run at once says last what came out is not known.
            if name != "two-at-once":
                faults += differences(read_outcome(unbroken), read_outcome(chain.root))
            return faults + [f"left over: {text}" for text in left_over(chain.root)]
    finally:
        chain.stop()


@contextmanager
def _disk(place: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a small disk at `place`; yield a function that changes its mount options."""
    if os.geteuid():
        raise Missing("mounting a small disk needs root")
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)

    def change(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)

    try:
        yield change
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
