"""The events about batches of the label page, on a real Prefect server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.config import Preset, read_preset
from flows.orchestration import batch_events
from flows.orchestration.batch_events import send_batch_requests
from flows.orchestration.events import LABELS_REQUESTED
from flows.orchestration.label_batches import add_made_batch
from tasks.labelling.batch_requests import unsent_requests
from tasks.labelling.schema import open_label_store
from tests.benchmarks.smoke import REPOSITORY
from tests.flows.orchestration.test_label_batches import leave_output
from tests.flows.prefect_project import unreachable_server
from tests.waiting import until

SMOKE = REPOSITORY / "configs" / "smoke.yaml"


def named(name: str) -> Preset:
    """Return a preset of a name of its own, by which its events are told from those of other tests."""
    return read_preset(SMOKE, [f"name={name}"])


def events_of(client: SyncPrefectClient, event: str, preset: str) -> list[dict[str, Any]]:
    """Return the payloads of a preset's events of a name, the oldest first."""
    wanted = {"filter": {"event": {"name": [event]}, "order": "ASC"}}
    every = client.request("POST", "/events/filter", json=wanted).json()["events"]
    return [each["payload"] for each in every if each["payload"]["preset"] == preset]


def test_send_batch_requests_of_batch_without_event_sends_it_once(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    preset = named("killed")
    assert send_batch_requests(tmp_path, preset.name) == ""
    # The process ends here: the batch is in the store, and its event was not sent.
    add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path)
    add_made_batch(named("other"), leave_output(tmp_path, "2"), tmp_path)
    for _ in range(2):
        assert send_batch_requests(tmp_path, preset.name) == ""
    until(lambda: bool(events_of(client, LABELS_REQUESTED, preset.name)), "the event")
    [payload] = events_of(client, LABELS_REQUESTED, preset.name)
    assert (payload["batch"], payload["items"], payload["config"]) == ("killed-1", 3, "configs/killed.yaml")
    assert payload["says"] == "batch killed-1 has 3 items: 3 at random"
    assert payload["then"] == "`chatmill label` serves the page"
    with open_label_store(tmp_path) as store:
        assert unsent_requests(store, preset.name) == []
        # That of another preset waits for a run of its own.
        assert len(unsent_requests(store, "other")) == 1


def test_send_batch_requests_killed_behind_the_event_sends_no_second_one(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = named("twice")
    add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch_events, "mark_request_sent", die)
        with pytest.raises(KeyboardInterrupt):
            send_batch_requests(tmp_path, preset.name)
    assert send_batch_requests(tmp_path, preset.name) == ""
    add_made_batch(preset, leave_output(tmp_path, "2"), tmp_path, add_another=True)
    assert send_batch_requests(tmp_path, preset.name) == ""
    # The server keeps events in their order, so the first batch's second one would be there before this.
    until(
        lambda: any(found["batch"] == "twice-2" for found in events_of(client, LABELS_REQUESTED, "twice")),
        "the event of the second batch",
    )
    assert [found["batch"] for found in events_of(client, LABELS_REQUESTED, "twice")] == [
        "twice-1",
        "twice-2",
    ]


def test_send_batch_requests_unreachable_server_keeps_the_request(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = named("away")
    add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path)
    monkeypatch.setattr("flows.orchestration.events.EVENT_PATIENCE_SECONDS", 0.0)
    with unreachable_server():
        assert "the next run sends it the request" in send_batch_requests(tmp_path, preset.name)
    assert send_batch_requests(tmp_path, preset.name) == ""
    until(lambda: bool(events_of(client, LABELS_REQUESTED, preset.name)), "the event")
