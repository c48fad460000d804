"""Addresses of Prefect's and MLflow's servers that are not right, or where nothing answers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flows.servers.address_check import check_mlflow_address, check_prefect_address
from flows.servers.environment import prepare_environment
from model.errors import UserError

MALFORMED = ["http://", "http://:5000", "http://[::1", "http://host:99999", "http://host:x", "https://h:0"]
FOREIGN = ["nonsense", "./mlruns", "ftp://host", "databricks", "file:///x", "127.0.0.1:5000", "//host"]


@pytest.mark.parametrize("address", [*MALFORMED, *FOREIGN])
def test_check_mlflow_address_not_right_is_refused(address: str) -> None:
    with pytest.raises(
        UserError, match=r"^tracking\.mlflow .*; expected http://HOST:5000 or sqlite"
    ) as found:
        check_mlflow_address(address, "tracking.mlflow")
    assert len(str(found.value)) < 200


@pytest.mark.parametrize("address", [*MALFORMED, *FOREIGN, "sqlite:///x.db", "postgresql://host/x"])
def test_check_prefect_address_not_right_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"^PREFECT_API_URL .*; expected http://HOST:4200/api"):
        check_prefect_address(address)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "mysql", "mssql+pyodbc"])
def test_check_mlflow_address_database_that_does_not_answer_is_refused(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_mlflow_address(f"{scheme}://me:secret@127.0.0.1:{port}/x", "MLFLOW_TRACKING_URI")
    with pytest.raises(UserError, match=rf"at 127\.0\.0\.1:{port} is unreachable \(Conn") as found:
        check_mlflow_address(f"{scheme}://me:secret@127.0.0.1:{port}/x", "MLFLOW_TRACKING_URI")
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(
    "address", ["https://host", "http://[::1]:5000", "sqlite:////x/y.db", "postgresql:///x"]
)
def test_check_mlflow_address_right_address_is_accepted(address: str) -> None:
    check_mlflow_address(address, "MLFLOW_TRACKING_URI")


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "PREFECT_API_URL"])
def test_prepare_environment_malformed_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://[half")
    with pytest.raises(UserError, match=f"^{name} is not a valid address"):
        prepare_environment(tmp_path)
