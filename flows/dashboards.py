"""Prefect's and MLflow's own pages, started and stopped together, for this machine alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flows.surroundings import LOOPBACK, Place, listening, marker, prepare, silent
from model.errors import UserError

STARTING_SECONDS = 90.0
GRACE_SECONDS = 8.0


@dataclass(frozen=True)
class Page:
    """A server's own page: its address, the address that answers when it is up, and what starts it."""

    name: str
    address: str
    health: str
    shows: str
    command: tuple[str, ...]


def serve(root: Path, prefect_port: int, mlflow_port: int) -> None:
    """Serve both until Ctrl-C; one that is set to a server elsewhere is named and not started.

    Raises UserError for a port that is taken.
    """
    place = prepare(root)
    console = Console(highlight=False)
    pages = [_prefect(prefect_port), _mlflow(place, mlflow_port)]
    for page, port, elsewhere in zip(
        pages, (prefect_port, mlflow_port), (place.prefect, place.mlflow), strict=True
    ):
        if elsewhere.startswith("http"):
            console.print(f"[bold]{page.name:<8}[/bold] {elsewhere}   is set; nothing is started")
            pages = [other for other in pages if other is not page]
        elif listening(port):
            raise UserError(
                f"port {port} is in use; `chatmill dashboards --{page.name.lower()}-port` takes another one"
            )
    if not pages:
        return
    running: list[subprocess.Popen[bytes]] = []
    try:
        logs = {page.name: place.var / "logs" / f"{page.name.lower()}-server.log" for page in pages}
        running = [_start(page, logs[page.name]) for page in pages]
        for page, process in zip(pages, running, strict=True):
            with console.status(f"{page.name} is starting"):
                _wait(page, process, logs[page.name])
            console.print(f"[bold]{page.name:<8}[/bold] {page.address}   {page.shows}")
        if pages[0].name == "Prefect":
            marker(root).write_text(pages[0].health.removesuffix("/health"))
        console.print("[dim]Ctrl-C stops them. Runs that start meanwhile use these servers.[/dim]")
        while all(process.poll() is None for process in running):
            time.sleep(0.5)
        raise RuntimeError(f"a server ended by itself; {place.var / 'logs'} says why")
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        # A second Ctrl-C would leave servers behind that are still ending.
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.SIG_IGN)
        # Where Prefect's server is somebody else's, the file that names it is too.
        if pages[0].name == "Prefect":
            marker(root).unlink(missing_ok=True)
        for process in running:
            _stop(process)


def _prefect(port: int) -> Page:
    address = f"http://{LOOPBACK}:{port}"
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port))
    return Page("Prefect", address, f"{address}/api/health", "the flow's runs and what they said", command)


def _mlflow(place: Place, port: int) -> Page:
    address = f"http://{LOOPBACK}:{port}"
    artifacts = (place.var / "mlflow" / "artifacts").as_uri()
    command = (
        sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        "--backend-store-uri", place.mlflow, "--default-artifact-root", artifacts,
    )  # fmt: skip
    return Page("MLflow", address, f"{address}/health", "every stage's figures, files and models", command)


def _start(page: Page, log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    api = page.health.removesuffix("/health")
    environment = dict(os.environ)
    if page.name == "Prefect":
        environment |= {"PREFECT_API_URL": api, "PREFECT_UI_API_URL": api}
    with log.open("wb") as file:
        return subprocess.Popen(
            page.command, stdout=file, stderr=file, env=environment, start_new_session=True
        )


def _wait(page: Page, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if not silent(page.health.removesuffix("/health")):
            return
        time.sleep(0.3)
    raise RuntimeError(f"{page.name}'s server did not start; {log} says why")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, sign)
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
