"""The settings of a real Prefect server that `chatmill up` starts."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient


def test_prefect_server_deletes_old_runs_and_events(client: SyncPrefectClient) -> None:
    kept = client.request("GET", "/admin/settings").json()["server"]
    assert kept["services"]["db_vacuum"]["retention_period"] in ("P30D", 30 * 86_400)
    assert set(kept["services"]["db_vacuum"]["enabled"]) == {"events", "flow_runs"}
    assert kept["events"]["retention_period"] in ("P2D", 2 * 86_400)
