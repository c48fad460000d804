"""Checks of the addresses of Prefect's and MLflow's servers, before the libraries read them."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from model.errors import UserError

_HTTP = ("http", "https")
# The databases that MLflow can use, with their default ports. SQLite is a file.
_DATABASES = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mssql": 1433}
_FILE = "sqlite"
_ANSWER_SECONDS = 10


def check_prefect_address(address: str) -> None:
    """Raise UserError if PREFECT_API_URL is not the address of an HTTP server."""
    _check_parts(address, "PREFECT_API_URL", _HTTP, "http://HOST:4200/api")


def check_web_address(address: str, name: str, example: str) -> None:
    """Raise UserError if the setting of a name is not the address of an HTTP server, as the example is."""
    _check_parts(address, name, _HTTP, example)


def check_mlflow_address(address: str, name: str) -> None:
    """Check the address of MLflow's store.

    Args:
        address: The address.
        name: The setting that holds it, for messages. They do not hold the address, as it may have a
            password.

    Raises:
        UserError: The address is not right, or no database server answers there.
    """
    schemes = (*_HTTP, _FILE, *_DATABASES)
    scheme = _check_parts(address, name, schemes, "http://HOST:5000 or sqlite:////PATH/mlflow.db")
    if scheme in _DATABASES:
        _check_database(address, name, _DATABASES[scheme])


def _check_parts(address: str, name: str, schemes: tuple[str, ...], example: str) -> str:
    """Return the scheme of an address, without a driver. Raise UserError if a part is not right."""
    try:
        found = urlsplit(address)
        # Reading the port raises ValueError if it is out of range.
        host, port = found.hostname, found.port
    except ValueError as error:
        raise UserError(f"{name} is not a valid address ({error}); expected {example}") from None
    scheme = found.scheme.partition("+")[0]
    if scheme not in schemes:
        begins = f"begins with {found.scheme}:" if found.scheme else "has no scheme"
        raise UserError(f"{name} {begins}, which chatmill does not support; expected {example}")
    if scheme in _HTTP and not (host and port != 0):
        raise UserError(f"{name} is not a valid address (it has no host and port); expected {example}")
    return scheme


def _check_database(address: str, name: str, default: int) -> None:
    """Raise UserError if no server answers: MLflow would try again for minutes."""
    found = urlsplit(address)
    # Without a host it is a socket in the file system.
    if not found.hostname:
        return
    port = found.port or default
    try:
        socket.create_connection((found.hostname, port), _ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"the database in {name} at {found.hostname}:{port} is unreachable ({error.strerror or error})"
        ) from None
