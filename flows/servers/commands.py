"""The commands and environments of Prefect's and MLflow's servers, and of the label page."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.servers.credentials import Credentials, is_loopback
from flows.servers.environment import (
    GUARD,
    GUARD_SECRETS,
    LOOPBACK,
    Settings,
    health_problem,
    merged_list,
    query_status,
)
from flows.servers.mlflow_auth import write_settings
from flows.servers.request_guard import GuardSettings
from flows.servers.supervisor import Service
from model.errors import UserError
from tasks.project.paths import LOGS, MLFLOW_FOLDER, SECRETS

# The label page's name among the services.
LABEL_PAGE = "Label"
LABEL_PORT = 4300
EVERYWHERE = ("0.0.0.0", "::")
HOSTS, ORIGINS = "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
PREFECT_ORIGINS = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
# Limits the growth of Prefect's database, unless the environment says otherwise: ended runs are deleted after
# 30 days, with their logs and pages, and events after two.
RETENTION = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86_400),
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
}


@dataclass(frozen=True)
class ListenAddress:
    """The address and port that a server listens on."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """Return the server's address as this machine reaches it."""
        return f"http://{self._with_port(LOOPBACK if self.host in EVERYWHERE else self.host)}"

    @property
    def allowed_hosts(self) -> list[str]:
        """Return every name by which a page or program may ask for it, IPv6 addresses in brackets."""
        if self.host in EVERYWHERE:
            found = [LOOPBACK, "localhost", "::1", socket.gethostname(), *_network_addresses()]
        else:
            found = [self.host, *(["localhost"] if is_loopback(self.host) else [])]
        # A browser writes the name in lower case in the Host header.
        found = [each for name in found for each in (name, name.lower())]
        return [f"[{name}]" if ":" in name else name for name in dict.fromkeys(found)]

    @property
    def host_names(self) -> list[str]:
        """Return the allowed hosts with the port, as in a Host header."""
        return [name if self.port == 80 else f"{name}:{self.port}" for name in self.allowed_hosts]

    @property
    def allowed_origins(self) -> list[str]:
        """Return the origins of the server's own pages."""
        return [f"http://{name}" for name in self.host_names]

    def _with_port(self, host: str) -> str:
        name = f"[{host}]" if ":" in host else host
        return name if self.port == 80 else f"{name}:{self.port}"


def _network_addresses() -> list[str]:
    """Return this machine's addresses without link-local ones, which need the name of a network card."""
    families = (socket.AF_INET, socket.AF_INET6)
    every = [one for card in psutil.net_if_addrs().values() for one in card if one.family in families]
    return [one.address for one in every if "%" not in one.address]


def _check_password(address: str, login: Credentials | None) -> str:
    """Return why a server does not answer to the password; empty if it does."""
    return health_problem(address) or (
        "" if query_status(address, login) in (200, 404) else "it rejects the password"
    )


def prefect_server(settings: Settings, where: ListenAddress, mlflow: ListenAddress | None = None) -> Service:
    """Return Prefect's server as a service; its API is at `/api`. `mlflow` is where MLflow's server is."""
    api = f"{where.address}/api"
    login = settings.login
    return Service(
        "Prefect",
        prefect_command(where.host, where.port),
        settings.root / LOGS / "prefect-server.log",
        lambda: _check_password(api, login),
        "flow runs and their logs",
        where.address,
        {
            "PREFECT_API_URL": api,
            # Prefect reads every key of its logging configuration from the environment; this is a formatter's
            # class.
            "PREFECT_LOGGING_FORMATTERS_STANDARD_": "flows.servers.log_redaction.RedactingFormatter",
            # A relative address: the page then asks the server that it came from, by whatever name it was
            # reached.
            "PREFECT_UI_API_URL": "/api",
            **{name: os.environ.get(name, value) for name, value in RETENTION.items()},
            PREFECT_ORIGINS: merged_list(PREFECT_ORIGINS, *where.allowed_origins),
            **login.prefect_server,
            **_guard_environment(
                settings.root, where, _page_links(where, mlflow), stores_login=True, then=mlflow
            ),
        },
    )


def prefect_command(host: str, port: int) -> tuple[str, ...]:
    """Return the command of a Prefect server behind the request guard."""
    return (
        sys.executable, "-m", "uvicorn", "--factory", "flows.servers.guarded_apps:prefect_app",
        "--host", host, "--port", str(port), "--log-level", "error", "--lifespan", "on",
    )  # fmt: skip


def mlflow_server(settings: Settings, where: ListenAddress, prefect: ListenAddress | None = None) -> Service:
    """Return MLflow's server as a service. It uses the store of the runs, and their files go through it."""
    login = settings.login
    # Experiments made with a server that did not proxy artifacts keep their old location.
    options = (
        "--host", where.host, "--port", str(where.port), "--workers", "1",
        "--artifacts-destination", (settings.root / MLFLOW_FOLDER / "artifacts").as_uri(),
    )  # fmt: skip
    return Service(
        "MLflow",
        (sys.executable, "-m", "flows.servers.mlflow_auth", *options),
        settings.root / LOGS / "mlflow-server.log",
        lambda: _check_password(where.address, login),
        # MLflow's first page is another part of it, and no setting of the server changes that.
        "metrics, files and models of every stage (under Model training)",
        where.address,
        {
            # In the environment: the store's address may hold a password, which a command line would show.
            "MLFLOW_BACKEND_STORE_URI": settings.mlflow,
            # MLflow's job runner judges traces by other models: two more processes that nothing here uses.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            # The guard has already checked the host, with whatever port a tunnel gives it.
            HOSTS: merged_list(
                HOSTS, *where.allowed_hosts, *(f"{_host_pattern(name)}:*" for name in where.allowed_hosts)
            ),
            ORIGINS: merged_list(ORIGINS, *where.allowed_origins),
            **_protection_options(settings, login),
            **_guard_environment(settings.root, where, _page_links(prefect, where)),
        },
    )


def label_server(root: Path, where: ListenAddress) -> Service:
    """Return the label page as a service. It has people and passwords of its own."""
    return Service(
        LABEL_PAGE,
        (
            sys.executable, "-m", "uvicorn", "--factory", "flows.servers.guarded_apps:label_app",
            "--host", where.host, "--port", str(where.port), "--log-level", "warning", "--no-access-log",
            # Forwarded headers could give each attempt to sign in an address of its own.
            "--no-proxy-headers", "--no-server-header",
        ),
        root / LOGS / "label-page.log",
        lambda: health_problem(where.address),
        "people compare answers; `chatmill people add NAME` prints a link",
        where.address,
        _guard_environment(root, where, ()),
    )  # fmt: skip


def _page_links(prefect: ListenAddress | None, mlflow: ListenAddress | None) -> tuple[tuple[str, int], ...]:
    return tuple((name, at.port) for name, at in (("Prefect", prefect), ("MLflow", mlflow)) if at)


def _host_pattern(name: str) -> str:
    """Return a host as MLflow compares it with a following `*`. A bracket is escaped, as it begins a set."""
    return name.replace("[", "[[]", 1)


def _guard_environment(
    root: Path,
    where: ListenAddress,
    pages: tuple[tuple[str, int], ...],
    stores_login: bool = False,
    then: ListenAddress | None = None,
) -> dict[str, str]:
    """Return the environment of a server's request guard: the names and pages that may ask it."""
    origins = [one for name in (ORIGINS, PREFECT_ORIGINS) for one in _parse_list_setting(name)]
    hosts = [_host_name(one) for one in (*where.allowed_hosts, *_parse_list_setting(HOSTS))]
    hosts += [_host_name(one.partition("://")[2]) for one in origins]
    guard = GuardSettings(
        tuple(dict.fromkeys(filter(None, hosts))),
        tuple(origins),
        stores_login,
        then.port if then else 0,
        pages,
    )
    return {GUARD: guard.dump(), GUARD_SECRETS: str(root / SECRETS)}


def _parse_list_setting(setting: str) -> list[str]:
    """Return the entries of a list setting. Raise UserError for `*`, which would allow every page."""
    found = [part.strip() for part in os.environ.get(setting, "").split(",") if part.strip()]
    if "*" in found:
        raise UserError(f"{setting} is *, which allows requests from every web page; list the allowed names")
    return found


def _host_name(host: str) -> str:
    """Return a listed host without its port, as the guard compares it."""
    bare = host.strip().lower()
    if bare.startswith("["):
        return bare[1:].partition("]")[0]
    return bare.rpartition(":")[0] if bare.count(":") == 1 else bare


def own_guard(settings: Settings) -> dict[str, str]:
    """Return the environment of the guard of a Prefect server that a run starts for itself."""
    return _guard_environment(settings.root, ListenAddress(LOOPBACK, 0), ())


def _protection_options(settings: Settings, login: Credentials) -> dict[str, str]:
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(write_settings(settings.var, settings.mlflow, login.user)),
        "MLFLOW_AUTH_ADMIN_USERNAME": login.user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": login.password,
        # The key protects one form on MLflow's pages; it needs to last only as long as the server.
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }
