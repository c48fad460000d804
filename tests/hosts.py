"""Two hosts as two folders: what they share is the repository, a remote, MLflow's server and Prefect's.

`python -m tests.hosts` runs the smoke chain over both and prints what it took.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.surroundings import bare, free_port, silent

REPOSITORY = Path(__file__).parent.parent
PLACED = ("pretrain", "sft", "reward", "rlhf", "evaluate")
SMOKE = "configs/smoke.yaml"
# One core for each training, as two share a small machine.
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@dataclass
class Hosts:
    """The two folders, and the addresses of what they share."""

    folder: Path
    prefect: str
    mlflow: str

    @property
    def cpu(self) -> Path:
        """Where flows run."""
        return self.folder / "cpu"

    @property
    def gpu(self) -> Path:
        """Where the device is."""
        return self.folder / "gpu"

    @property
    def changes(self) -> list[str]:
        """What makes a preset one of these hosts."""
        return [f"data.remote={self.folder / 'shared'}", "placement.train=gpu"]

    def environment(self, root: Path) -> dict[str, str]:
        """Of a program at a host: that host's code, the two addresses, and nothing of the other host."""
        home = root / "var" / "prefect"
        home.mkdir(parents=True, exist_ok=True)
        return {
            **bare(root), **THREADS, "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.prefect, "MLFLOW_TRACKING_URI": self.mlflow, "COLUMNS": "120",
        }  # fmt: skip

    def run(self, root: Path, *words: str) -> str:
        """What a program at a host says. Raises RuntimeError where it fails."""
        done = subprocess.run(
            [sys.executable, *words], cwd=root, env=self.environment(root), capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout + done.stderr

    @contextmanager
    def worker(self, root: Path, pool: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker of a pool at a host, for as long as the context lasts."""
        words = ("-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", pool)
        with _started(root, (sys.executable, *words), self.environment(root), f"worker-{pool}") as process:
            yield process


@contextmanager
def _started(
    root: Path, command: tuple[str, ...], environment: dict[str, str], name: str
) -> Iterator[subprocess.Popen[bytes]]:
    with (root / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _copy(target: Path) -> None:
    """A host's repository, as a clone has it: without data, and without anything that a run left."""
    target.mkdir()
    for name in ("flows", "tasks", "model", "configs", "tests"):
        shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "prefect.yaml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, target / name)


def until(holds: Callable[[], object], seconds: float, what: str) -> None:
    """Wait. Raises RuntimeError where it does not come to hold."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.2)


@contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts]:
    """Both folders, both servers, the deployments of prefect.yaml, and the gpu pool's worker."""
    ports = (free_port(), free_port())
    hosts = Hosts(folder, f"http://127.0.0.1:{ports[0]}/api", f"http://127.0.0.1:{ports[1]}")
    server = folder / "servers"
    for path in (server, folder / "shared"):
        path.mkdir(parents=True)
    for root in (hosts.cpu, hosts.gpu):
        _copy(root)
    environment = hosts.environment(server) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment["PYTHONPATH"] = str(REPOSITORY)
    prefect = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(ports[0]))
    mlflow = (
        "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(ports[1]), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{server / 'mlflow.db'}",
        "--artifacts-destination", str(server / "artifacts"),
    )  # fmt: skip
    with ExitStack() as running:
        for name, words in (("prefect", prefect), ("mlflow", mlflow)):
            running.enter_context(_started(server, (sys.executable, *words), environment, name))
        until(lambda: not silent(hosts.prefect) and not silent(hosts.mlflow), 60, "the servers' start")
        hosts.run(hosts.cpu, "-c", "from flows.workers import make_pools; make_pools()")
        hosts.run(hosts.cpu, "-m", "prefect", "--no-prompt", "deploy", "--all")
        running.enter_context(hosts.worker(hosts.gpu, "gpu"))
        yield hosts


def summary(root: Path) -> dict[str, Any]:
    """What the last whole run at a host left."""
    found: dict[str, Any] = json.loads((root / "var" / "summary.json").read_text())
    return found


def statuses(root: Path) -> dict[str, str]:
    """Made or reused, by stage."""
    return {entry["name"]: entry["status"] for entry in summary(root)["stages"]}


def logs(root: Path) -> set[str]:
    """The stages that trained at a host: a log stands beside what was made there, not what was fetched."""
    return {path.parent.name for path in (root / "var" / "artifacts").glob("*/*.log")}


def champion(hosts: Hosts) -> str:
    """The champion's version."""
    from mlflow import MlflowClient

    client = MlflowClient(hosts.mlflow, hosts.mlflow)
    return str(client.get_model_version_by_alias("chatmill", "champion").version)


def chain(hosts: Hosts) -> None:
    """The whole chain: begun by the cpu pool's worker, trained at the other host, then run there too."""
    words = ("-m", "prefect", "deployment", "run", "--watch", "--watch-interval", "2")
    parameters = json.dumps({"config": SMOKE, "changes": hosts.changes})
    with hosts.worker(hosts.cpu, "cpu"):
        began = time.monotonic()
        hosts.run(hosts.cpu, *words, "--params", parameters, _nightly(hosts))
        took = time.monotonic() - began
    for entry in summary(hosts.cpu)["stages"]:
        where = "gpu" if entry["name"] in logs(hosts.gpu) else "cpu"
        print(f"{entry['name']:<10} {entry['status']:<7} {where}  {entry['seconds']:6.1f} s")
    assert set(statuses(hosts.cpu).values()) == {"made"}, statuses(hosts.cpu)
    assert logs(hosts.gpu) == set(PLACED) and not logs(hosts.cpu)
    print(f"the chain over two hosts: {took:.1f} s; the champion is version {champion(hosts)}")

    shutil.copy(hosts.cpu / "data.dvc", hosts.gpu / "data.dvc")
    began = time.monotonic()
    changes = [word for change in hosts.changes[:1] for word in ("--set", change)]
    hosts.run(hosts.gpu, "-m", "flows.command", "run", "--config", SMOKE, *changes)
    assert set(statuses(hosts.gpu).values()) == {"reused"}, statuses(hosts.gpu)
    print(f"the same at the other host: {time.monotonic() - began:.1f} s, every stage reused")
    began = time.monotonic()
    changes = [word for change in hosts.changes for word in ("--set", change)]
    hosts.run(hosts.cpu, "-m", "flows.command", "run", "--config", SMOKE, *changes)
    assert set(statuses(hosts.cpu).values()) == {"reused"}, statuses(hosts.cpu)
    print(f"again at the first: {time.monotonic() - began:.1f} s, every stage reused, no worker asked")
    files = [path for path in (hosts.folder / "shared").rglob("*") if path.is_file()]
    print(f"at the remote: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")


def _nightly(hosts: Hosts) -> str:
    """The deployment that makes the whole chain, FLOW/DEPLOYMENT."""
    said = json.loads(hosts.run(hosts.cpu, "-m", "prefect", "deployment", "ls", "--output", "json"))
    [found] = [one for one in said if one["name"] == "nightly"]
    flow = hosts.run(
        hosts.cpu, "-c",
        "import sys; from uuid import UUID; from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client: print(client.read_flow(UUID(sys.argv[1])).name)",
        found["flow_id"],
    )  # fmt: skip
    return f"{flow.strip()}/nightly"


def main() -> None:
    """The chain over two hosts, in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="chatmill-hosts-") as scratch:
        try:
            with two_hosts(Path(scratch)) as hosts:
                chain(hosts)
        except BaseException:
            for log in sorted(Path(scratch).glob("*/*.log")):
                print(f"== {log}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main()
