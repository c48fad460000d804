"""Two hosts as two folders: what they share is the repository, a remote, MLflow's server and Prefect's.

Both servers listen where other hosts reach them, and ask for a password. `python -m
tests.integration.two_hosts` runs the smoke chain over both and prints what it took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET
from typing import Any

import psutil
import yaml

from flows.servers.credentials import is_loopback, read_login
from flows.servers.environment import LOOPBACK, checkout_environment, free_port

REPOSITORY = Path(__file__).parents[2]
PLACED = ("pretrain", "sft", "reward", "judge", "rlhf", "evaluate")
SMOKE = "configs/smoke.yaml"
# By the preset's own lexicon, judge is handed over but trains nothing, and no log says where it was.
JUDGED = "evaluate.judge=reward_model"
# One core for each training, as two share a small machine.
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
LOGIN = read_login("hosts:as-nobody-else-does")


def own_address() -> str:
    """One of this machine that others reach it by; where it has none, its own."""
    found = [one.address for card in psutil.net_if_addrs().values() for one in card if one.family == AF_INET]
    return next((address for address in found if not is_loopback(address)), LOOPBACK)


@dataclass
class Hosts:
    """The two folders, and the addresses of what they share."""

    folder: Path
    prefect: str
    mlflow: str

    @property
    def cpu(self) -> Path:
        """Where the servers are, and flows run."""
        return self.folder / "cpu"

    @property
    def gpu(self) -> Path:
        """Where the device is."""
        return self.folder / "gpu"

    @property
    def changes(self) -> list[str]:
        """What makes a preset one of these hosts."""
        return [f"data.remote={self.folder / 'shared'}", "execution.gpu_work_pool=gpu"]

    def environment(self, root: Path) -> dict[str, str]:
        """Of a program at a host: that host's code, the password, and at the other host both addresses."""
        shared = {"PREFECT_API_URL": self.prefect, "MLFLOW_TRACKING_URI": self.mlflow}
        return {
            **checkout_environment(root), **THREADS, "CHATMILL_PASSWORD": LOGIN.text, "COLUMNS": "120",
            **(shared if root == self.gpu else {}),
        }  # fmt: skip

    def run(self, root: Path, *words: str, **settings: str) -> str:
        """What a program at a host says, with `settings` beside its environment.

        Raises RuntimeError where it fails.
        """
        environment = {**self.environment(root), **settings}
        done = subprocess.run(
            [sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout + done.stderr

    @contextmanager
    def up(self, root: Path, *words: str) -> Iterator[None]:
        """`chatmill up` at a host, for as long as the context lasts."""
        self.run(root, "-m", "flows.cli.main", "up", "--detach", *words)
        try:
            yield
        finally:
            self.run(root, "-m", "flows.cli.main", "down")


def _copy(target: Path) -> None:
    """A host's repository, as a clone has it: without data, and without anything that a run left."""
    target.mkdir()
    for name in ("flows", "tasks", "model", "configs", "tests"):
        shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, target / name)
    # A flow that hands over what trains needs no device itself; the stage that it hands over does. Nothing
    # runs by the clock.
    deployments = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    for one in deployments["deployments"]:
        one.pop("schedules", None)
        one["work_pool"]["name"] = "gpu" if one["name"] == "stage" else "cpu"
    (target / "prefect.yaml").write_text(yaml.safe_dump(deployments))


@contextmanager
def two_hosts(folder: Path, host: str = "") -> Iterator[Hosts]:
    """Both folders, `chatmill up` in each: servers that listen on `host`, and the workers of its pool."""
    ports = (free_port(), free_port())
    host = host or own_address()
    hosts = Hosts(folder, f"http://{host}:{ports[0]}/api", f"http://{host}:{ports[1]}")
    (folder / "shared").mkdir(parents=True)
    for root in (hosts.cpu, hosts.gpu):
        _copy(root)
    served = ("--host", host, "--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1]), "--no-label")
    with hosts.up(hosts.cpu, *served, "--pool", "cpu"), hosts.up(hosts.gpu, "--pool", "gpu", "--no-deploy"):
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
    return {path.parent.name for path in (root / "var" / "cache" / "artifacts").glob("*/*.log")}


def asked(hosts: Hosts) -> Any:
    """MLflow's server, as another host asks it; this process says the password from here on."""
    from mlflow import MlflowClient

    os.environ.update(LOGIN.client_environment)
    return MlflowClient(hosts.mlflow, hosts.mlflow)


def champion(hosts: Hosts) -> str:
    """The champion's version."""
    return str(asked(hosts).get_model_version_by_alias("smoke", "champion").version)


def chain(hosts: Hosts) -> None:
    """The whole chain: begun by the cpu pool's worker, trained at the other host, then run there too."""
    words = ("-m", "prefect", "deployment", "run", "--watch", "--watch-interval", "2")
    parameters = json.dumps({"config": SMOKE, "changes": [*hosts.changes, JUDGED]})
    began = time.monotonic()
    home = str(hosts.gpu / "var" / "prefect")
    words = (*words, "--params", parameters, "chatmill-nightly/nightly")
    hosts.run(hosts.gpu, *words, PREFECT_HOME=home, **LOGIN.client_environment)
    took = time.monotonic() - began
    for entry in summary(hosts.cpu)["stages"]:
        where = "gpu" if entry["name"] in logs(hosts.gpu) else "cpu"
        print(f"{entry['name']:<10} {entry['status']:<7} {where}  {entry['seconds']:6.1f} s")
    assert set(statuses(hosts.cpu).values()) == {"computed"}, statuses(hosts.cpu)
    assert logs(hosts.gpu) == set(PLACED) and not logs(hosts.cpu)
    print(f"the chain over two hosts: {took:.1f} s; the champion is version {champion(hosts)}")

    shutil.copy(hosts.cpu / "data.dvc", hosts.gpu / "data.dvc")
    began = time.monotonic()
    changes = [word for change in (*hosts.changes[:1], JUDGED) for word in ("--set", change)]
    hosts.run(hosts.gpu, "-m", "flows.cli.main", "run", "--config", SMOKE, *changes)
    assert set(statuses(hosts.gpu).values()) == {"cached"}, statuses(hosts.gpu)
    print(f"the same at the other host: {time.monotonic() - began:.1f} s, every stage reused")
    began = time.monotonic()
    changes = [word for change in (*hosts.changes, JUDGED) for word in ("--set", change)]
    hosts.run(hosts.cpu, "-m", "flows.cli.main", "run", "--config", SMOKE, *changes)
    assert set(statuses(hosts.cpu).values()) == {"cached"}, statuses(hosts.cpu)
    print(f"again at the first: {time.monotonic() - began:.1f} s, every stage reused, no worker asked")
    files = [path for path in (hosts.folder / "shared").rglob("*") if path.is_file()]
    print(f"at the remote: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")


def main() -> None:
    """The chain over two hosts, in a folder that goes afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="", help="the address that the servers listen on (this machine's)")
    host = parser.parse_args().host
    with tempfile.TemporaryDirectory(prefix="chatmill-hosts-") as scratch:
        try:
            with two_hosts(Path(scratch), host) as hosts:
                chain(hosts)
        except BaseException:
            for log in sorted(Path(scratch).glob("*/var/logs/*.log")):
                print(f"== {log}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main()
