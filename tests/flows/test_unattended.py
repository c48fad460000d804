"""What a run that nobody watches asks people and tells them, on a real Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import State
from typer.testing import CliRunner

from flows import approve, deployed, models
from flows.configuration import read_preset
from flows.running import Running
from flows.surroundings import bare, free_port, silent
from model.errors import UserError
from tasks.gate import gate
from tasks.stage import Reference
from tests.hosts import until

REPOSITORY = Path(__file__).parent.parent.parent
SMOKE = REPOSITORY / "configs" / "smoke.yaml"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, and a server that runs as `chatmill up` runs it."""
    place = tmp_path_factory.mktemp("unattended")
    home = place / "var" / "prefect"
    home.mkdir(parents=True)
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    with (place / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**bare(REPOSITORY), "PREFECT_HOME": str(home), "PREFECT_API_URL": api},
            cwd=place, stdout=log, stderr=log,
        )  # fmt: skip
    before = Path.cwd()
    try:
        until(lambda: not silent(api), 90, "the server's start")
        os.chdir(place)
        with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_API_URL: api}):
            patch.setenv("PREFECT_API_URL", api)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            yield place
    finally:
        os.chdir(before)
        server.terminate()
        server.wait(30)


@pytest.fixture
def client(root: Path) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


def say(*words: str, code: int = 0) -> str:
    app = typer.Typer()
    for command in (models.models, approve.approve):
        app.command()(command)
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    if isinstance(done.exception, UserError):
        assert code == 2
        return str(done.exception)
    assert done.exit_code == code, done.output
    return str(done.output)


@flow(persist_result=False)
def asking(score: float) -> State:
    """The end of the chain as a deployment has it, with a model and its figures as they are given."""
    preset = read_preset(SMOKE, ["promote.approval=human"])
    if answered := deployed._answered(preset):
        return answered
    with Running(preset) as run:
        figures = Path("figures") / str(score)
        # Made a second time, this fails.
        figures.mkdir(parents=True)
        (figures / "metrics.json").write_text(json.dumps({"judge_gain": score, "ends_by_itself": 0.9}))
        measured = Reference("evaluate", "k", str(figures), str(score), False, 1.0, {})
        run.references["ingest"] = Reference("ingest", "k", "", "d", False, 1.0, {"data_hash": "d"})
        aligned = Reference("rlhf", "k", "", str(score), False, 1.0, {}, run.tracker.run)
        run.register(aligned, run(gate, preset.gate, measured))
        outcome = run.outcome()
    return deployed._ended(preset, outcome)


def deploy(client: SyncPrefectClient, score: float) -> FlowRun:
    made = client.create_deployment(client.create_flow_from_name("asking"), f"asking-{score}")
    return client.create_flow_run_from_deployment(made, parameters={"score": score})


def go_on(client: SyncPrefectClient, run: FlowRun) -> tuple[str, str]:
    """Run what is due, as a worker does; the state that it ends in."""
    due = client.read_flow_run(run.id)
    with suppress(Pause):
        run_flow(asking, flow_run=due, parameters=due.parameters, return_type="state")
    state = client.read_flow_run(run.id).state
    assert state is not None
    return str(state.name), state.message or ""


def shown_to_a_person(client: SyncPrefectClient, run: FlowRun) -> list[Any]:
    """What the form says above its fields, and the run's own pages."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    state = client.read_flow_run(run.id).state
    assert state is not None and state.state_details.run_input_keyset is not None
    form = json.loads(client.read_flow_run_input(run.id, state.state_details.run_input_keyset["description"]))
    of = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    return [form, *(found.data for found in client.read_artifacts(artifact_filter=of))]


def test_a_run_waits_for_a_person_and_ends_with_what_they_said(root: Path, client: SyncPrefectClient) -> None:
    first, second = deploy(client, 0.4), deploy(client, 0.5)
    assert go_on(client, first)[0] == go_on(client, second)[0] == "Suspended"
    # The evaluation stands where the person decides: in the form, and as a page of the run.
    form, page = shown_to_a_person(client, first)
    assert form == page and "| judge_gain | 0.4 |  |" in page
    listed = [line.split()[0] for line in say("models").splitlines() if "waits" in line]
    assert listed == ["2", "1"]

    shown = say("approve", first.name, "--show")
    assert "judge_gain" in shown and "no champion yet" in shown and "waits for a person until" in shown
    assert "wants its reason" in say("approve", first.name, "--reject", code=2)
    assert "more than one version is meant (2, 1)" in say("approve", code=2)
    said = say("approve", first.name, "--why", "reads well")
    assert "version 1 of chatmill is now the champion" in said and f"{first.name} goes on" in said
    # As Prefect's page does it: Resume, and the form.
    refused = client.resume_flow_run(second.id, {"approve": False, "why": "rude", "who": "ann"})
    assert refused.status.value == "ACCEPT"

    name, message = go_on(client, first)
    assert name == "Completed" and "approved by" in message and "reads well" in message
    assert go_on(client, second) == (
        "Completed", "version 2 of chatmill was refused by ann; the champion stays version 1",
    )  # fmt: skip
    assert "champion: version 1" in say("models") and "reads well" in say("models", "--history")
    again = say("approve", "1")
    assert "approved by" in again and "is not suspended: Completed" in again
