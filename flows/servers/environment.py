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

from flows.common.project_folder import prepare_records
from flows.common.terminal import guard_logs
from flows.servers import credentials
from flows.servers.credentials import Credentials, known_login, origin, read_login, stored_login
from flows.servers.database import SETTING, make_databases, read_database
from flows.servers.state_file import Served, read_served
from model.errors import UserError
from tasks.backup.archive import finish_restore
from tasks.common.file_lock import CLOSED
from tasks.project.database_check import check_mlflow_database
from tasks.project.layout_migration import move_to_cache, moved_notice
from tasks.project.paths import MLFLOW_DATABASE, PREFECT_HOME, RECORDS

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
    # Prefect's client says the password to whatever answers at the end of a redirection: one try, and none.
    "WEBSOCKETS_MAX_REDIRECTS": "1",
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
_ANSWER_SECONDS = 5.0
# What `chatmill up` runs and was killed is started again within that time.
_AGAIN_SECONDS = 45.0
LOOPBACK = "127.0.0.1"
# What a server's guard is told: its settings, and the folder with the keys of logins.
GUARD, GUARD_SECRETS = "CHATMILL_GUARD", "CHATMILL_GUARD_SECRETS"
_OWN_SERVERS: list[str] = []


@dataclass(frozen=True)
class Settings:
    """The project's folder, and the addresses of MLflow and of Prefect's API (empty: it starts its own).

    `login` is asked for by the servers that are started here.
    """

    root: Path
    mlflow: str
    prefect: str
    login: Credentials

    @property
    def var(self) -> Path:
        """Everything that a run leaves behind."""
        return self.root / RECORDS


def prepare_environment(root: Path, mlflow: str = "") -> Settings:
    """Point Prefect and MLflow at the project's var/, quiet and without telemetry; what is set already stays.

    The Prefect server that `chatmill up` runs for this project is used where it runs, and MLflow's where
    other hosts reach it too; else Prefect starts its own for as long as the flow runs. Raises UserError for a
    server that does not answer or asks for another password, a database among them.
    """
    guard_logs()
    prepare_records(root)
    if moved := move_to_cache(root):
        print(moved_notice(moved), file=sys.stderr)
    finish_restore(root)
    home = root / PREFECT_HOME
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # Who may only read asks for what is recorded; who runs something is told by what cannot be written.
        if error.errno not in CLOSED:
            raise
    for name, value in {"PREFECT_HOME": str(home), **QUIET}.items():
        os.environ.setdefault(name, value)
    login, trusted = read_credentials(root)
    # The module of now: a snapshot of the sources has a state of its own.
    from tasks.tracking.artifact_hosts import trust_servers

    trust_servers([*trusted, *os.environ.get(credentials.SERVERS, "").split()])
    found = find_running_services(root)
    if "PREFECT_API_URL" not in os.environ and found:
        os.environ["PREFECT_API_URL"] = found.prefect
    prefect = os.environ.get("PREFECT_API_URL", "")
    kept = (found.mlflow if found else "") or _configure_database() or f"sqlite:///{root / MLFLOW_DATABASE}"
    uri = mlflow or os.environ.get("MLFLOW_TRACKING_URI", "") or kept
    if uri == f"sqlite:///{root / MLFLOW_DATABASE}":
        check_mlflow_database(root)
    give_prefect(login if origin(prefect) in trusted else None)
    _give_mlflow(login if origin(uri) in trusted else None, uri)
    for name, address in (("MLflow", uri), ("Prefect", prefect)):
        if address.startswith("http"):
            _wait_for_server(name, address, _AGAIN_SECONDS if _is_supervised(root, address) else 0.0)
    return Settings(root, uri, prefect, login)


def read_credentials(root: Path) -> tuple[Credentials, frozenset[str]]:
    """Return the password of this project's servers, and the origins of the servers that it may be sent to.

    The one in CHATMILL_PASSWORD is for the servers that CHATMILL_SERVERS names beside it, or else
    PREFECT_API_URL and MLFLOW_TRACKING_URI. The one that the project made for itself is for the servers alone
    that `chatmill up` runs here. An address that only a preset names gets neither: presets are shared.
    """
    found = read_served(root)
    here = [*_OWN_SERVERS, *(one.address for one in (found.processes if found else ()) if one.address)]
    if text := os.environ.get(credentials.SETTING, ""):
        login = read_login(text)
        named = os.environ.get(credentials.SERVERS, "").split() or [
            os.environ.get(name, "") for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
        ]
        return login, frozenset(map(origin, [*here, *named])) - {""}
    return stored_login(root), frozenset(map(origin, here)) - {""}


def trust_server(address: str) -> None:
    """Have `read_credentials` trust a server that this process started itself."""
    _OWN_SERVERS.append(address)


def give_prefect(login: Credentials | None) -> None:
    """Have Prefect's clients say a password; None: what the environment holds beside its address.

    The address of Prefect's server comes from the environment alone, or is that of this project's own.
    """
    if login:
        os.environ[credentials.PREFECT] = login.text


def _give_mlflow(login: Credentials | None, address: str) -> None:
    """Have MLflow's clients say a password to the server at an address; None: it is not one of this project.

    Then they say what the environment holds beside the same address, and nothing to any other.
    """
    if login:
        os.environ[credentials.MLFLOW_USER], os.environ[credentials.MLFLOW_PASSWORD] = (
            login.user,
            login.password,
        )
        return
    named = origin(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if not address.startswith("http") or origin(address) == named:
        return
    for name in (credentials.MLFLOW_USER, credentials.MLFLOW_PASSWORD, credentials.MLFLOW_TOKEN):
        os.environ.pop(name, None)
    # MLflow's client sends what this file holds to every server.
    if (Path.home() / ".mlflow" / "credentials").exists():
        raise UserError(
            f"tracking.mlflow is {display_address(address)}, and ~/.mlflow/credentials holds a "
            f"password that MLflow "
            "would send there; set MLFLOW_TRACKING_URI to that address if it is for that server"
        )


def _is_supervised(root: Path, address: str) -> bool:
    """Whether `chatmill up` runs that server here."""
    found = read_served(root)
    processes = found.processes if found else ()
    return any(one.address and address.startswith(one.address) for one in processes)


def _wait_for_server(name: str, address: str, patience: float) -> None:
    """Raises UserError where a server does not answer in time, or not to what is said to it here."""
    where = display_address(address)
    deadline = time.monotonic() + patience
    while failed := health_problem(address):
        if time.monotonic() < deadline:
            time.sleep(0.5)
            continue
        raise UserError(f"{name}'s server at {where} does not answer ({failed})")
    login = known_login(os.environ, address)
    code = query_status(address, login)
    if code == 401:
        says = "refuses the user and password" if login else "asks for a password"
        variable = "MLFLOW_TRACKING_URI" if name == "MLflow" else "PREFECT_API_URL"
        beside = "" if os.environ.get(variable) else f", and {variable} to its address"
        raise UserError(
            f"{name}'s server at {where} {says}; set {credentials.SETTING}=USER:PASSWORD as it "
            f"is there{beside}"
        )
    if code == 403:
        raise UserError(
            f"{name}'s server does not answer to the name in {where}; start it with `chatmill up --host` and "
            "that name, or set MLFLOW_SERVER_ALLOWED_HOSTS there"
        )


def _configure_database() -> str:
    """Have Prefect's server use the PostgreSQL that is set; MLflow's address in it. Empty: none is set."""
    if not (address := os.environ.get(SETTING, "")):
        return ""
    database = read_database(address)
    if database.password:
        # By the environment, so that no address that is passed on or shown holds it.
        os.environ["PGPASSWORD"] = database.password
    make_databases(database)
    os.environ.setdefault("PREFECT_SERVER_DATABASE_CONNECTION_URL", database.prefect_url)
    return database.mlflow_url


def find_running_services(root: Path) -> Served | None:
    """What `chatmill up` runs here; None where no Prefect server of it answers."""
    found = read_served(root)
    return found if found and found.prefect and not health_problem(found.prefect) else None


def health_problem(address: str) -> str:
    """Why a server's health page gives no answer; empty where it does. That page asks for no password."""
    try:
        with urllib.request.urlopen(f"{_strip_credentials(address)}/health", timeout=_ANSWER_SECONDS):
            return ""
    except (OSError, ValueError, HTTPException) as error:
        return str(error) or type(error).__name__


def query_status(address: str, login: Credentials | None) -> int:
    """The HTTP status of a real question to MLflow's server, or to Prefect's at `/api`; 0: no answer."""
    where = _strip_credentials(address)
    question = (
        "/admin/version" if where.endswith("/api") else "/api/2.0/mlflow/experiments/get?experiment_id=0"
    )
    headers = {"Authorization": login.header} if login else {}
    try:
        request = urllib.request.Request(f"{where}{question}", headers=headers)
        with _ASKING.open(request, timeout=_ANSWER_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError, HTTPException):
        return 0


class _Unredirected(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, which would take the password to another server."""

    def redirect_request(self, *_: object) -> None:
        """Leave the answer as it is."""


_ASKING = urllib.request.build_opener(_Unredirected)


def _strip_credentials(address: str) -> str:
    """An address without a user and a password in it, which would be shown where something fails."""
    scheme, found, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def display_address(address: str) -> str:
    """A server's address as a person may see it: without a password."""
    where = urlsplit(address)
    port = where.port or (443 if where.scheme == "https" else 80)
    return f"{where.scheme}://{where.hostname}:{port}"


def merged_list(name: str, *values: str) -> str:
    """A setting that is a list, with these values in it beside what it holds already."""
    found = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
    return ",".join(dict.fromkeys([*found, *values]))


def bind_problem(host: str, port: int) -> str:
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


def guard_environment() -> tuple[str, str, Credentials]:
    """Return what `up` tells the server that is this process: the guard's settings, its folder, the login."""
    text = os.environ.get("PREFECT_SERVER_API_AUTH_STRING") or ":".join(
        os.environ[name] for name in ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD")
    )
    return os.environ[GUARD], os.environ[GUARD_SECRETS], read_login(text)


def webhook_url() -> str:
    """The address that messages go to, a secret; empty where none is set. Raises UserError for no address."""
    address = os.environ.get(WEBHOOK, "")
    if address and (urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname):
        raise UserError(f"{WEBHOOK} is no address; https://HOST/PATH is right")
    return address


def thread_count(processes: int = 1) -> str:
    """How many threads each of the training processes computes with: as is set, or the cores between them."""
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // processes))


def checkout_environment(root: Path, threads: str = "") -> dict[str, str]:
    """The environment for another checkout of the project at `root`: it keeps its own servers and records.

    Credentials of data stores and the like stay; `thread_count` (empty: as here) is what it computes with.
    """
    own = ("PREFECT_", "MLFLOW_", "PYTHON", "CHATMILL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, **({"OMP_NUM_THREADS": threads} if threads else {}), "PYTHONPATH": str(root)}
