"""The event of a champion that a command made, on a real Prefect server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.cli import approve, models
from flows.orchestration.decision_effects import announce_champion
from flows.orchestration.events import CHAMPION_MADE
from tasks.tracking.approval import ApprovalRequest
from tests.flows.cli.test_models_products import at, made
from tests.flows.cli_runner import call, of
from tests.waiting import until


def say(*words: str) -> str:
    return " ".join(call(of(models.rollback, approve.approve), *words).output.split())


def champion_events(client: SyncPrefectClient) -> list[dict[str, Any]]:
    """Return the payloads of the events about new champions of the preset `decided`, the oldest first."""
    wanted = {"filter": {"event": {"name": [CHAMPION_MADE]}, "order": "ASC"}}
    every = client.request("POST", "/events/filter", json=wanted).json()["events"]
    return [each["payload"] for each in every if each["payload"]["config"] == "configs/decided.yaml"]


def test_rollback_and_approve_announce_the_champion_to_a_running_server(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A project of its own: other tests of the server have their registry in the server's.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_bytes(empty_database)
    made(tmp_path, "decided", "a", 0.1)
    made(tmp_path, "decided", "b", 0.2)
    assert "were told of the new champion" in say("rollback", "1", "--reason", "rude")
    # A model of a run from a terminal: no suspended run would announce it.
    made(tmp_path, "decided", "c", 0.3, ApprovalRequest(72, ""))
    told = say("approve", "--reason", "better")
    assert "version 3 of decided is now the champion" in told and "were told of the new champion" in told
    made(tmp_path, "decided", "d", 0.4, ApprovalRequest(72, ""))
    assert "told" not in say("approve", "4", "--reject", "--reason", "worse")
    # The server keeps events a moment after it has them.
    until(lambda: len(champion_events(client)) > 1, "two events")
    found = champion_events(client)
    assert [each["says"].partition(" of")[0] for each in found] == ["version 1", "version 3"]
    assert all("chatmill label batch" in each["then"] for each in found)


def test_announce_champion_without_server_says_nothing(
    tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_bytes(empty_database)
    made(tmp_path, "alone", "a", 0.1)
    assert announce_champion(tmp_path, at(tmp_path, "alone").registry, "1", "it is") == []
