"""Addresses of a run's pages, and the keys of its artifacts in Prefect."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.orchestration.run_links import _artifact_key, find_pages
from flows.servers.credentials import Credentials
from flows.servers.environment import TEMPORARY_PREFECT, Settings
from flows.servers.state_file import Process, Served, open_state_file, record_path

TEMPORARY = "http://127.0.0.1:8721/api"
LOGIN = Credentials("user", "a long password")


@pytest.mark.parametrize(
    ("prefect", "mlflow", "pages"),
    [
        ("", "sqlite:///x", ("http://127.0.0.1:4200", "http://127.0.0.1:5000")),
        # The temporary server of a command ends with it, so its address is not linked.
        (TEMPORARY, "sqlite:///x", ("http://127.0.0.1:4200", "http://127.0.0.1:5000")),
        # Servers that a person runs on this machine, with ports of their own.
        (
            "http://127.0.0.1:4300/api",
            "http://localhost:5300",
            ("http://127.0.0.1:4300", "http://localhost:5300"),
        ),
        ("http://main:4200/api", "http://main:5000/", ("http://main:4200", "http://main:5000")),
        (
            "https://prefect.example/api",
            "postgresql://x",
            ("https://prefect.example", "http://127.0.0.1:5000"),
        ),
    ],
)
def test_find_pages_follows_settings_of_each_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect: str, mlflow: str, pages: tuple[str, str]
) -> None:
    monkeypatch.setenv(TEMPORARY_PREFECT, TEMPORARY)
    found = find_pages(Settings(tmp_path, mlflow, prefect, LOGIN))
    assert (found.prefect, found.mlflow) == pages


def test_find_pages_running_servers_use_their_ports(tmp_path: Path) -> None:
    with open_state_file(tmp_path) as record:
        assert record is not None
        shows = (Process("MLflow", 1, "http://127.0.0.1:5055", ""),)
        record.write_state(Served(1, 0.0, "up", "http://127.0.0.1:4242/api", "", True, shows))
        found = find_pages(Settings(tmp_path, "sqlite:///x", "http://127.0.0.1:4242/api", LOGIN))
    assert (found.prefect, found.mlflow) == ("http://127.0.0.1:4242", "http://127.0.0.1:5055")
    assert found.flow_run("7") == "http://127.0.0.1:4242/runs/flow-run/7"
    assert found.model_version("a b/c", "3") == "http://127.0.0.1:5055/#/models/a%20b%2Fc/versions/3"


def test_find_pages_stopped_servers_keep_their_ports(tmp_path: Path) -> None:
    shows = (
        Process("Prefect", 1, "http://127.0.0.1:4242", ""),
        Process("MLflow", 2, "http://127.0.0.1:5055", ""),
        Process("worker", 3, "", ""),
    )
    with open_state_file(tmp_path) as record:
        assert record is not None
        record.write_state(Served(1, 0.0, "up", "http://127.0.0.1:4242/api", "", True, shows))
        record.clear_state()
        # Nothing of it is taken for a process that still runs.
        assert record.read_last() is None
    found = find_pages(Settings(tmp_path, "sqlite:///x", "", LOGIN))
    assert (found.prefect, found.mlflow) == ("http://127.0.0.1:4242", "http://127.0.0.1:5055")
    for damaged in (b"", b"[]", b'{"addresses": 5}', b"\xff"):
        record_path(tmp_path).write_bytes(damaged)
        found = find_pages(Settings(tmp_path, "sqlite:///x", "", LOGIN))
        assert (found.prefect, found.mlflow) == ("http://127.0.0.1:4200", "http://127.0.0.1:5000")


@pytest.mark.parametrize(
    ("preset", "key"),
    [
        ("demo", "mlflow-demo"),
        ("Größe & Co. (2)", "mlflow-gr-e-co-2"),
        ("日本語", "mlflow"),
        ("x" * 99, "mlflow-" + "x" * 60),
    ],
)
def test_artifact_key_keeps_characters_prefect_accepts(preset: str, key: str) -> None:
    assert _artifact_key("mlflow", preset) == key
