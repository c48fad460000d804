"""The password before Prefect's and MLflow's servers: one setting, and what each program gets of it."""

from __future__ import annotations

import ipaddress
import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from model.errors import UserError

SETTING = "CHATMILL_PASSWORD"
RIGHT = "USER:PASSWORD is right, with 12 or more characters of password"
# MLflow asks for so many.
SHORTEST = 12
# What MLflow shipped once, and refuses since.
KNOWN = "password1234"
PREFECT, MLFLOW_USER, MLFLOW_PASSWORD = (
    "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
)  # fmt: skip
# A program that `up` starts inherits none of these; it is given those that it needs.
SECRETS = (
    SETTING, PREFECT, MLFLOW_USER, MLFLOW_PASSWORD, "PREFECT_SERVER_API_AUTH_STRING",
    "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY",
)  # fmt: skip


@dataclass(frozen=True)
class Login:
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
    def client(self) -> dict[str, str]:
        """The environment of a program that asks both servers."""
        return {PREFECT: self.text, MLFLOW_USER: self.user, MLFLOW_PASSWORD: self.password}

    @property
    def prefect_server(self) -> dict[str, str]:
        """The environment of a Prefect server that asks for it."""
        return {"PREFECT_SERVER_API_AUTH_STRING": self.text}


def read_login(text: str) -> Login:
    """From CHATMILL_PASSWORD. Raises UserError, without the password, for one that is not right."""
    user, _, password = text.partition(":")
    if not user or not password:
        raise UserError(f"{SETTING} is not a user and a password; {RIGHT}")
    if not (text.isascii() and text.isprintable()) or " " in user:
        raise UserError(f"{SETTING} holds a character that is not plain ASCII; {RIGHT}")
    if len(password) < SHORTEST or password == KNOWN:
        why = (
            "is one that MLflow once shipped" if password == KNOWN else f"is {len(password)} characters long"
        )
        raise UserError(f"the password in {SETTING} {why}; {RIGHT}")
    return Login(user, password)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a program that `up` or a run starts inherits of an environment."""
    return {name: value for name, value in environment.items() if name not in SECRETS}


def known_login(environment: Mapping[str, str], address: str) -> Login | None:
    """What a program of this environment says to the server at an address; None: it has nothing to say."""
    where = urlsplit(address)
    if where.username:
        return Login(unquote(where.username), unquote(where.password or ""))
    if where.path.rstrip("/").endswith("/api"):
        user, colon, password = environment.get(PREFECT, "").partition(":")
        return Login(user, password) if colon else None
    user, password = environment.get(MLFLOW_USER, ""), environment.get(MLFLOW_PASSWORD, "")
    return Login(user, password) if user and password else None


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own alone. Raises UserError for one that is neither."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UserError(f"{host} is no address and no name of this machine") from None
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)
