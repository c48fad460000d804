"""Prefect's and MLflow's servers with their pages, as services."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from flows.services import Service
from flows.surroundings import LOOPBACK, Place, silent

EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Where:
    """The address that a server listens on, and its port."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """As this machine reaches it."""
        host = LOOPBACK if self.host in EVERYWHERE else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def prefect_server(place: Place, where: Where) -> Service:
    """Prefect's server; its API stands at `/api` of its address."""
    api = f"{where.address}/api"
    return Service(
        "Prefect",
        (
            sys.executable, "-m", "prefect", "server", "start",
            "--host", where.host, "--port", str(where.port),
        ),
        place.var / "logs" / "prefect-server.log",
        lambda: silent(api),
        "the flow's runs and what they said",
        where.address,
        # The page asks the server that it came from, by whatever name that was reached.
        {"PREFECT_API_URL": api, "PREFECT_UI_API_URL": "/api"},
    )  # fmt: skip


def mlflow_server(place: Place, where: Where) -> Service:
    """MLflow's server over the store that runs write into."""
    return Service(
        "MLflow",
        (
            sys.executable, "-m", "mlflow", "server", "--host", where.host, "--port", str(where.port),
            "--workers", "1", "--default-artifact-root", (place.var / "mlflow" / "artifacts").as_uri(),
        ),
        place.var / "logs" / "mlflow-server.log",
        lambda: silent(where.address),
        "every stage's figures, files and models",
        where.address,
        # The store's address may hold a password, which a command line would show. MLflow's job runner
        # is for judging traces by other models: two more processes that nothing here asks for.
        {"MLFLOW_BACKEND_STORE_URI": place.mlflow, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip
