"""The hosts that may be asked for the files of MLflow runs.

Whoever can write to MLflow sets the address of a run's files and of a version's model, and may name any host.
MLflow's client would send that host the user and password of its own server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from model.errors import UserError
from tasks.common.url_secrets import display_url, origin

PROXIED = "mlflow-artifacts"
# The client sends the password with the addresses of these schemes.
SCHEMES = ("http", "https", PROXIED)
# Programs disagree about the host of an address that contains one of these before its path.
AMBIGUOUS = re.compile(r"[\\@\s\x00-\x1f]")
_servers: set[str] = set()


def trust_servers(addresses: Iterable[str]) -> None:
    """Set the servers that may have files of runs and receive the password, besides MLflow's own."""
    _servers.clear()
    _servers.update(filter(None, map(origin, addresses)))


def check_artifact_host(address: str, server: str) -> None:
    """Check the address of a run's files before MLflow's client sends a request to it.

    Args:
        address: The address of the files. Folders and stores that need none of our passwords always pass.
        server: The address of MLflow's server, or of the store if there is no server.

    Raises:
        UserError: The address names a host that is neither that server nor a trusted one.
    """
    scheme, _, rest = address.partition(":")
    if scheme.lower() not in SCHEMES:
        return
    # urlsplit is not used here: it removes tabs and newlines, which AMBIGUOUS must see.
    place = re.split(r"[/?#]", rest.removeprefix("//"), maxsplit=1)[0] if rest.startswith("//") else ""
    if scheme.lower() == PROXIED:
        if not place:
            return
        # MLflow's client asks a host of an mlflow-artifacts address with the scheme of its server.
        address = f"{urlsplit(server).scheme}:{rest}"
    found = "" if AMBIGUOUS.search(place) else origin(address)
    if not found or found not in {origin(server), *_servers}:
        raise UserError(
            f"MLflow has files of a run at {display_url(address)}, which is not MLflow's server; "
            "nothing was sent there. To trust this host, add it to CHATMILL_SERVERS"
        )
