"""Variables of the environment that libraries of other projects read: user, proxy and threads."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from urllib.parse import urlsplit

from model.errors import UserError
from tasks.project.paths import CACHE

LOOPBACK_ADDRESSES = ("http://127.0.0.1", "http://localhost", "http://[::1]")
_THREADS = re.compile(r"[1-9][0-9]{0,5}( *, *[1-9][0-9]{0,5})*")
_MOST_THREADS = 1024


def name_unknown_user(root: Path) -> None:
    """Set USER and HOME for a user that the system does not list, as in a container started with a number.

    Prefect, MLflow and DVC raise errors without them.
    """
    try:
        pwd.getpwuid(os.getuid())
        return
    except KeyError:
        pass
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        os.environ["USER"] = f"user-{os.getuid()}"
    os.environ.setdefault("HOME", str(root.absolute() / CACHE / "home"))


def bypass_proxy(*addresses: str) -> None:
    """Have all clients reach the hosts of these addresses directly, whatever HTTP_PROXY says.

    A proxy cannot reach a server that listens on this machine alone.
    """
    # The lower-case name takes precedence where both are read.
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in named.split(",") if host.strip()]
    if "*" in hosts:
        return
    hosts += [host for address in addresses if (host := _host_name(address))]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(hosts))


def _host_name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def thread_count(processes: int = 1) -> str:
    """Return the threads of each training process: OMP_NUM_THREADS, or an equal share of the cores.

    Raises:
        UserError: OMP_NUM_THREADS is not a number of threads. Training processes would ignore it, and the run
            would record it.
    """
    named = os.environ.get("OMP_NUM_THREADS", "").strip()
    if not named:
        return str(max(1, (os.cpu_count() or 1) // processes))
    # OpenMP takes one number for each level of nested parallel regions.
    if not _THREADS.fullmatch(named) or int(named.partition(",")[0]) > _MOST_THREADS:
        raise UserError(
            f"OMP_NUM_THREADS is {named[:40]!r}; expected a number of threads from 1 to {_MOST_THREADS:,}, "
            "or unset it"
        )
    return named
