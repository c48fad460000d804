"""The events about batches of the label page, on a real Prefect server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Crashed, Scheduled

from flows.cli.label import label
from flows.config import Preset, read_preset
from flows.deployments import batch_labels
from flows.orchestration import batch_events
from flows.orchestration.batch_events import (
    count_batch_attempt,
    send_batch_requests,
    start_waiting_batch,
)
from flows.orchestration.events import BATCH_DEPLOYMENT, LABELS_DUE, LABELS_REQUESTED
from flows.orchestration.label_batches import add_made_batch, keep_champion_waiting
from flows.servers.environment import TEMPORARY_PREFECT
from tasks.labelling.batch_requests import unsent_requests
from tasks.labelling.batches import open_batch
from tasks.labelling.schema import has_label_store, open_label_store
from tasks.labelling.waiting_champions import MOST_ATTEMPTS, find_waiting, list_waiting
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


def test_send_batch_requests_to_a_server_of_one_run_keeps_the_request(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = named("alone")
    for number in ("1", "2"):
        add_made_batch(preset, leave_output(tmp_path, number), tmp_path, add_another=True)
    with monkeypatch.context() as patch:
        # Nobody would act on the event there.
        patch.setenv(TEMPORARY_PREFECT, "http://127.0.0.1:1/api")
        assert send_batch_requests(tmp_path, preset.name) == ""
    with open_label_store(tmp_path) as store:
        assert len(unsent_requests(store, preset.name)) == 2
        open_batch(store, "alone-1", False)
        assert send_batch_requests(tmp_path, preset.name) == ""
        assert unsent_requests(store, preset.name) == []
    until(lambda: bool(events_of(client, LABELS_REQUESTED, preset.name)), "the event")
    # Nobody is asked to judge a batch that was closed meanwhile.
    assert [found["batch"] for found in events_of(client, LABELS_REQUESTED, "alone")] == ["alone-2"]


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


def test_start_waiting_batch_after_the_batch_was_closed_sends_an_event(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = named("closed")
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_bytes(empty_database)
    tracker = at(tmp_path, "closed")
    assert start_waiting_batch(tmp_path, preset, tracker) == ""
    # Nothing waits, so no store was made.
    assert not has_label_store(tmp_path)
    add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path)
    assert keep_champion_waiting(preset, tracker, tmp_path) == ""
    lay_champion(tmp_path, empty_database, "closed")
    told = keep_champion_waiting(preset, tracker, tmp_path)
    assert told == "the batch of the champion closed/1 is made when that one ends"
    assert start_waiting_batch(tmp_path, preset, tracker) == ""
    monkeypatch.chdir(tmp_path)
    assert "the champion closed/1 waits for a batch" in " ".join(call(label, "batches").output.split())
    with open_label_store(tmp_path) as store:
        open_batch(store, "closed-1", False)
    assert "that of the champion closed/1 is due" in start_waiting_batch(tmp_path, preset, tracker)
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
            assert start_waiting_batch(tmp_path, preset, tracker) == ""
            for item in range(1, 4):
                judge(store, who, item)
        assert "judged/3" in start_waiting_batch(tmp_path, preset, tracker)
        # Killed before the batch was made, or failed: the champion still waits.
        assert find_waiting(store, "judged") is not None
        add_made_batch(preset, leave_output(tmp_path, "2"), tmp_path, champion="judged/3")
        assert list_waiting(store) == []
        # The models of that batch again, after a rollback: there is no other batch to make.
        lay_champion(tmp_path, empty_database, "judged", "d")
        assert "judged/4" in keep_champion_waiting(preset, tracker, tmp_path)
        same = leave_output(tmp_path / "again", "2")
        assert not add_made_batch(preset, same, tmp_path, champion="judged/4").is_new
        assert list_waiting(store) == []
        assert start_waiting_batch(tmp_path, preset, tracker) == ""
        assert list_waiting(store) == []


def test_start_waiting_batch_until_the_champion_has_one_starts_a_run(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path
) -> None:
    # The event of the new champion was lost, as no server ran.
    preset = named("lost")
    lay_champion(tmp_path, empty_database, "lost")
    tracker = at(tmp_path, "lost")
    said = "no batch needs judgements any more, so that of the champion lost/1 is due"
    # No deployment listens: the next poll says it again, under another id.
    assert [start_waiting_batch(tmp_path, preset, tracker) for _ in range(2)] == [said] * 2
    until(lambda: len(events_of(client, LABELS_DUE, "lost")) == 2, "two events")
    run = scheduled_run(client, "configs/lost.yaml")
    scheduled_run(client, "configs/other.yaml")
    assert start_waiting_batch(tmp_path, preset, tracker) == ""
    # Its process was killed.
    client.set_flow_run_state(run, Crashed(), force=True)
    assert start_waiting_batch(tmp_path, preset, tracker) == said
    for _ in range(MOST_ATTEMPTS):
        count_batch_attempt(tmp_path, "configs/lost.yaml")
    assert start_waiting_batch(tmp_path, preset, tracker) == ""
    # A newer champion has all attempts again.
    lay_champion(tmp_path, empty_database, "lost", "b")
    assert "champion lost/2 is due" in start_waiting_batch(tmp_path, preset, tracker)
    add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path, champion="lost/2")
    with open_label_store(tmp_path) as store:
        open_batch(store, "lost-1", False)
    assert start_waiting_batch(tmp_path, preset, tracker) == ""


def scheduled_run(client: SyncPrefectClient, announced: str) -> UUID:
    """Return a run that waits, of a deployment of the name by which batches are made."""
    flow = client.create_flow_from_name("batches")
    deployment = client.create_deployment(flow, BATCH_DEPLOYMENT)
    given = {"announced": announced}
    return client.create_flow_run_from_deployment(deployment, parameters=given, state=Scheduled()).id


def test_start_waiting_batch_champion_of_another_preset_is_not_due(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path
) -> None:
    preset = read_preset(SMOKE, ["name=mine", "registry.model=shared"])
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_bytes(empty_database)
    made(tmp_path, "shared", "a", 0.5, preset="other")
    assert start_waiting_batch(tmp_path, preset, at(tmp_path, "shared")) == ""


def test_start_waiting_batch_without_a_trigger_names_the_next_step(
    client: SyncPrefectClient, empty_database: bytes, tmp_path: Path
) -> None:
    preset = named("old")
    lay_champion(tmp_path, empty_database, "old")
    found = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    for one in found["deployments"]:
        if one["name"] == BATCH_DEPLOYMENT:
            del one["triggers"][1]
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(found))
    said = start_waiting_batch(tmp_path, preset, at(tmp_path, "old"))
    assert said == (
        "prefect.yaml: no trigger of the deployment label-batch expects labels.due, so it does not start by "
        "itself; docs/unattended.md has the lines to add, then start `chatmill up` again; until then, "
        "`chatmill label batch` makes the batch of old/1"
    )
    # The lines of the document are those of the file.
    lines = (REPOSITORY / "docs" / "unattended.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert lines in (REPOSITORY / "prefect.yaml").read_text()
    shutil.copy(REPOSITORY / "prefect.yaml", tmp_path)
    assert "old/1 is due" in start_waiting_batch(tmp_path, preset, at(tmp_path, "old"))


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
    # The next run is for this preset, but its deployment names another one.
    state = batch_labels(config=str(SMOKE), announced="configs/waits.yaml", return_state=True)
    assert state.message.startswith("nothing was run")
    with open_label_store(tmp_path) as store:
        assert [one.attempts for one in list_waiting(store)] == [0]
        count_batch_attempt(tmp_path, str(SMOKE))
        assert [one.attempts for one in list_waiting(store)] == [1]
