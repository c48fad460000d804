"""The password before both servers: what is one, who is given it, and who MLflow's users are then."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.servers.commands import ListenAddress, mlflow_server, prefect_server
from flows.servers.credentials import (
    SECRET_VARIABLES,
    is_loopback,
    known_login,
    origin,
    read_login,
    stored_login,
)
from flows.servers.environment import Settings, checkout_environment
from flows.servers.mlflow_auth import write_settings
from model.errors import UserError

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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("secret", "is not a user and a password"),
        (":secret", "is not a user and a password"),
        ("ann:", "is not a user and a password"),
        ("ann:secret", "is 6 characters long"),
        ("ann:password1234", "MLflow once shipped"),
        ("ann:a very sécret word", "not plain ASCII"),
        ("ann b:a very secret word", "not plain ASCII"),
    ],
)
def test_read_login_invalid_text_is_refused_without_repeating_it(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        read_login(text)
    assert "USER:PASSWORD is right" in str(refused.value) and "secret" not in str(refused.value)


def test_known_login_reads_client_environment_and_address() -> None:
    login = read_login("ann:a:long:password")
    assert (login.user, login.password) == ("ann", "a:long:password") and "long" not in repr(login)
    for address in ("http://there:5000", "http://there:4200/api"):
        assert known_login(login.client_environment, address) == login and known_login({}, address) is None
    assert known_login({}, "http://ann:a%3Along%3Apassword@there") == login


def test_is_loopback_accepts_only_own_addresses() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("127.0.0.7") and is_loopback("localhost")
    assert is_loopback("::1") and not is_loopback("0.0.0.0") and not is_loopback("192.0.2.1")


def test_listen_address_answers_to_its_own_names() -> None:
    assert ListenAddress("127.0.0.1", 5000).host_names == ["127.0.0.1:5000", "localhost:5000"]
    assert ListenAddress("192.0.2.7", 5000).host_names == ["192.0.2.7:5000"]
    assert ListenAddress("fd00::7", 80).allowed_origins == ["http://[fd00::7]"]
    everywhere = ListenAddress("0.0.0.0", 5000)
    assert {"127.0.0.1:5000", "localhost:5000", "[::1]:5000"} < set(everywhere.host_names)
    assert everywhere.address == "http://127.0.0.1:5000" and not any(
        "*" in name for name in everywhere.host_names
    )
    assert ListenAddress("fd00::7", 5000).allowed_hosts == ["[fd00::7]"]
    # A browser writes a name in lower case.
    assert ListenAddress("LOCALHOST", 80).host_names == ["LOCALHOST", "localhost"]


def test_stored_login_is_made_once_and_private(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: stored_login(tmp_path).text, range(24)))
    assert len(made) == 1 and len(made.pop()) > 32
    folder = tmp_path / "var" / "secrets"
    path = folder / "password"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == ["password"]
    path.chmod(0o644)
    stored_login(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for damaged in (
        b"",
        b"nothing",
        b"chatmill:short",
        b"\xff" * 40,
        b"chatmill:\xc6" + b"x" * 20,
        bytes(41),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="holds no user and password; delete it"):
            stored_login(tmp_path)


@pytest.mark.parametrize("setting", ["MLFLOW_SERVER_ALLOWED_HOSTS", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"])
def test_server_commands_wildcard_origin_or_host_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(setting, "mill.example, *")
    settings = Settings(tmp_path, "sqlite:///somewhere.db", "", read_login("ann:a long password"))
    for server in (prefect_server, mlflow_server):
        with pytest.raises(UserError, match=f"{setting} is \\*"):
            server(settings, ListenAddress("127.0.0.1", 5000))


def test_server_commands_pass_only_own_password(tmp_path: Path) -> None:
    where, login = ListenAddress("192.0.2.7", 5000), read_login("ann:a long password")
    settings = Settings(tmp_path, "sqlite:///somewhere.db", "", login)
    prefect, mlflow = prefect_server(settings, where), mlflow_server(settings, where)
    assert set(SECRET_VARIABLES) & set(prefect.environment) == {"PREFECT_SERVER_API_AUTH_STRING"}
    given = {"MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"}
    assert set(SECRET_VARIABLES) & set(mlflow.environment) == given
    assert "a long password" not in " ".join((*prefect.command, *mlflow.command, repr(settings)))
    settings = Path(mlflow.environment["MLFLOW_AUTH_CONFIG_PATH"])
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600 and "long" not in settings.read_text()
    assert stat.S_IMODE(settings.with_suffix(".db").stat().st_mode) == 0o600


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


def test_origin_normalises_scheme_host_and_port() -> None:
    assert origin("http://ann:secret@MAIN:5000/api") == origin("http://main:5000") == "http://main:5000"
    assert origin("https://main") == "https://main:443" != origin("http://main")
    for address in ("", "sqlite:///var/mlflow.db", "postgresql://db/mill", "http://", "http://main:port"):
        assert origin(address) == ""
