"""The password before Prefect's and MLflow's servers: one setting, and what each program gets of it."""

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

SETTING = "CHATMILL_PASSWORD"
# The servers that the password is for; where it is not set, those that the environment and `up` name.
SERVERS = "CHATMILL_SERVERS"
_FILE = "password"
_USER = "chatmill"
_RIGHT = "USER:PASSWORD is right, with 12 or more characters of password"
# MLflow asks for so many.
_SHORTEST = 12
# What MLflow shipped once, and refuses since.
_KNOWN = "password1234"
PREFECT, MLFLOW_USER, MLFLOW_PASSWORD, MLFLOW_TOKEN = (
    "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)  # fmt: skip
CLIENT = (PREFECT, MLFLOW_USER, MLFLOW_PASSWORD, MLFLOW_TOKEN)
# A program that `up` starts inherits none of these; it is given those that it needs.
SECRET_VARIABLES = (
    SETTING, SERVERS, *CLIENT, "PREFECT_SERVER_API_AUTH_STRING",
    "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY",
)  # fmt: skip


@dataclass(frozen=True)
class Credentials:
    """A user and a password, which no text of it shows."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Login(…)"

    @property
    def text(self) -> str:
        """As Prefect has it."""
        return f"{self.user}:{self.password}"

    @property
    def header(self) -> str:
        """The header `Authorization` of a request."""
        return f"Basic {b64encode(self.text.encode()).decode()}"

    @property
    def client_environment(self) -> dict[str, str]:
        """The environment of a program that asks both servers."""
        return {PREFECT: self.text, MLFLOW_USER: self.user, MLFLOW_PASSWORD: self.password}

    @property
    def prefect_server(self) -> dict[str, str]:
        """The environment of a Prefect server that asks for it."""
        return {"PREFECT_SERVER_API_AUTH_STRING": self.text}


def stored_login(root: Path) -> Credentials:
    """Return the password that the project at `root` made for itself, and keeps for its owner alone.

    It is created where there is none. Raises UserError, without the password, for a damaged file.
    """
    path = root / SECRETS / _FILE
    try:
        text = read_or_create(path, lambda: f"{_USER}:{secrets.token_urlsafe(24)}")
    except OSError as error:
        if error.errno not in CLOSED:
            raise
        # Who may only read the project starts no server, and knows the password of none.
        text = f"{_USER}:{secrets.token_urlsafe(24)}"
    try:
        return read_login(text)
    except UserError:
        raise UserError(f"{path} holds no user and password; delete it, and chatmill makes another") from None


def read_login(text: str) -> Credentials:
    """Return the user and password in CHATMILL_PASSWORD.

    Raises UserError, without the password, for one that is not right.
    """
    user, _, password = text.partition(":")
    if not user or not password:
        raise UserError(f"{SETTING} is not a user and a password; {_RIGHT}")
    if not (text.isascii() and text.isprintable()) or " " in user:
        raise UserError(f"{SETTING} holds a character that is not plain ASCII; {_RIGHT}")
    if len(password) < _SHORTEST or password == _KNOWN:
        why = (
            "is one that MLflow once shipped" if password == _KNOWN else f"is {len(password)} characters long"
        )
        raise UserError(f"the password in {SETTING} {why}; {_RIGHT}")
    return Credentials(user, password)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a program that `up` or a run starts inherits of an environment."""
    return {name: value for name, value in environment.items() if name not in SECRET_VARIABLES}


def known_login(environment: Mapping[str, str], address: str) -> Credentials | None:
    """What a program of this environment says to the server at an address; None: it has nothing to say."""
    where = urlsplit(address)
    if where.username:
        return Credentials(unquote(where.username), unquote(where.password or ""))
    if where.path.rstrip("/").endswith("/api"):
        user, colon, password = environment.get(PREFECT, "").partition(":")
        return Credentials(user, password) if colon else None
    user, password = environment.get(MLFLOW_USER, ""), environment.get(MLFLOW_PASSWORD, "")
    return Credentials(user, password) if user and password else None


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own alone. Raises UserError for one that is neither."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UserError(f"{host} is no address and no name of this machine") from None
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)
