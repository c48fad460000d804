"""The users of MLflow's server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from flows.servers.environment import checkout_environment
from flows.servers.mlflow_auth import write_settings

REPOSITORY = Path(__file__).parents[3]


SETTLED = """
import sys
from flows.servers.mlflow_auth import configure_users
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

store = SqlAlchemyStore()
store.init_db(f"sqlite:///{sys.argv[1]}/users.db")
configure_users(store, "ann", "first password", ["ann"])
store.create_user("colleague", "their own password")
configure_users(store, "ann", "second password", ["ann"])
assert not store.authenticate_user("ann", "first password")
assert store.authenticate_user("ann", "second password") and store.get_user("ann").is_admin
configure_users(store, "colleague", "third password", ["ann", "colleague"])
assert [user.username for user in store.list_users()] == ["colleague"]
assert store.authenticate_user("colleague", "third password") and store.get_user("colleague").is_admin
"""


def test_write_settings_puts_users_in_postgresql_when_passwordless(tmp_path: Path) -> None:
    for store, users in (
        ("postgresql://ann%40here@db:5432/mill_mlflow", "postgresql://ann%%40here@db:5432/mill_mlflow"),
        ("postgresql://ann:secret@db/mill", f"sqlite:///{tmp_path}/mlflow/users.db"),
    ):
        settings = write_settings(tmp_path, store, "ann").read_text()
        assert f"database_uri = {users}\n" in settings and "secret" not in settings


def test_configure_users_makes_given_user_administrator(tmp_path: Path) -> None:
    settings = write_settings(tmp_path, "", "ann")
    write_settings(tmp_path, "", "bob")
    assert write_settings(tmp_path, "", "ann").read_text().count("bob") == 1
    environment = {
        **checkout_environment(REPOSITORY), "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    words = [sys.executable, "-c", SETTLED, str(tmp_path)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
