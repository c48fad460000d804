"""What the environment says, and what it must say before Prefect and MLflow are imported. Read here alone."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from flows import password
from flows.database import SETTING, make_databases, read_database
from flows.password import Login, known_login, read_login
from flows.served import Served, read_served
from model.errors import UserError
from tasks.layout_migration import move_to_cache, moved_notice
from tasks.project_paths import MLFLOW_DATABASE, PREFECT_HOME, RECORDS

QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_CLI_PROMPT": "false",
    # Each try waits twice as long as the one before: a server may be away for four minutes.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "8",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "MPLBACKEND": "Agg",
}
WEBHOOK = "CHATMILL_WEBHOOK"
ANSWER_SECONDS = 5.0
# What `chatmill up` runs and was killed is started again within that time.
AGAIN_SECONDS = 45.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """The project's folder, and the addresses of MLflow and of Prefect's API (empty: it starts its own).

    `login` is asked for by the servers that are started here; None: they ask for none.
    """

    root: Path
    mlflow: str
    prefect: str
    login: Login | None = None

    @property
    def var(self) -> Path:
        """Everything that a run leaves behind."""
        return self.root / RECORDS


def prepare(root: Path, mlflow: str = "") -> Place:
    """Point Prefect and MLflow at the project's var/, quiet and without telemetry; what is set already stays.

    The Prefect server that `chatmill up` runs for this project is used where it runs, and MLflow's where
    other hosts reach it too; else Prefect starts its own for as long as the flow runs. Raises UserError for a
    server that does not answer or asks for another password, a database among them.
    """
    if moved := move_to_cache(root):
        print(moved_notice(moved), file=sys.stderr)
    home = root / PREFECT_HOME
    home.mkdir(parents=True, exist_ok=True)
    for name, value in {"PREFECT_HOME": str(home), **QUIET}.items():
        os.environ.setdefault(name, value)
    login = set_login()
    found = served(root)
    if "PREFECT_API_URL" not in os.environ and found:
        os.environ["PREFECT_API_URL"] = found.prefect
    prefect = os.environ.get("PREFECT_API_URL", "")
    kept = (found.mlflow if found else "") or _database() or f"sqlite:///{root / MLFLOW_DATABASE}"
    uri = mlflow or os.environ.get("MLFLOW_TRACKING_URI", "") or kept
    for name, address in (("MLflow", uri), ("Prefect", prefect)):
        if address.startswith("http"):
            _reach(name, address, AGAIN_SECONDS if _watched(root, address) else 0.0)
    return Place(root, uri, prefect, login)


def set_login() -> Login | None:
    """Have Prefect's and MLflow's clients say the password that is set; None: none is."""
    if not (text := os.environ.get(password.SETTING, "")):
        return None
    login = read_login(text)
    os.environ.update(login.client)
    return login


def _watched(root: Path, address: str) -> bool:
    """Whether `chatmill up` runs that server here."""
    found = read_served(root)
    processes = found.processes if found else ()
    return any(one.address and address.startswith(one.address) for one in processes)


def _reach(name: str, address: str, patience: float) -> None:
    """Raises UserError where a server does not answer in time, or not to what is said to it here."""
    where = shown(address)
    deadline = time.monotonic() + patience
    while failed := silent(address):
        if time.monotonic() < deadline:
            time.sleep(0.5)
            continue
        raise UserError(f"{name}'s server at {where} does not answer ({failed})")
    login = known_login(os.environ, address)
    code = asked(address, login)
    if code == 401:
        says = "refuses the user and password" if login else "asks for a password"
        raise UserError(
            f"{name}'s server at {where} {says}; set {password.SETTING}=USER:PASSWORD as it is there"
        )
    if code == 403:
        raise UserError(
            f"{name}'s server does not answer to the name in {where}; set MLFLOW_SERVER_ALLOWED_HOSTS there"
        )


def _database() -> str:
    """Have Prefect's server use the PostgreSQL that is set; MLflow's address in it. Empty: none is set."""
    if not (address := os.environ.get(SETTING, "")):
        return ""
    database = read_database(address)
    if database.password:
        # By the environment, so that no address that is passed on or shown holds it.
        os.environ["PGPASSWORD"] = database.password
    make_databases(database)
    os.environ.setdefault("PREFECT_SERVER_DATABASE_CONNECTION_URL", database.prefect)
    return database.mlflow


def served(root: Path) -> Served | None:
    """What `chatmill up` runs here; None where no Prefect server of it answers."""
    found = read_served(root)
    return found if found and found.prefect and not silent(found.prefect) else None


def silent(address: str) -> str:
    """Why a server's health page gives no answer; empty where it does. That page asks for no password."""
    try:
        with urllib.request.urlopen(f"{_bare(address)}/health", timeout=ANSWER_SECONDS):
            return ""
    except (OSError, ValueError, HTTPException) as error:
        return str(error) or type(error).__name__


def asked(address: str, login: Login | None) -> int:
    """The HTTP status of a real question to MLflow's server, or to Prefect's at `/api`; 0: no answer."""
    where = _bare(address)
    question = (
        "/admin/version" if where.endswith("/api") else "/api/2.0/mlflow/experiments/get?experiment_id=0"
    )
    headers = {"Authorization": login.header} if login else {}
    try:
        request = urllib.request.Request(f"{where}{question}", headers=headers)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError, HTTPException):
        return 0


def _bare(address: str) -> str:
    """An address without a user and a password in it, which would be shown where something fails."""
    scheme, found, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def shown(address: str) -> str:
    """A server's address as a person may see it: without a password."""
    where = urlsplit(address)
    port = where.port or (443 if where.scheme == "https" else 80)
    return f"{where.scheme}://{where.hostname}:{port}"


def listed(name: str, *values: str) -> str:
    """A setting that is a list, with these values in it beside what it holds already."""
    found = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
    return ",".join(dict.fromkeys([*found, *values]))


def unbound(host: str, port: int) -> str:
    """Why a server cannot listen there; empty where it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # A port that was given up a moment ago can be taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return f"{host} is not an address"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is in use"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine"
        return f"port {port} cannot be taken ({error.strerror})"
    return ""


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def webhook() -> str:
    """The address that messages go to, a secret; empty where none is set. Raises UserError for no address."""
    address = os.environ.get(WEBHOOK, "")
    if address and (urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname):
        raise UserError(f"{WEBHOOK} is no address; https://HOST/PATH is right")
    return address


def threads(processes: int = 1) -> str:
    """How many threads each of the training processes computes with: as is set, or the cores between them."""
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // processes))


def bare(root: Path, threads: str = "") -> dict[str, str]:
    """The environment for another checkout of the project at `root`: it keeps its own servers and records.

    Credentials of data stores and the like stay; `threads` (empty: as here) is what it computes with.
    """
    own = ("PREFECT_", "MLFLOW_", "PYTHON", "CHATMILL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, **({"OMP_NUM_THREADS": threads} if threads else {}), "PYTHONPATH": str(root)}
