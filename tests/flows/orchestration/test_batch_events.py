"""The events about batches of the label page, on a real Prefect server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.cli.label import label
from flows.config import Preset, read_preset
from flows.deployments import batch_labels
from flows.orchestration import batch_events
from flows.orchestration.batch_events import send_batch_requests, start_waiting_batch
from flows.orchestration.events import LABELS_DUE, LABELS_REQUESTED
from flows.orchestration.label_batches import add_made_batch, keep_champion_waiting
from tasks.labelling.batch_requests import unsent_requests
from tasks.labelling.batches import open_batch
from tasks.labelling.schema import open_label_store
from tasks.labelling.waiting_champions import find_waiting, list_waiting
from tests.benchmarks.smoke import REPOSITORY
from tests.flows.cli.test_models_products import at, made
from tests.flows.cli_runner import call
from tests.flows.orchestration.test_label_batches import leave_output
from tests.flows.prefect_project import unreachable_server
from tests.tasks.labelling.label_project import judge, person
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


def lay_champion(root: Path, empty_database: bytes, product: str, digest: str = "a") -> None:
    """Make a champion in a project's registry."""
    (root / "var").mkdir(exist_ok=True)
    if not (root / "var" / "mlflow.db").exists():
        (root / "var" / "mlflow.db").write_bytes(empty_database)
    made(root, product, digest, ord(digest) / 1000)


def test_start_waiting_batch_after_the_batch_was_closed_sends_one_event(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = named("closed")
    assert start_waiting_batch(tmp_path, preset) == ""
    add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path)
    assert keep_champion_waiting(preset, at(tmp_path, "closed"), tmp_path) == ""
    lay_champion(tmp_path, empty_database, "closed")
    told = keep_champion_waiting(preset, at(tmp_path, "closed"), tmp_path)
    assert told == "the batch of the champion closed/1 is made when that one ends"
    assert start_waiting_batch(tmp_path, preset) == ""
    monkeypatch.chdir(tmp_path)
    assert "the champion closed/1 waits for a batch" in " ".join(call(label, "batches").output.split())
    with open_label_store(tmp_path) as store:
        open_batch(store, "closed-1", False)
    assert "closed/1 has ended, so that one's batch is due" in start_waiting_batch(tmp_path, preset)
    assert start_waiting_batch(tmp_path, preset) == ""
    until(lambda: bool(events_of(client, LABELS_DUE, preset.name)), "the event")
    [payload] = events_of(client, LABELS_DUE, preset.name)
    assert (payload["config"], payload["champion"]) == ("configs/closed.yaml", "closed/1")


def test_start_waiting_batch_after_the_last_judgement_and_its_batch_ends_the_waiting(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path
) -> None:
    preset = named("judged")
    lay_champion(tmp_path, empty_database, "judged")
    tracker = at(tmp_path, "judged")
    add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path, champion="judged/1")
    # A second event about the champion that has a batch.
    assert keep_champion_waiting(preset, tracker, tmp_path) == ""
    lay_champion(tmp_path, empty_database, "judged", "b")
    assert "judged/2" in keep_champion_waiting(preset, tracker, tmp_path)
    lay_champion(tmp_path, empty_database, "judged", "c")
    assert "judged/3" in keep_champion_waiting(preset, tracker, tmp_path)
    with open_label_store(tmp_path) as store:
        assert [one.champion for one in list_waiting(store)] == ["judged/3"]
        for who in (person(store, "ana"), person(store, "ben")):
            assert start_waiting_batch(tmp_path, preset) == ""
            for item in range(1, 4):
                judge(store, who, item)
        assert "judged/3" in start_waiting_batch(tmp_path, preset)
        # Killed before the batch was made, or failed: the champion is still named.
        waiting = find_waiting(store, "judged")
        assert waiting is not None and waiting.asked
        add_made_batch(preset, leave_output(tmp_path, "2"), tmp_path, champion="judged/3")
        assert list_waiting(store) == []
        # The models of that batch again, after a rollback: there is no other batch to make.
        lay_champion(tmp_path, empty_database, "judged", "d")
        assert "judged/4" in keep_champion_waiting(preset, tracker, tmp_path)
        assert not add_made_batch(preset, leave_output(tmp_path / "again", "2"), tmp_path).is_new
        assert list_waiting(store) == []


def test_start_waiting_batch_of_a_champion_that_waits_again_sends_a_second_event(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path
) -> None:
    preset = named("again")
    lay_champion(tmp_path, empty_database, "again")
    tracker = at(tmp_path, "again")
    for number in ("1", "2"):
        add_made_batch(preset, leave_output(tmp_path, number), tmp_path)
        keep_champion_waiting(preset, tracker, tmp_path)
        with open_label_store(tmp_path) as store:
            open_batch(store, f"again-{number}", False)
        assert start_waiting_batch(tmp_path, preset)
    until(lambda: len(events_of(client, LABELS_DUE, "again")) == 2, "two events")


def test_batch_labels_beside_an_unfinished_batch_lets_the_champion_wait(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sources = [{"name": "people", "labels": "page"}]
    changes = ["name=waits", f"data.sources={json.dumps(sources)}"]
    preset = read_preset(SMOKE, changes)
    add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path)
    lay_champion(tmp_path, empty_database, "waits")
    state = batch_labels(config=str(SMOKE), changes=changes, return_state=True)
    told = "batch waits-1 is open and still needs 6 judgements, so no batch was added"
    assert state.message.startswith(told)
    assert state.message.endswith("; the batch of the champion waits/1 is made when that one ends")
    with open_label_store(tmp_path) as store:
        assert [one.champion for one in list_waiting(store)] == ["waits/1"]
