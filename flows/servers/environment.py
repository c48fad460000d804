"""The environment of Prefect and MLflow, set before both are imported."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from flows.common.project_folder import prepare_records
from flows.common.terminal import guard_logs
from flows.servers import credentials
from flows.servers.address_check import check_mlflow_address, check_prefect_address
from flows.servers.credentials import Credentials, known_login, origin, read_login, stored_login
from flows.servers.database import DATABASE_SETTING, PREFECT_DATABASE_SETTING, make_databases, read_database
from flows.servers.process_settings import LOOPBACK_ADDRESSES, bypass_proxy, name_unknown_user
from flows.servers.state_file import Served, read_served
from model.errors import UserError, error_reason
from model.file_guard import refuse_special_files
from tasks.backup.restore import finish_restore
from tasks.common.file_lock import CLOSED
from tasks.project.database_check import check_mlflow_database
from tasks.project.dry_run import may_write, temporary_folder
from tasks.project.layout_migration import move_to_cache, moved_notice
from tasks.project.paths import MLFLOW_DATABASE, PREFECT_HOME, RECORDS

QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # Prefect's threads have a handler of their own: each event that a stopped server missed was a screenful.
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_CLI_PROMPT": "false",
    # Each retry waits twice as long as the one before: a server may be away for four minutes.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "8",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # Prefect's client would send the password to the target of a redirection. 1 means one try, so none is
    # followed.
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
# A killed server of `chatmill up` is started again within this time.
_AGAIN_SECONDS = 45.0
LOOPBACK = "127.0.0.1"
# The settings of a server's guard, and the folder with the keys of sessions.
GUARD, GUARD_SECRETS = "CHATMILL_GUARD", "CHATMILL_GUARD_SECRETS"
# The id of the process that starts MLflow's application, which ends with it.
SERVER_PARENT = "CHATMILL_SERVER_PARENT"
# The address of a server that lasts no longer than the command which started it.
TEMPORARY_PREFECT = "CHATMILL_TEMPORARY_PREFECT"
_OWN_SERVERS: list[str] = []


@dataclass(frozen=True)
class Settings:
    """The project's folder, and the addresses of MLflow and of Prefect's API (empty: Prefect starts its own).

    `login` is the password that servers started here ask for.
    """

    root: Path
    mlflow: str
    prefect: str
    login: Credentials

    @property
    def var(self) -> Path:
        """Return the folder of all records and caches."""
        return self.root / RECORDS


def prepare_environment(root: Path, mlflow: str = "") -> Settings:
    """Point Prefect and MLflow at the project's var/, quiet and without telemetry; keep what is set already.

    The servers of `chatmill up` are used if they run for this project (MLflow's if it serves other hosts
    too). Otherwise Prefect starts its own server for as long as the flow runs.

    Args:
        root: The project's folder.
        mlflow: The preset's address of MLflow; empty: the environment's or the project's own.

    Raises:
        UserError: A server or database is unreachable, or asks for another password.
    """
    return prepare_mlflow(prepare_prefect(root), mlflow)


def prepare_prefect(root: Path) -> Settings:
    """Do what `prepare_environment` does before the preset is known; MLflow's address is the default one."""
    refuse_special_files()
    guard_logs()
    name_unknown_user(root)
    prepare_records(root)
    if moved := move_to_cache(root):
        print(moved_notice(moved), file=sys.stderr)
    if completed := finish_restore(root):
        print(completed, file=sys.stderr)
    home = root / PREFECT_HOME
    try:
        if may_write():
            home.mkdir(parents=True, exist_ok=True)
        elif not home.is_dir():
            # Prefect creates its folder when it is imported.
            home = temporary_folder()
    except OSError as error:
        # A user who may only read looks at records; one who runs something gets the error at what cannot be
        # written.
        if error.errno not in CLOSED:
            raise
    for name, value in {"PREFECT_HOME": str(home), **QUIET}.items():
        # setdefault: what a user has set is kept.
        os.environ.setdefault(name, value)
    login, trusted = read_credentials(root)
    bypass_proxy(*LOOPBACK_ADDRESSES)
    if served := read_served(root):
        bypass_proxy(*(one.address for one in served.processes))
    found = find_running_services(root)
    if "PREFECT_API_URL" not in os.environ and found:
        os.environ["PREFECT_API_URL"] = found.prefect
    if prefect := os.environ.get("PREFECT_API_URL", ""):
        check_prefect_address(prefect)
    kept = (found.mlflow if found else "") or configure_database(root)
    kept = kept or f"sqlite:///{root / MLFLOW_DATABASE}"
    give_prefect(login if origin(prefect) in trusted else None)
    _wait_for_server("Prefect", root, prefect)
    return Settings(root, os.environ.get("MLFLOW_TRACKING_URI", "") or kept, prefect, login)


def prepare_mlflow(settings: Settings, mlflow: str) -> Settings:
    """Do the rest of `prepare_environment`: return the settings with MLflow's address, which is checked.

    Args:
        settings: Those of `prepare_prefect`.
        mlflow: The preset's address of MLflow; empty: that of the settings.
    """
    root, uri = settings.root, mlflow or settings.mlflow
    login, trusted = read_credentials(root)
    # Imported late: a snapshot of the sources has its own copy of this module, with its own state.
    from tasks.tracking.artifact_hosts import trust_servers

    trust_servers([*trusted, *os.environ.get(credentials.GUARDED_SERVERS, "").split()])
    check_mlflow_address(uri, "tracking.mlflow" if mlflow else "MLFLOW_TRACKING_URI")
    if uri == f"sqlite:///{root / MLFLOW_DATABASE}":
        check_mlflow_database(root)
    _give_mlflow(login if origin(uri) in trusted else None, uri)
    _wait_for_server("MLflow", root, uri)
    return replace(settings, mlflow=uri)


def read_credentials(root: Path) -> tuple[Credentials, frozenset[str]]:
    """Return the password of this project's servers, and the origins of the servers that it may be sent to.

    CHATMILL_PASSWORD is for the servers in CHATMILL_SERVERS, or else those in PREFECT_API_URL and
    MLFLOW_TRACKING_URI. The project's own password is only for the servers that `chatmill up` runs here. An
    address that only a preset names gets neither: presets are shared.
    """
    found = read_served(root)
    here = [*_OWN_SERVERS, *(one.address for one in (found.processes if found else ()) if one.address)]
    if text := os.environ.get(credentials.PASSWORD_SETTING, ""):
        login = read_login(text)
        named = os.environ.get(credentials.GUARDED_SERVERS, "").split() or [
            os.environ.get(name, "") for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
        ]
        return login, frozenset(map(origin, [*here, *named])) - {""}
    return stored_login(root), frozenset(map(origin, here)) - {""}


def trust_server(address: str) -> None:
    """Add a server that this process started itself to those that `read_credentials` trusts."""
    _OWN_SERVERS.append(address)
    bypass_proxy(address)


def give_prefect(login: Credentials | None) -> None:
    """Have Prefect's clients send a password; with None they send what the environment holds.

    The address of Prefect's server comes from the environment alone, or is that of this project's own.
    """
    if login:
        os.environ[credentials.PREFECT] = login.text


def _give_mlflow(login: Credentials | None, address: str) -> None:
    """Have MLflow's clients send a password to the server at an address; None: a foreign server.

    To a foreign server, clients send what the environment holds for the same address, and nothing to any
    other.
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
    # MLflow's client sends the credentials in this file to every server.
    if (Path.home() / ".mlflow" / "credentials").exists():
        raise UserError(
            f"tracking.mlflow is {display_address(address)}, and ~/.mlflow/credentials contains a "
            "password that MLflow would send there; if it is meant for that server, set "
            "MLFLOW_TRACKING_URI to its address"
        )


def _is_supervised(root: Path, address: str) -> bool:
    """Return whether `chatmill up` runs that server here."""
    found = read_served(root)
    processes = found.processes if found else ()
    return any(one.address and address.startswith(one.address) for one in processes)


def _wait_for_server(name: str, root: Path, address: str) -> None:
    """Raise UserError if a server stays unreachable, or refuses the login; a database's address passes."""
    if not address.startswith("http"):
        return
    where = display_address(address)
    deadline = time.monotonic() + (_AGAIN_SECONDS if _is_supervised(root, address) else 0.0)
    while failed := health_problem(address):
        if time.monotonic() < deadline:
            time.sleep(0.5)
            continue
        raise UserError(f"{name}'s server at {where} is unreachable ({failed})")
    login = known_login(os.environ, address)
    code = query_status(address, login)
    if code == 401:
        says = "rejects the user and password" if login else "asks for a password"
        variable = "MLFLOW_TRACKING_URI" if name == "MLflow" else "PREFECT_API_URL"
        beside = "" if os.environ.get(variable) else f", and {variable} to its address"
        raise UserError(
            f"{name}'s server at {where} {says}; set {credentials.PASSWORD_SETTING}=USER:PASSWORD "
            f"of that server{beside}"
        )
    if code == 403:
        raise UserError(
            f"{name}'s server does not accept the host name in {where}; start it with `chatmill up "
            "--host NAME`, or set MLFLOW_SERVER_ALLOWED_HOSTS there"
        )


def give_database_password() -> None:
    """Let this process and its children connect to the configured PostgreSQL, if one is set."""
    if (address := os.environ.get(DATABASE_SETTING, "")) and (password := read_database(address).password):
        # In PGPASSWORD, so that no address that is passed on or shown holds it.
        os.environ["PGPASSWORD"] = password


def configure_database(root: Path) -> str:
    """Have Prefect and the label page use the configured PostgreSQL; return MLflow's address, or ""."""
    if not (address := os.environ.get(DATABASE_SETTING, "")):
        return ""
    database = read_database(address)
    give_database_password()
    make_databases(database)
    os.environ.setdefault(PREFECT_DATABASE_SETTING, database.prefect_url)
    if may_write():
        from tasks.labelling.schema import choose_label_database

        choose_label_database(root, database.labels_url)
    return database.mlflow_url


def find_running_services(root: Path) -> Served | None:
    """Return what `chatmill up` runs here; None if its Prefect server is unreachable."""
    found = read_served(root)
    return found if found and found.prefect and not health_problem(found.prefect) else None


def health_problem(address: str) -> str:
    """Return why a server's health page is unreachable; empty if it answers. It needs no password."""
    try:
        with urllib.request.urlopen(f"{_strip_credentials(address)}/health", timeout=_ANSWER_SECONDS):
            return ""
    except (OSError, ValueError, HTTPException) as error:
        return str(error) or type(error).__name__


def query_status(address: str, login: Credentials | None) -> int:
    """Return the HTTP status of a real request to MLflow's server, or Prefect's at `/api`; 0: no answer."""
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
    """A handler that follows no redirection, which would send the password to another server."""

    def redirect_request(self, *_: object) -> None:
        """Return None, which leaves the answer as it is."""


_ASKING = urllib.request.build_opener(_Unredirected)


def _strip_credentials(address: str) -> str:
    """Return an address without user and password, which errors would show."""
    scheme, found, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def display_address(address: str) -> str:
    """Return a server's address for display, without a password."""
    where = urlsplit(address)
    port = where.port or (443 if where.scheme == "https" else 80)
    return f"{where.scheme}://{where.hostname}:{port}"


def merged_list(name: str, *values: str) -> str:
    """Return a list setting with these values added to those that it has."""
    found = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
    return ",".join(dict.fromkeys([*found, *values]))


def bind_problem(host: str, port: int) -> str:
    """Return why a server cannot listen there; empty if it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # A port that was released a moment ago may be taken again.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return f"{host} is not an address"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is in use"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine"
        return f"port {port} cannot be used ({error_reason(error)})"
    return ""


def reserve_port() -> socket.socket:
    """Return a socket that is bound to a port of this machine on which nothing listens.

    While it is open, the system gives the port to no other program. A server of chatmill can listen there
    nevertheless: both sockets have SO_REUSEADDR, and this one does not listen.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((LOOPBACK, 0))
    return reserved


def free_port() -> int:
    """Return a port of this machine that nothing listens on; another program may take it at any time."""
    with reserve_port() as reserved:
        port: int = reserved.getsockname()[1]
        return port


def guard_environment() -> tuple[str, str, Credentials]:
    """Return what `up` passes to a server process: the guard's settings, its folder, and the login."""
    text = os.environ.get("PREFECT_SERVER_API_AUTH_STRING") or ":".join(
        os.environ[name] for name in ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD")
    )
    return os.environ[GUARD], os.environ[GUARD_SECRETS], read_login(text)


def webhook_url() -> str:
    """Return the secret address for messages, or "". Raise UserError if it is not a valid address."""
    address = os.environ.get(WEBHOOK, "")
    if address and (urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname):
        raise UserError(f"{WEBHOOK} is not a valid address; expected https://HOST/PATH")
    return address


def checkout_environment(root: Path, threads: str = "") -> dict[str, str]:
    """Return the environment for another checkout of the project at `root`, with its own servers and records.

    Credentials of data stores and the like are kept.

    Args:
        root: The checkout's folder.
        threads: The number of threads that it computes with; empty: as here.
    """
    own = ("PREFECT_", "MLFLOW_", "PYTHON", "CHATMILL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, **({"OMP_NUM_THREADS": threads} if threads else {}), "PYTHONPATH": str(root)}
