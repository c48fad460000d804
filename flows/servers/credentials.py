"""The password of Prefect's and MLflow's servers: one setting, and the part of it that each program gets."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model.errors import UserError
from tasks.common.file_lock import CLOSED
from tasks.common.url_secrets import origin as origin
from tasks.project.paths import SECRETS
from tasks.project.private_folder import read_or_create

PASSWORD_SETTING = "CHATMILL_PASSWORD"
# The servers that the password is for; if not set, those that the environment and `up` name.
GUARDED_SERVERS = "CHATMILL_SERVERS"
PASSWORD_FILE = SECRETS / "password"
_USER = "chatmill"
_RIGHT = "expected USER:PASSWORD with a password of 12 or more characters"
# MLflow's own minimum length.
_SHORTEST = 12
# A default password of older MLflow versions, which newer ones refuse.
_KNOWN = "password1234"
PREFECT, MLFLOW_USER, MLFLOW_PASSWORD, MLFLOW_TOKEN = (
    "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)  # fmt: skip
CLIENT = (PREFECT, MLFLOW_USER, MLFLOW_PASSWORD, MLFLOW_TOKEN)
# A program that `up` starts inherits none of these; it gets only those that it needs.
SECRET_VARIABLES = (
    PASSWORD_SETTING, GUARDED_SERVERS, *CLIENT, "PREFECT_SERVER_API_AUTH_STRING",
    "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY",
)  # fmt: skip


@dataclass(frozen=True)
class Credentials:
    """A user and a password; its text form hides both."""

    user: str
    password: str

    # Tracebacks and logs print dataclasses with all fields.
    def __repr__(self) -> str:
        return "Login(…)"

    @property
    def text(self) -> str:
        """Return them as Prefect's settings have them: USER:PASSWORD."""
        return f"{self.user}:{self.password}"

    @property
    def header(self) -> str:
        """Return the value of the header `Authorization`."""
        return f"Basic {b64encode(self.text.encode()).decode()}"

    @property
    def client_environment(self) -> dict[str, str]:
        """Return the environment of a program that asks both servers."""
        return {PREFECT: self.text, MLFLOW_USER: self.user, MLFLOW_PASSWORD: self.password}

    @property
    def prefect_server(self) -> dict[str, str]:
        """Return the environment of a Prefect server that asks for this password."""
        return {"PREFECT_SERVER_API_AUTH_STRING": self.text}


def stored_login(root: Path) -> Credentials:
    """Return the password that the project at `root` made for itself and keeps readable by its owner alone.

    It is created if there is none.

    Raises:
        UserError: The file is damaged; the message does not hold the password.
    """
    path = root / PASSWORD_FILE
    try:
        text = read_or_create(path, lambda: f"{_USER}:{secrets.token_urlsafe(24)}")
    except OSError as error:
        if error.errno not in CLOSED:
            raise
        # A user who may only read the project starts no server, so a password that is not stored is enough.
        text = f"{_USER}:{secrets.token_urlsafe(24)}"
    try:
        return read_login(text)
    except UserError:
        raise UserError(
            f"{path} contains no user and password; delete it, and chatmill creates a new one"
        ) from None


def read_login(text: str) -> Credentials:
    """Return the user and password in CHATMILL_PASSWORD.

    Raises:
        UserError: The text is not right; the message does not hold the password.
    """
    user, _, password = text.partition(":")
    if not user or not password:
        raise UserError(f"{PASSWORD_SETTING} is not a user and a password; {_RIGHT}")
    if not (text.isascii() and text.isprintable()) or " " in user:
        raise UserError(f"{PASSWORD_SETTING} holds a character that is not plain ASCII; {_RIGHT}")
    if len(password) < _SHORTEST or password == _KNOWN:
        reason = (
            "is one that MLflow once shipped" if password == _KNOWN else f"is {len(password)} characters long"
        )
        raise UserError(f"the password in {PASSWORD_SETTING} {reason}; {_RIGHT}")
    return Credentials(user, password)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that a program started by `up` or a run inherits."""
    return {name: value for name, value in environment.items() if name not in SECRET_VARIABLES}


def known_login(environment: Mapping[str, str], address: str) -> Credentials | None:
    """Return the login that a program with this environment sends to a server; None if it sends none."""
    where = urlsplit(address)
    if where.username:
        return Credentials(unquote(where.username), unquote(where.password or ""))
    if where.path.rstrip("/").endswith("/api"):
        user, colon, password = environment.get(PREFECT, "").partition(":")
        return Credentials(user, password) if colon else None
    user, password = environment.get(MLFLOW_USER, ""), environment.get(MLFLOW_PASSWORD, "")
    return Credentials(user, password) if user and password else None


def is_loopback(host: str) -> bool:
    """Return whether a name or address is reachable from this machine alone.

    Raises:
        UserError: It is neither a name nor an address.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UserError(f"{host} is not an address or name of this machine") from None
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)
