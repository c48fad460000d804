"""Prefect's and MLflow's own pages, started and stopped together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from rich.console import Console

from flows.surroundings import listening, prepare
from model.errors import UserError

STARTING_SECONDS = 90.0


def serve(root: Path, host: str, prefect_port: int, mlflow_port: int) -> None:
    """Serve both until Ctrl-C. Raises UserError where a port is taken."""
    for name, port in (("prefect", prefect_port), ("mlflow", mlflow_port)):
        if listening(port):
            raise UserError(f"port {port} is in use; give another one with --{name}-port")
    place = prepare(root)
    console = Console(highlight=False)
    home = root / "var" / "prefect"
    api = f"http://{host}:{prefect_port}/api"
    environment = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_UI_API_URL": api,
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    mlflow = [
        "--backend-store-uri",
        place.mlflow,
        "--default-artifact-root",
        (root / "var" / "mlflow").as_uri(),
    ]
    commands = {
        "Prefect": [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            host,
            "--port",
            str(prefect_port),
        ],
        "MLflow": [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            host,
            "--port",
            str(mlflow_port),
            *mlflow,
        ],
    }
    pages = {
        "Prefect": (
            f"http://{host}:{prefect_port}",
            "/api/health",
            "the flow's runs and the tables they left",
        ),
        "MLflow": (f"http://{host}:{mlflow_port}", "/health", "every stage's figures, files and models"),
    }
    logs = root / "var" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    running: dict[str, subprocess.Popen[bytes]] = {}
    marker = home / "served"
    try:
        for name, command in commands.items():
            with (logs / f"{name.lower()}-server.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    command, stdout=log, stderr=log, env=environment, start_new_session=True
                )
        for name, (address, health, what) in pages.items():
            with console.status(f"{name} is starting"):
                _wait(name, address + health, running[name], logs)
            console.print(f"[bold]{name:<8}[/bold] {address}   {what}")
        marker.touch()
        console.print("[dim]Ctrl-C stops both. Runs started meanwhile use these servers.[/dim]")
        while all(process.poll() is None for process in running.values()):
            time.sleep(0.5)
        ended = next(name for name, process in running.items() if process.poll() is not None)
        raise RuntimeError(f"{ended}'s server ended by itself; see {logs}")
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        marker.unlink(missing_ok=True)
        for process in running.values():
            _stop(process)


def _wait(name: str, address: str, process: subprocess.Popen[bytes], logs: Path) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{name}'s server did not start; see {logs / f'{name.lower()}-server.log'}")
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"{name}'s server did not answer within {STARTING_SECONDS:.0f} s; see {logs}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    import signal

    for sign, grace in ((signal.SIGTERM, 8.0), (signal.SIGKILL, 5.0)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            continue
