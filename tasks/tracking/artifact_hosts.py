"""Which servers are asked for the files of MLflow's runs.

Whoever can write to MLflow sets the address of a run's files and of a version's model, and it may name any
host. MLflow's client would send that host the user and password of its own server.
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
# Programs disagree about the host of an address with one of these before its path.
AMBIGUOUS = re.compile(r"[\\@\s\x00-\x1f]")
_servers: set[str] = set()


def trust_servers(addresses: Iterable[str]) -> None:
    """Set the servers that may have files of runs and get the password, beside MLflow's own."""
    _servers.clear()
    _servers.update(filter(None, map(origin, addresses)))


def check_artifact_host(address: str, server: str) -> None:
    """Check the address of a run's files before MLflow's client asks it.

    Args:
        address: Where the files are. Folders and stores that ask for no password of ours always pass.
        server: The address of MLflow's server, or of the store where there is no server.

    Raises:
        UserError: It names a host that is neither that server nor a trusted one.
    """
    scheme, _, rest = address.partition(":")
    if scheme.lower() not in SCHEMES:
        return
    place = re.split(r"[/?#]", rest.removeprefix("//"), maxsplit=1)[0] if rest.startswith("//") else ""
    if scheme.lower() == PROXIED:
        if not place:
            return
        address = f"{urlsplit(server).scheme}:{rest}"
    found = "" if AMBIGUOUS.search(place) else origin(address)
    if not found or found not in {origin(server), *_servers}:
        raise UserError(
            f"MLflow has files of a run at {display_url(address)}, and that host is not MLflow's "
            f"server; nothing "
            "was sent there. If the host is yours, list it with your other servers in CHATMILL_SERVERS"
        )
