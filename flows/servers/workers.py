"""Prefect's work pools and their workers: `cpu`, and `gpu` for stages that train."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from flows.common.yaml_reader import read_yaml_file
from flows.servers.credentials import CLIENT, GUARDED_SERVERS, PASSWORD_SETTING, without_secrets
from flows.servers.environment import Settings, read_credentials
from flows.servers.supervisor import Service
from model.errors import UserError
from tasks.common.link_check import is_present
from tasks.project.paths import LOGS

DEPLOYMENT_FILE = "prefect.yaml"

POOLS = {
    "cpu": "chatmill: runs without a device",
    "gpu": "chatmill: runs that train, one at a time a worker",
}
# A training that is asked to end writes a checkpoint first, which takes time.
_GRACE_SECONDS = 75.0
# The id at the end of a line of `nvidia-smi -L`.
_UUID = re.compile(r"\(UUID: ([\w/-]+)\)")
# What Prefect prints after the traceback of an error that it did not expect.
_NO_REASON = "An exception occurred."


def visible_devices() -> list[str]:
    """Return the CUDA devices that programs started here see, as named in CUDA_VISIBLE_DEVICES."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    said = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return read_device_list(said.stdout)


def read_device_list(listed: str) -> list[str]:
    """Return the devices of the output of `nvidia-smi -L`, as named in CUDA_VISIBLE_DEVICES.

    A GPU that is divided by MIG is not a device, but each of its slices is.
    """
    gpus: list[tuple[str, list[str]]] = []
    for line in listed.splitlines():
        found = _UUID.search(line)
        if line.startswith("GPU "):
            gpus.append((found[1] if found else "", []))
        elif found and line.lstrip().startswith("MIG ") and gpus:
            gpus[-1][1].append(found[1])
    if not any(slices for _, slices in gpus):
        return [str(number) for number in range(len(gpus))]
    # By id: CUDA does not number whole GPUs beside slices.
    return [name for gpu, slices in gpus for name in slices or [gpu]]


def build_workers(
    settings: Settings, api: str, mlflow: str, pools: tuple[str, ...], gpu_workers: int = 0
) -> list[Service]:
    """Return the workers: one for `cpu`, and for `gpu` one a device or `gpu_workers` that share the devices.

    Args:
        settings: The project's settings.
        api: The address of Prefect's API.
        mlflow: The address of MLflow's server; empty: runs open the store directly.
        pools: The pools to start workers for.
        gpu_workers: The number of workers of `gpu`; 0: one a device.
    """
    found = visible_devices()
    count = gpu_workers or max(1, len(found))
    reached = {
        "PREFECT_API_URL": api,
        **({"MLFLOW_TRACKING_URI": mlflow} if mlflow else {}),
        **worker_credentials(settings),
    }
    made = []
    if "cpu" in pools:
        shows = "runs without a device, any number at a time"
        made.append(_build_worker(settings, reached, "cpu", "cpu", 0, shows, None))
    for number in range(count if "gpu" in pools else 0):
        name = "gpu" if count == 1 else f"gpu-{number}"
        # Devices are dealt out in turn, so that each worker has at least one if there are enough.
        shared = found[number::count] if found else None
        on = f" on device {','.join(shared)}" if shared else ""
        if shared and shared[0].startswith("MIG-") and len(shared) > 1:
            # CUDA gives a process one slice.
            on = f" on device {shared[0]}, the first of {len(shared)}; --gpu-workers 0 uses all"
            shared = shared[:1]
        made.append(
            _build_worker(settings, reached, name, "gpu", 1, f"runs that train, one at a time{on}", shared)
        )
    return made


def worker_credentials(settings: Settings) -> dict[str, str]:
    """Return the credentials of a worker and its flows, each password with the servers that it is for."""
    found = {name: os.environ[name] for name in CLIENT if name in os.environ}
    login, trusted = read_credentials(settings.root)
    bound = {PASSWORD_SETTING: login.text, GUARDED_SERVERS: " ".join(sorted(trusted))} if trusted else {}
    return {**found, **bound}


def _build_worker(
    settings: Settings,
    reached: dict[str, str],
    name: str,
    pool: str,
    limit: int,
    shows: str,
    shared: list[str] | None,
) -> Service:
    known = f"{name}@{socket.gethostname()}"
    # A run of the cpu pool may wait for another of the same pool, so both must not count against one limit.
    limited = ("--limit", str(limit)) if limit else ()
    environment = dict(reached)
    if shared is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(shared)
    return Service(
        name,
        (
            sys.executable, "-m", "prefect", "worker", "start",
            "--pool", pool, "--type", "process", "--name", known, *limited,
        ),
        settings.root / LOGS / f"worker-{name}.log",
        lambda: _heartbeat_problem(pool, known),
        shows,
        environment=environment,
        grace=_GRACE_SECONDS,
    )  # fmt: skip


def make_pools() -> None:
    """Create the pools that Prefect's server does not have yet."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        known = {pool.name for pool in client.read_work_pools()}
        for name, description in POOLS.items():
            if name in known:
                continue
            pool = WorkPoolCreate(
                name=name, type="process", description=description, base_job_template=template
            )
            # Another process may have created it since.
            try:
                client.create_work_pool(pool)
            except ObjectAlreadyExists:
                continue


def _heartbeat_problem(pool: str, worker: str) -> str:
    """Return why Prefect's server has not heard of a worker; empty if it has."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for found in client.read_workers_for_work_pool(pool):
            if found.name == worker and found.status.value == "ONLINE":
                return ""
    return "Prefect's server does not list it"


def deploy_flows(settings: Settings, api: str, file: Path | None = None) -> str:
    """Make the deployments of a file (None: prefect.yaml); return why Prefect could not, or ""."""
    log = settings.root / LOGS / "deploy.log"
    environment = {**without_secrets(os.environ), **worker_credentials(settings)}
    named = ("--prefect-file", str(file)) if file else ()
    with log.open("wb") as said_to:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", *named],
            cwd=settings.root, stdin=subprocess.DEVNULL, stdout=said_to, stderr=said_to, check=False,
            env={**environment, "PREFECT_API_URL": api, "COLUMNS": "1000"},
        )  # fmt: skip
    if done.returncode == 0:
        return ""
    return f"{deploy_failure(log.read_text(errors='replace')) or f'code {done.returncode}'} ({log})"


def deploy_failure(log: str) -> str:
    """Return the reason at the end of a log of `prefect deploy`; empty if there is none."""
    # COLUMNS above keeps rich from wrapping the message, so its last line is the whole reason. After an
    # unexpected error that line gives no reason, and the end of the traceback before it does.
    said = [line.strip() for line in log.splitlines() if line.strip() not in ("", _NO_REASON)]
    return said[-1] if said else ""


def deployment_names(root: Path) -> list[str]:
    """Return the names in prefect.yaml; none if there is no such file. Raise UserError if it is not right."""
    if not is_present(root / DEPLOYMENT_FILE, DEPLOYMENT_FILE):
        return []
    return [str(one["name"]) for one in read_deployments(root)["deployments"]]


def deployed_presets(root: Path, file: Path | None = None) -> list[str]:
    """Return the presets that the deployments of a file (None: prefect.yaml) run, each once."""
    found = read_yaml_file(file) if file else read_deployments(root)
    named: list[str] = []
    for one in found["deployments"]:
        given = one.get("parameters") or {}
        named += [given["config"]] if given.get("config") else []
    return list(dict.fromkeys(named))


def explain_missing_trigger(root: Path, deployment: str, event: str) -> str:
    """Return that no trigger of a deployment in prefect.yaml expects an event, and what to do; else "".

    A file that a user has changed lacks what later versions of chatmill add. It is empty too if there is no
    such file or deployment: then nothing is meant to run by itself.
    """
    if deployment not in deployment_names(root):
        return ""
    [found] = [one for one in read_deployments(root)["deployments"] if one["name"] == deployment][:1]
    triggers = [one for one in found.get("triggers") or [] if isinstance(one, dict)]
    if any(event in (one.get("expect") or []) for one in triggers):
        return ""
    return (
        f"{DEPLOYMENT_FILE}: no trigger of the deployment {deployment} expects {event}, so it does not start "
        "by itself; docs/unattended.md has the lines to add, then start `chatmill up` again"
    )


def read_deployments(root: Path) -> dict[str, Any]:
    """Return the content of prefect.yaml. Raise UserError if it is missing or not right."""
    path = root / DEPLOYMENT_FILE
    if not is_present(path, DEPLOYMENT_FILE):
        raise UserError(
            f"{root} has no {DEPLOYMENT_FILE}, from which --config takes the deployments; run `chatmill up` "
            "in the project folder"
        )
    found = read_yaml_file(path)
    deployments = found.get("deployments") if isinstance(found, dict) else None
    if not isinstance(deployments, list) or not all(
        isinstance(one, dict) and "name" in one for one in deployments
    ):
        raise UserError(f"{path} has no list `deployments`, each with a name")
    return dict(found)
