"""MLflow's server behind the request guard and a password.

`python -m flows.servers.mlflow_auth` takes the options of `mlflow server`.

MLflow creates its first user from the environment and later reads the password from its database alone. This
module applies the configured user and password at each start, and removes the users configured before.
"""

from __future__ import annotations

import os
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.servers.environment import SERVER_PARENT
from model.atomic_file import atomic_path

SECTION, _OWN, USERS = "mlflow", "chatmill", "users"


def write_settings(var: Path, store: str, user: str) -> Path:
    """Write the file from which MLflow reads the address of its users' database; return its path.

    The file holds no password. It also lists every user that was configured until now.

    Args:
        var: The project's folder of records.
        store: The address of MLflow's own database. A PostgreSQL holds the users too.
        user: The configured user.
    """
    path = var / "mlflow" / "users.ini"
    path.parent.mkdir(parents=True, exist_ok=True)
    where = urlsplit(store)
    shared = where.scheme.startswith("postgres") and where.password is None
    database = path.with_suffix(".db")
    if not shared:
        database.touch(mode=0o600)
    settings = ConfigParser(interpolation=None)
    settings[SECTION] = {
        # ConfigParser reads a single percent sign as a reference to another value.
        "database_uri": (store if shared else f"sqlite:///{database}").replace("%", "%%"),
        "default_permission": "READ",
        # Checking a password against its hash takes longer than the request, so a correct one is cached for
        # so many seconds. There is one process, which clears the cache when a user is changed.
        "auth_cache_ttl_seconds": "300",
    }
    settings[_OWN] = {USERS: "\n".join(dict.fromkeys([*_users_database(path), user]))}
    with atomic_path(path, path.with_suffix(".part")) as part:
        part.touch(mode=0o600)
        with part.open("w", encoding="utf-8") as file:
            settings.write(file)
    return path


def _users_database(path: Path) -> list[str]:
    settings = ConfigParser(interpolation=None)
    settings.read(path, encoding="utf-8")
    return settings.get(_OWN, USERS, fallback="").split("\n") if settings.has_section(_OWN) else []


def configure_users(store: Any, user: str, password: str, former: list[str]) -> None:
    """Make `user` an administrator with `password` in MLflow's `store`, and delete the `former` users."""
    for name in former:
        if name != user and store.has_user(name):
            store.delete_user(name)
    if not store.has_user(user):
        store.create_user(user, password, is_admin=True)
    elif not (store.authenticate_user(user, password) and store.get_user(user).is_admin):
        store.update_user(user, password=password, is_admin=True)


def main(options: list[str]) -> None:
    """Configure the user, then serve until asked to end."""
    # MLflow's auth module reads the environment when it is imported.
    from mlflow.environment_variables import MLFLOW_AUTH_CONFIG_PATH
    from mlflow.server.auth import auth_config, store

    store.init_db(auth_config.database_uri)
    assert auth_config.admin_username and auth_config.admin_password
    former = _users_database(Path(str(MLFLOW_AUTH_CONFIG_PATH.get())))
    configure_users(store, auth_config.admin_username, auth_config.admin_password, former)
    # The server runs in another process; connections must not be shared across a fork.
    store.engine.dispose()

    import mlflow.server
    from mlflow.cli import cli

    # MLflow starts the application named by this function in another process. It has no setting for the name.
    os.environ[SERVER_PARENT] = str(os.getpid())
    mlflow.server._find_app = lambda name: "flows.servers.guarded_apps:mlflow_app"
    cli(["server", "--app-name", "basic-auth", *options])


if __name__ == "__main__":
    main(sys.argv[1:])
