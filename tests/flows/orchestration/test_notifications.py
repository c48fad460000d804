"""Notifications of unattended runs and the decision of a person, on a real Prefect server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import typer
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import State
from typer.testing import CliRunner

from flows import deployments
from flows.cli import approve, models, notify
from flows.config import read_preset
from flows.orchestration import events
from flows.orchestration.events import DRIFT, emit_run_event
from flows.orchestration.notifications import NOTICES
from flows.orchestration.slow_stage_alert import alert_when_slow
from flows.orchestration.tracker import open_tracker
from flows.pipeline_run import PipelineRun
from model.errors import UserError
from tasks.engine.cache_key import folder_sums
from tasks.engine.output import MANIFEST, StageOutput, file_sizes, write_manifest
from tasks.gate import gate
from tasks.ingest import ingest
from tasks.tracking.queries import made_seconds
from tasks.validate import validate
from tests.flows.prefect_project import SMOKE, unreachable_server
from tests.waiting import PATIENCE, until


def say(*words: str, code: int = 0) -> str:
    app = typer.Typer()
    for command in (models.models, approve.approve, notify.notify):
        app.command()(command)
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    if isinstance(done.exception, UserError):
        assert code == 2
        return str(done.exception)
    assert done.exit_code == code, done.output
    return str(done.output)


class Receiver(BaseHTTPRequestHandler):
    """The webhook of a chat, which keeps the messages that it receives."""

    came: ClassVar[list[str]] = []
    answer = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).came.append(f"{self.path} {body['text']}")
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write no log."""


@pytest.fixture(scope="module")
def webhook(server_root: Path) -> Iterator[None]:
    """Run the webhook and put its address into the environment."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHATMILL_WEBHOOK", f"http://127.0.0.1:{server.server_port}/secret-letters")
            yield
        server.shutdown()


def came(what: str) -> str:
    """Wait for the message that begins with this subject, and return it."""
    start = f"/secret-letters chatmill: {what}"
    until(lambda: any(one.startswith(start) for one in Receiver.came), f"{what} in {Receiver.came}")
    return next(one for one in Receiver.came if one.startswith(start))


def test_notify_without_valid_webhook_is_refused(server_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CHATMILL_WEBHOOK is not set" in say("notify", code=2)
    monkeypatch.setenv("CHATMILL_WEBHOOK", "not a valid address")
    assert "CHATMILL_WEBHOOK is not a valid address" in say("notify", code=2)


def test_notify_repeated_changes_nothing_and_repairs_changed_automation(
    webhook: None, client: SyncPrefectClient
) -> None:
    first = say("notify", "--test")
    assert first.count(" created") == len(NOTICES)
    assert Receiver.came == ["/secret-letters chatmill: a test\nMessages arrive here."]
    before = client.read_automations()
    # An automation that a person switched off stays off.
    client.pause_automation(before[0].id)
    again = say("notify")
    assert " created" not in again and again.count(" exists") == len(NOTICES) and "switched off" in again
    assert {one.id for one in client.read_automations()} == {one.id for one in before}
    client.resume_automation(before[0].id)
    # A changed automation is repaired.
    other = before[0].model_dump(exclude={"id", "owner_resource"}) | {"trigger": before[1].trigger}
    client.update_automation(before[0].id, AutomationCore.model_validate(other))
    assert " corrected" in say("notify") and " corrected" not in say("notify")


def lay_evaluation(score: float) -> StageOutput:
    """Write the output of `evaluate` with this score."""
    folder = Path("figures") / str(score)
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"aligned_judge": score, "judge_gain": score, "judge_reliable": 1.0, "kl": 1.0, "prompts": 9}
    (folder / "metrics.json").write_text(json.dumps(figures))
    held_out = {"prompts": "p", "champion": {"measured": False, "why": ""}, "judge": {"digest": "j"}}
    (folder / "held_out.json").write_text(json.dumps(held_out))
    return _seal_output("evaluate", folder, str(score))


def _lay_model(digest: str, run: str) -> StageOutput:
    """Write an output of `rlhf` with the parts that these tests read."""
    folder = Path("aligned") / digest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text(digest)
    return replace(_seal_output("rlhf", folder, digest), run=run)


def _seal_output(stage: str, folder: Path, digest: str) -> StageOutput:
    without = (MANIFEST,)
    manifest = {"stage": stage, "key": "k", "digest": digest, "metrics": {}, "seconds": 1.0}
    manifest |= {"sums": folder_sums(folder, without), "files": file_sizes(folder, without=without)}
    write_manifest(folder, manifest)
    return StageOutput(stage, "k", str(folder), digest, False, 1.0, {})


@flow(persist_result=False)
def asking(score: float) -> State:
    """Run the end of the pipeline as a deployment does, with a model of this score."""
    preset = read_preset(SMOKE, ["promote.approval=human"])
    if answered := deployments._read_decision(preset):
        return answered
    # Running this twice fails, so a resumed run must not repeat it.
    Path(f"made-{score}").touch(exist_ok=False)
    with PipelineRun(preset) as run:
        run.references["ingest"] = StageOutput("ingest", "k", "", "d", False, 1.0, {"data_hash": "d"})
        aligned = _lay_model(str(score), run.tracker.run)
        run.tracker.client.log_text(run.tracker.run, str(score), "model/config.json")
        run.register_model(aligned, run(gate, preset.gate, lay_evaluation(score)))
        outcome = run.collect_outcome()
    return deployments._finish_or_suspend(preset, outcome)


def deploy(client: SyncPrefectClient, score: float) -> FlowRun:
    made = client.create_deployment(client.create_flow_from_name("asking"), f"asking-{score}")
    return client.create_flow_run_from_deployment(made, parameters={"score": score})


def run_due(client: SyncPrefectClient, run: FlowRun) -> tuple[str, str]:
    """Run a flow run as a worker does; return the name and message of its last state."""
    due = client.read_flow_run(run.id)
    with suppress(Pause):
        run_flow(asking, flow_run=due, parameters=due.parameters, return_type="state")
    state = client.read_flow_run(run.id).state
    assert state is not None
    return str(state.name), state.message or ""


def read_shown_pages(client: SyncPrefectClient, run: FlowRun) -> list[Any]:
    """Return the text of the approval form and the artifacts of the run."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    state = client.read_flow_run(run.id).state
    assert state is not None and state.state_details.run_input_keyset is not None
    form = json.loads(client.read_flow_run_input(run.id, state.state_details.run_input_keyset["description"]))
    of = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    return [form, *(found.data for found in client.read_artifacts(artifact_filter=of))]


def test_approve_suspended_run_ends_with_decision(webhook: None, client: SyncPrefectClient) -> None:
    first, second = deploy(client, 0.4), deploy(client, 0.5)
    assert run_due(client, first)[0] == run_due(client, second)[0] == "Suspended"
    # The approval form and a page of the run show the evaluation.
    form, *pages = read_shown_pages(client, first)
    assert form in pages and "| aligned assistant (RLHF): the judge’s mean score | 0.4 |  |" in form
    listed = [line.split()[1] for line in say("models").splitlines() if "pending" in line]
    assert listed == ["2", "1"]

    assert "`chatmill approve smoke/1 --show`" in came("a model of smoke waits for approval")
    shown = say("approve", first.name, "--show")
    assert (
        "aligned assistant (RLHF): the judge’s mean score" in shown
        and "no champion yet" in shown
        and "pending until" in shown
    )
    assert "a rejection needs --reason TEXT" in say("approve", first.name, "--reject", code=2)
    assert "several versions match (smoke/2, smoke/1)" in say("approve", code=2)
    said = say("approve", first.name, "--reason", "reads well")
    assert "version 1 of smoke is now the champion" in said and f"{first.name} resumes" in said
    # Prefect's page resumes a run with the form in the same way.
    refused = client.resume_flow_run(second.id, {"approve": False, "why": "rude", "who": "ann"})
    assert refused.status.value == "ACCEPT"

    name, message = run_due(client, first)
    assert name == "Completed" and "approved by" in message and "reads well" in message
    assert run_due(client, second) == (
        "Completed", "version 2 of smoke was rejected by ann; the champion stays version 1",
    )  # fmt: skip
    assert "champion of smoke: version 1" in say("models") and "reads well" in say("models", "--history")
    again = say("approve", "1")
    assert "approved by" in again and "is not suspended: Completed" in again


@flow(persist_result=False)
def refusing(rows: str) -> None:
    """Run a flow whose data is refused."""
    preset = read_preset(SMOKE, [f"data.sources=[{{name: own, files: {rows}, format: rows}}]"])
    with PipelineRun(preset) as run:
        run(validate, preset.validation_parameters(), run(ingest, preset.data))


@flow(persist_result=False)
def judging(score: float, untold: bool) -> None:
    """Register a model that the gate refuses."""
    preset = read_preset(SMOKE, ["gate.min={judge_gain: 0.9}"])
    with PipelineRun(preset) as run:
        run.references["ingest"] = StageOutput("ingest", "k", "", "d", False, 1.0, {"data_hash": "d"})
        aligned = _lay_model("bad", run.tracker.run)
        verdict = run(gate, preset.gate, lay_evaluation(score))
        with unreachable_server() if untold else nullcontext():
            run.register_model(aligned, verdict)


def test_notifications_each_event_reaches_webhook_once(
    webhook: None, server_root: Path, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = server_root / "bad.jsonl"
    bad.write_text('{"text": ""}\n' * 9 + '{"text": "a good sentence"}\n')
    with pytest.raises(UserError, match="rejected before any training"):
        refusing("bad.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(events, "EVENT_PATIENCE_SECONDS", 0.0)
        # The second run reuses the gate, whose message was not sent yet.
        for untold in (True, False, False):
            judging(0.3, untold)
    assert emit_run_event(DRIFT, "smoke", "unknown pieces are 4%", "`chatmill data log` lists them")
    past = made_seconds(open_tracker().client, "smoke", "gate")
    assert past and all(0 < seconds < PATIENCE for seconds in past)
    with alert_when_slow("gate", "smoke", lambda: [*past, 0.1, 0.1, 0.1, 0.1, 0.1], least=0.1):
        slow = came("a run of smoke is slow")
    assert re.search(r"gate of smoke has taken [0-9.]+ s so far; its median is 0.[01] s \(computed", slow)
    rejected = came("the data of smoke was rejected")
    assert "rejected before any training" in rejected and "`chatmill quarantine list`" in rejected
    failed = came("refusing ended Failed")
    assert "rejected before any training" in failed and "/runs/flow-run/" in failed
    refused = "judge’s mean score, aligned less assistant: 0.3, at least 0.9 is required"
    assert refused in came("the gate rejected a model of smoke")
    assert "unknown pieces are 4%" in came("the data of smoke drifts")
    # A preset, a person or a file may have a name of other bytes than UTF-8's.
    for odd in ("caf\udce9", "\ud83d", "Zo\udceb"):
        assert emit_run_event("chatmill.test", odd, odd, "none", people={odd: 1}, files=[odd])
    # Each event is sent once: a reported gate is not repeated, and the same event at most once an hour.
    # An event of another preset that was emitted later has arrived.
    assert emit_run_event(DRIFT, "smoke", "unknown pieces are 5%", "`chatmill data log` lists them")
    assert emit_run_event(DRIFT, "third", "unknown pieces are 6%", "`chatmill data log` lists them")
    came("the data of third drifts")
    subjects = [one.partition("\n")[0] for one in Receiver.came]
    # Two models waited for approval, and one test message was sent.
    assert len(subjects) == len(set(subjects)) + 1 == 9

    Receiver.answer = 404
    assert "the address in CHATMILL_WEBHOOK answers with status 404" in say("notify", "--test", code=2)
    # The address is secret, also in the log of a server that fails to reach it.
    emit_run_event(DRIFT, "other", "more than before", "`chatmill data log`")
    came("the data of other drifts")
    until(lambda: "404" in (server_root / "server.log").read_text(), "the server's complaint")
    shown = json.dumps(
        client.read_block_document_by_name("chatmill", "custom-webhook", include_secrets=False).model_dump(
            mode="json"
        )
    )
    assert "secret-letters" not in shown + say("notify") + (server_root / "server.log").read_text()
