"""The commands of both servers: their addresses, allowed hosts, passwords and retention."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.servers.commands import ListenAddress, mlflow_server, prefect_server
from flows.servers.credentials import (
    SECRET_VARIABLES,
    read_login,
)
from flows.servers.environment import Settings
from model.errors import UserError


def test_prefect_server_deletes_old_runs_and_events(client: SyncPrefectClient) -> None:
    kept = client.request("GET", "/admin/settings").json()["server"]
    assert kept["services"]["db_vacuum"]["retention_period"] in ("P30D", 30 * 86_400)
    assert set(kept["services"]["db_vacuum"]["enabled"]) == {"events", "flow_runs"}
    assert kept["events"]["retention_period"] in ("P2D", 2 * 86_400)


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
    written = Path(mlflow.environment["MLFLOW_AUTH_CONFIG_PATH"])
    assert stat.S_IMODE(written.stat().st_mode) == 0o600 and "long" not in written.read_text()
    assert stat.S_IMODE(written.with_suffix(".db").stat().st_mode) == 0o600
