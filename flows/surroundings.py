"""What the environment says, and what it must say before Prefect and MLflow are imported. Read here alone."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """The project's folder, and the addresses of the two servers (empty: embedded)."""

    root: Path
    mlflow: str
    prefect: str


def prepare(root: Path, mlflow: str = "") -> Place:
    """Point Prefect and MLflow at the project's var/, quiet, without telemetry; a server set outside is kept.

    A Prefect server that runs on this machine's usual port and serves this project is used; else Prefect
    starts its own for as long as the flow runs.
    """
    home = root / "var" / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    quiet = {
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "MPLBACKEND": "Agg",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    served = home / "served"
    if "PREFECT_API_URL" not in os.environ and served.exists() and listening(PREFECT_PORT):
        os.environ["PREFECT_API_URL"] = f"http://{LOOPBACK}:{PREFECT_PORT}/api"
    uri = mlflow or os.environ.get("MLFLOW_TRACKING_URI", "") or f"sqlite:///{root / 'var' / 'mlflow.db'}"
    return Place(root, uri, os.environ.get("PREFECT_API_URL", ""))


def listening(port: int) -> bool:
    """Whether something answers on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0


@dataclass(frozen=True)
class Code:
    """The state of the code: its commit, and what differs from it. Empty where there is no git."""

    commit: str
    diff: str


def code_state(root: Path) -> Code:
    """Of the repository that holds the project."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            return ""
        return done.stdout if done.returncode == 0 else ""

    return Code(git("rev-parse", "HEAD").strip(), git("diff", "HEAD"))
