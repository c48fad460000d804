"""Prefect's and MLflow's servers with their pages, as services."""

from __future__ import annotations

import secrets
import socket
import sys
from dataclasses import dataclass

import psutil

from flows.password import Login, is_loopback
from flows.protected import write_settings
from flows.services import Service
from flows.surroundings import LOOPBACK, Place, asked, listed, silent
from tasks.project_paths import LOGS, MLFLOW_FOLDER

EVERYWHERE = ("0.0.0.0", "::")
HOSTS, ORIGINS = "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
PREFECT_ORIGINS = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"


@dataclass(frozen=True)
class Where:
    """The address that a server listens on, and its port."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """As this machine reaches it."""
        return f"http://{self._with_port(LOOPBACK if self.host in EVERYWHERE else self.host)}"

    @property
    def names(self) -> list[str]:
        """NAME:PORT, by every name that a page or a program may rightly ask for it by."""
        if self.host in EVERYWHERE:
            found = [LOOPBACK, "localhost", "::1", socket.gethostname(), *_addresses()]
        else:
            found = [self.host, *(["localhost"] if is_loopback(self.host) else [])]
        return [self._with_port(name) for name in dict.fromkeys(found)]

    @property
    def origins(self) -> list[str]:
        """The same as a browser has it of its own page."""
        return [f"http://{name}" for name in self.names]

    def _with_port(self, host: str) -> str:
        name = f"[{host}]" if ":" in host else host
        return name if self.port == 80 else f"{name}:{self.port}"


def _addresses() -> list[str]:
    """Of this machine, without those that only its own network card knows."""
    families = (socket.AF_INET, socket.AF_INET6)
    every = [one for card in psutil.net_if_addrs().values() for one in card if one.family in families]
    return [one.address for one in every if "%" not in one.address]


def _deaf(address: str, login: Login | None) -> str:
    """Why a server does not answer to the password; empty where it does."""
    return silent(address) or ("" if asked(address, login) in (200, 404) else "it refuses the password")


def prefect_server(place: Place, where: Where) -> Service:
    """Prefect's server; its API stands at `/api` of its address."""
    api = f"{where.address}/api"
    login = place.login
    return Service(
        "Prefect",
        (
            sys.executable, "-m", "prefect", "server", "start",
            "--host", where.host, "--port", str(where.port),
        ),
        place.root / LOGS / "prefect-server.log",
        lambda: _deaf(api, login),
        "the flow's runs and what they said",
        where.address,
        {
            "PREFECT_API_URL": api,
            # Prefect takes any key of its logging's settings from there: this is the class of a formatter.
            "PREFECT_LOGGING_FORMATTERS_STANDARD_": "flows.redaction.Redacting",
            # The page asks the server that it came from, by whatever name that was reached.
            "PREFECT_UI_API_URL": "/api",
            # Else every page that is open in a browser here could ask it.
            PREFECT_ORIGINS: listed(PREFECT_ORIGINS, *where.origins),
            **(login.prefect_server if login else {}),
        },
    )  # fmt: skip


def mlflow_server(place: Place, where: Where) -> Service:
    """MLflow's server over the store that runs write into; files of runs go through it."""
    login = place.login
    # What experiments have that were made with a server that passed no files stays where it is.
    options = (
        "--host", where.host, "--port", str(where.port), "--workers", "1",
        "--artifacts-destination", (place.root / MLFLOW_FOLDER / "artifacts").as_uri(),
    )  # fmt: skip
    program = ("-m", "flows.protected", *options) if login else ("-m", "mlflow", "server", *options)
    return Service(
        "MLflow",
        (sys.executable, *program),
        place.root / LOGS / "mlflow-server.log",
        lambda: _deaf(where.address, login),
        # Its pages begin with another part of MLflow; no setting of the server changes that.
        "every stage's figures, files and models (under Model training)",
        where.address,
        {
            # The store's address may hold a password, which a command line would show.
            "MLFLOW_BACKEND_STORE_URI": place.mlflow,
            # MLflow's job runner is for judging traces by other models: two more processes that nothing
            # here asks for.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            HOSTS: listed(HOSTS, *where.names),
            ORIGINS: listed(ORIGINS, *where.origins),
            **(_protection(place, login) if login else {}),
        },
    )


def _protection(place: Place, login: Login) -> dict[str, str]:
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(write_settings(place.var, place.mlflow, login.user)),
        "MLFLOW_AUTH_ADMIN_USERNAME": login.user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": login.password,
        # It guards one form of MLflow's pages, for as long as the server runs.
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }
