"""What a run that nobody watches asks people and tells them, on a real Prefect server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import isawaitable
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import typer
import yaml
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.automations import AutomationCore
from prefect.events.worker import EventsWorker
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Paused, Scheduled, State
from prefect.states import Running as Going
from prefect.utilities.asyncutils import run_coro_as_sync
from typer.testing import CliRunner

from flows import deployments
from flows.cli import approve, models, notify
from flows.config import read_preset
from flows.orchestration import events
from flows.orchestration.events import DRIFT, LABELS_INGESTED, emit_run_event
from flows.orchestration.flow_run_pruning import KEPT_LOOKS
from flows.orchestration.notifications import NOTICES
from flows.orchestration.preset_deployments import name_presets, remove_former, write_deployments
from flows.orchestration.slow_stage_alert import alert_when_slow
from flows.orchestration.tracker import open_tracker
from flows.pipeline_run import PipelineRun, _limit_arrivals
from flows.servers import workers
from flows.servers.commands import ListenAddress, prefect_server
from flows.servers.credentials import stored_login
from flows.servers.environment import Settings, checkout_environment, free_port, health_problem
from flows.servers.workers import make_pools
from model.errors import UserError
from tasks.data.new_labels import known_labels
from tasks.data.records import rating_row, write_rows
from tasks.engine.cache_key import folder_sums
from tasks.engine.output import MANIFEST, StageOutput, file_sizes, write_manifest
from tasks.gate import gate
from tasks.ingest import ingest
from tasks.tracking.queries import made_seconds
from tasks.validate import validate
from tests.integration.two_hosts import until

REPOSITORY = Path(__file__).parents[3]
SMOKE = REPOSITORY / "configs" / "smoke.yaml"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, and a server that runs as `chatmill up` runs it."""
    place = tmp_path_factory.mktemp("unattended")
    home = place / "var" / "prefect"
    home.mkdir(parents=True)
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    login = stored_login(place)
    service = prefect_server(Settings(place, "", "", login), ListenAddress("127.0.0.1", port))
    with (place / "server.log").open("wb") as log:
        environment = {**checkout_environment(REPOSITORY), "PREFECT_HOME": str(home), **service.environment}
        server = subprocess.Popen(service.command, cwd=place, env=environment, stdout=log, stderr=log)
    before = Path.cwd()
    try:
        until(lambda: not health_problem(api), 90, "the server's start")
        os.chdir(place)
        known = {PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: login.text}
        with pytest.MonkeyPatch.context() as patch, temporary_settings(known):
            # A server that `up` did not start is named beside its password.
            for name, value in {"PREFECT_API_URL": api, "CHATMILL_PASSWORD": login.text}.items():
                patch.setenv(name, value)
            patch.setenv("PREFECT_API_AUTH_STRING", login.text)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            yield place
            # Prefect keeps its client for events: the next server's would go to this one's address.
            run_coro_as_sync(_drain())
    finally:
        os.chdir(before)
        server.terminate()
        server.wait(30)


async def _drain() -> None:
    drained = EventsWorker.drain_all()
    if isawaitable(drained):
        await drained


@pytest.fixture
def client(root: Path) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


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
    """A chat's webhook: it keeps what it is sent."""

    came: ClassVar[list[str]] = []
    answer = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).came.append(f"{self.path} {body['text']}")
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def webhook(root: Path) -> Iterator[None]:
    """That chat, its address in the environment."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHATMILL_WEBHOOK", f"http://127.0.0.1:{server.server_port}/secret-letters")
            yield
        server.shutdown()


def came(what: str, seconds: float = 90) -> str:
    """The message that begins so, once it is there."""
    start = f"/secret-letters chatmill: {what}"
    until(lambda: any(one.startswith(start) for one in Receiver.came), seconds, f"{what} in {Receiver.came}")
    return next(one for one in Receiver.came if one.startswith(start))


def test_notify_without_valid_webhook_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CHATMILL_WEBHOOK is not set" in say("notify", code=2)
    monkeypatch.setenv("CHATMILL_WEBHOOK", "no address")
    assert "CHATMILL_WEBHOOK is no address" in say("notify", code=2)


def test_notify_repeated_changes_nothing_and_repairs_changed_automation(
    webhook: None, client: SyncPrefectClient
) -> None:
    first = say("notify", "--test")
    assert first.count("made") == len(NOTICES)
    assert Receiver.came == ["/secret-letters chatmill: a test\nMessages arrive here."]
    before = client.read_automations()
    # What a person switched off stays off.
    client.pause_automation(before[0].id)
    again = say("notify")
    assert "made" not in again and again.count("is there") == len(NOTICES) and "switched off" in again
    assert {one.id for one in client.read_automations()} == {one.id for one in before}
    client.resume_automation(before[0].id)
    # Where it does something else, it is put right.
    other = before[0].model_dump(exclude={"id", "owner_resource"}) | {"trigger": before[1].trigger}
    client.update_automation(before[0].id, AutomationCore.model_validate(other))
    assert "put right" in say("notify") and "put right" not in say("notify")


def lay(score: float) -> StageOutput:
    """What `evaluate` leaves."""
    folder = Path("figures") / str(score)
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"aligned_judge": score, "judge_gain": score, "judge_reliable": 1.0, "kl": 1.0}
    (folder / "metrics.json").write_text(json.dumps(figures))
    held_out = {"prompts": "p", "champion": {"measured": False, "why": ""}, "judge": {"digest": "j"}}
    (folder / "held_out.json").write_text(json.dumps(held_out))
    return _seal_output("evaluate", folder, str(score))


def _lay_model(digest: str, run: str) -> StageOutput:
    """Write what `rlhf` leaves, as far as it is looked at here."""
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
    """The end of the chain as a deployment has it, with a model and its figures as they are given."""
    preset = read_preset(SMOKE, ["promote.approval=human"])
    if answered := deployments._read_decision(preset):
        return answered
    # Made a second time, this fails.
    Path(f"made-{score}").touch(exist_ok=False)
    with PipelineRun(preset) as run:
        run.references["ingest"] = StageOutput("ingest", "k", "", "d", False, 1.0, {"data_hash": "d"})
        aligned = _lay_model(str(score), run.tracker.run)
        run.tracker.client.log_text(run.tracker.run, str(score), "model/config.json")
        run.register_model(aligned, run(gate, preset.gate, lay(score)))
        outcome = run.collect_outcome()
    return deployments._finish_or_suspend(preset, outcome)


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


def test_approve_suspended_run_ends_with_decision(webhook: None, client: SyncPrefectClient) -> None:
    first, second = deploy(client, 0.4), deploy(client, 0.5)
    assert go_on(client, first)[0] == go_on(client, second)[0] == "Suspended"
    # The evaluation stands where the person decides: in the form, and as a page of the run.
    form, *pages = shown_to_a_person(client, first)
    assert form in pages and "| aligned assistant (RLHF): the judge’s mean score | 0.4 |  |" in form
    listed = [line.split()[1] for line in say("models").splitlines() if "pending" in line]
    assert listed == ["2", "1"]

    assert "`chatmill approve smoke/1 --show`" in came("a model of smoke waits for a person")
    shown = say("approve", first.name, "--show")
    assert (
        "aligned assistant (RLHF): the judge’s mean score" in shown
        and "no champion yet" in shown
        and "pending until" in shown
    )
    assert "wants its reason" in say("approve", first.name, "--reject", code=2)
    assert "more than one version is meant (smoke/2, smoke/1)" in say("approve", code=2)
    said = say("approve", first.name, "--reason", "reads well")
    assert "version 1 of smoke is now the champion" in said and f"{first.name} goes on" in said
    # As Prefect's page does it: Resume, and the form.
    refused = client.resume_flow_run(second.id, {"approve": False, "why": "rude", "who": "ann"})
    assert refused.status.value == "ACCEPT"

    name, message = go_on(client, first)
    assert name == "Completed" and "approved by" in message and "reads well" in message
    assert go_on(client, second) == (
        "Completed", "version 2 of smoke was rejected by ann; the champion stays version 1",
    )  # fmt: skip
    assert "champion of smoke: version 1" in say("models") and "reads well" in say("models", "--history")
    again = say("approve", "1")
    assert "approved by" in again and "is not suspended: Completed" in again


@flow(persist_result=False)
def refusing(rows: str) -> None:
    """What stops at the data."""
    preset = read_preset(SMOKE, [f"data.sources=[{{name: own, files: {rows}, format: rows}}]"])
    with PipelineRun(preset) as run:
        run(validate, preset.validation_parameters(), run(ingest, preset.data))


def away() -> AbstractContextManager[object]:
    """Prefect's server does not answer."""
    return temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"})


@flow(persist_result=False)
def judging(score: float, untold: bool) -> None:
    """A model that the gate refuses."""
    preset = read_preset(SMOKE, ["gate.least={judge_gain: 0.9}"])
    with PipelineRun(preset) as run:
        run.references["ingest"] = StageOutput("ingest", "k", "", "d", False, 1.0, {"data_hash": "d"})
        aligned = _lay_model("bad", run.tracker.run)
        verdict = run(gate, preset.gate, lay(score))
        with away() if untold else nullcontext():
            run.register_model(aligned, verdict)


def test_notifications_each_event_reaches_webhook_once(
    webhook: None, root: Path, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = root / "bad.jsonl"
    bad.write_text('{"text": ""}\n' * 9 + '{"text": "a good sentence"}\n')
    with pytest.raises(UserError, match="refused before any training"):
        refusing("bad.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(events, "EVENT_PATIENCE_SECONDS", 0.0)
        # The second run reuses the gate, of which nobody was told yet.
        for untold in (True, False, False):
            judging(0.3, untold)
    assert emit_run_event(DRIFT, "smoke", "unknown pieces are 4%", "`chatmill data log` lists them")
    past = made_seconds(open_tracker().client, "smoke", "gate")
    assert past and all(0 < seconds < 30 for seconds in past)
    with alert_when_slow("gate", "smoke", lambda: [*past, 0.1, 0.1, 0.1, 0.1, 0.1], least=0.1):
        slow = came("a run of smoke is slow")
    assert re.search(r"gate of smoke has taken 0.[1-5] s and goes on; it took 0.[01] s before \(median", slow)
    rejected = came("the data of smoke was rejected")
    assert "refused before any training" in rejected and "`chatmill quarantine list`" in rejected
    failed = came("refusing ended Failed")
    assert "refused before any training" in failed and "/runs/flow-run/" in failed
    refused = "judge’s mean score, aligned less assistant: 0.3, at least 0.9 is required"
    assert refused in came("the gate refused a model of smoke")
    assert "unknown pieces are 4%" in came("the data of smoke drifts")
    # Once each: a gate that was told of is no news, and the same thing is told of once an hour. What was sent
    # for another preset behind it has come.
    assert emit_run_event(DRIFT, "smoke", "unknown pieces are 5%", "`chatmill data log` lists them")
    assert emit_run_event(DRIFT, "third", "unknown pieces are 6%", "`chatmill data log` lists them")
    came("the data of third drifts")
    subjects = [one.partition("\n")[0] for one in Receiver.came]
    # Two models waited, and one test was sent.
    assert len(subjects) == len(set(subjects)) + 1 == 9

    Receiver.answer = 404
    assert "the address in CHATMILL_WEBHOOK answers 404" in say("notify", "--test", code=2)
    # The address is a secret, of the server that has no luck with it too.
    emit_run_event(DRIFT, "other", "more than before", "`chatmill data log`")
    came("the data of other drifts")
    until(lambda: "404" in (root / "server.log").read_text(), 10, "the server's complaint")
    shown = json.dumps(
        client.read_block_document_by_name("chatmill", "custom-webhook", include_secrets=False).model_dump(
            mode="json"
        )
    )
    assert "secret-letters" not in shown + say("notify") + (root / "server.log").read_text()


@flow(persist_result=False)
def aligning(
    config: str = deployments.DEMO_PRESET, changes: list[str] | None = None, announced: str = ""
) -> State:
    """Which run of its deployment was asked for later."""
    return Completed(message=deployments._find_newer_run() or "none")


def test_find_newer_run_counts_only_same_preset(client: SyncPrefectClient) -> None:
    made = client.create_deployment(client.create_flow_from_name("aligning"), "aligning")
    asked = (
        {},
        {"announced": deployments.DEMO_PRESET, "changes": []},
        {"config": "other"},
        {"changes": ["seed=2"]},
    )
    runs = [client.create_flow_run_from_deployment(made, parameters=given) for given in asked]
    newer = []
    for run in runs[:3]:
        state = run_flow(aligning, flow_run=run, parameters=run.parameters, return_type="state")
        newer.append(state.message)
    assert newer == [runs[1].name, "none", "none"]


@flow(persist_result=False)
def placing() -> State:
    """Where its trainings go: the pool's name, or "here"."""
    changes = ["data.remote=/shared", "placement.train=gpu"]
    return Completed(message=deployments._read_deployed_preset(str(SMOKE), changes).placement.train or "here")


def test_read_deployed_preset_in_own_pool_places_trainings_here(client: SyncPrefectClient) -> None:
    make_pools()
    said = []
    for pool in ("gpu", "cpu"):
        made = client.create_deployment(client.create_flow_from_name("placing"), pool, work_pool_name=pool)
        run = client.create_flow_run_from_deployment(made)
        said.append(run_flow(placing, flow_run=run, return_type="state").message)
    assert said == ["here", "gpu"]


@flow(persist_result=False)
def looking() -> State:
    """A look that finds nothing, as the labels flow ends it."""
    deployments._prune_looks()
    return Completed(message=f"{deployments.NOTHING_NEW} 0123")


def look(client: SyncPrefectClient, deployment: Any, state: Any) -> Any:
    run = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(run.id, state, force=True)
    return run.id


def test_prune_looks_deletes_only_old_looks_without_news(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.actions import LogCreate
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    made = client.create_deployment(client.create_flow_from_name("looking"), "looking")
    another = client.create_deployment(client.create_flow_from_name("looking"), "another")
    nothing: Any = Completed(message=f"{deployments.NOTHING_NEW} 0123")
    kept = [
        look(client, deployment, state)
        for deployment, state in (
            (made, Completed(message="the data is 0123")),
            (made, Failed(message=nothing.message)),
            (made, Paused()),
            (made, Going(message=nothing.message)),
            (made, Scheduled()),
            (another, nothing),
        )
    ]
    old = [look(client, made, nothing) for _ in range(3)]
    said = LogCreate(name="a", level=20, message="looked", timestamp=datetime.now(UTC), flow_run_id=old[0])
    client.create_logs([said])
    recent = [look(client, made, nothing) for _ in range(KEPT_LOOKS)]
    run = client.create_flow_run_from_deployment(made)
    assert run_flow(looking, flow_run=run, return_type="state").is_completed()
    there = set[Any]()
    for start in range(0, 400, 200):
        there |= {found.id for found in client.read_flow_runs(limit=200, offset=start)}
    assert there >= {*kept, *recent, run.id} and there.isdisjoint(old)
    of = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[old[0]]))
    until(lambda: not client.read_logs(of), 30, "the deletion of the logs")


def test_prefect_server_deletes_old_runs_and_events(client: SyncPrefectClient) -> None:
    kept = client.request("GET", "/admin/settings").json()["server"]
    assert kept["services"]["db_vacuum"]["retention_period"] in ("P30D", 30 * 86_400)
    assert set(kept["services"]["db_vacuum"]["enabled"]) == {"events", "flow_runs"}
    assert kept["events"]["retention_period"] in ("P2D", 2 * 86_400)


@flow(persist_result=False)
def announcing() -> None:
    """Labels while Prefect's server is away, and when it is back."""
    with PipelineRun(read_preset(SMOKE)) as run:
        run.references["ingest"] = StageOutput("ingest", "k", "", "d", False, 1.0, {"data_hash": "d5"})
        good = StageOutput("validate", "k", "good", "g", False, 1.0, {})
        with away():
            run.announce_labels(good)
        assert known_labels(run.settings.root, "smoke").data == ""
        run.announce_labels(good)
        assert known_labels(run.settings.root, "smoke").data == "d5"


def test_announce_labels_unreachable_server_is_repeated_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("comparisons", "ratings"):
        (root / "good" / "rows" / kind).mkdir(parents=True)
    rating = rating_row("the film", " is good", [1.0], ["ann"], "tone", "s", "g")
    write_rows(root / "good" / "rows" / "ratings" / "00000.jsonl", [rating])
    monkeypatch.setattr(events, "EVENT_PATIENCE_SECONDS", 0.0)
    announcing()


def test_align_ignores_preset_and_changes_of_event(root: Path, client: SyncPrefectClient) -> None:
    make_pools()
    (root / "prefect.yaml").write_bytes((REPOSITORY / "prefect.yaml").read_bytes())
    (root / "flows").symlink_to(REPOSITORY / "flows")
    deploying = (sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--name", "align")
    subprocess.run(deploying, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    foreign = {
        "config": "configs/own.yaml",
        "changes": ["tracking.mlflow=http://evil.example"],
        "presets": [],
    }
    for preset in (foreign, {"config": deployments.DEMO_PRESET, "seed": 2}):
        name = Path(str(preset["config"])).stem
        assert emit_run_event(
            LABELS_INGESTED, name, "3 new ratings", "", data_hash="d4", rows={"ratings": 3}, **preset
        )
    found: list[FlowRun] = []

    def started() -> bool:
        by_name = FlowFilter(name=FlowFilterName(any_=["chatmill-align"]))
        found[:] = client.read_flow_runs(flow_filter=by_name)
        return len(found) == 2

    until(started, 30, "two runs of align")
    told = {"data_hash": "d4", "config": deployments.DEMO_PRESET}
    announced = sorted((run.parameters for run in found), key=lambda one: one["announced"])
    assert announced == [
        {**told, "announced": deployments.DEMO_PRESET},
        {**told, "announced": "configs/own.yaml"},
    ]
    [stranger] = [run for run in found if run.parameters["announced"] == "configs/own.yaml"]
    state = run_flow(
        deployments.align, flow_run=stranger, parameters=stranger.parameters, return_type="state"
    )
    assert state.name == "Completed" and "nothing was run: the event names the preset" in state.message


def _write_preset(path: Path, name: str) -> Path:
    values = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**values, "name": name}), encoding="utf-8")
    return path


def test_write_deployments_follows_named_presets_and_removes_others(
    root: Path, client: SyncPrefectClient
) -> None:
    make_pools()
    shutil.copy(REPOSITORY / "prefect.yaml", root / "prefect.yaml")
    if not (root / "flows").exists():
        (root / "flows").symlink_to(REPOSITORY / "flows")
    files = [f"presets/{name}.yaml" for name in ("first", "second", "third")]
    presets = [_write_preset(root / file, f"{Path(file).stem} préset") for file in files]
    settings = Settings(root, "", "", stored_login(root))
    (root / "var" / "logs").mkdir(exist_ok=True)

    def deploy_presets(*wanted: Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
        file, names = write_deployments(root, wanted)
        assert workers.deploy_flows(settings, os.environ["PREFECT_API_URL"], file) == ""
        removed = remove_former(names)
        there = {one.name: one.parameters for one in client.read_deployments()}
        assert set(names) <= set(there)
        return removed, there

    # One that is named twice, by another path, counts once.
    removed, there = deploy_presets(*presets, root / "presets" / ".." / files[1])
    assert removed == []
    for kind in ("nightly", "labels"):
        assert there[kind] == {"config": files[0]}
        for name, file in zip(("second", "third"), files[1:], strict=True):
            assert there[f"{kind}-{name}-préset"] == {"config": file}
    assert there["align"] == {"config": files[0], "presets": files[1:]}
    removed, there = deploy_presets(presets[2], presets[0])
    assert removed == [
        f"{kind}-{name}-préset" for kind in ("labels", "nightly") for name in ("second", "third")
    ]
    assert there["nightly"] == {"config": files[2]} and there["align"]["presets"] == [files[0]]
    # As `up` without --config does it.
    assert workers.deploy_flows(settings, os.environ["PREFECT_API_URL"]) == ""
    assert remove_former(workers.deployment_names(root)) == ["labels-first-préset", "nightly-first-préset"]
    there = {one.name: one.parameters for one in client.read_deployments()}
    assert there["nightly"] == there["align"] == {"config": deployments.DEMO_PRESET}


def test_name_presets_and_write_deployments_refuse_ambiguous_names(tmp_path: Path) -> None:
    one, other = (_write_preset(tmp_path / f"{name}.yaml", "same") for name in ("a", "b"))
    with pytest.raises(UserError, match=r"a\.yaml and b\.yaml both have the name same"):
        name_presets(tmp_path, [one, other])
    with pytest.raises(UserError, match=r"c\.yaml does not exist"):
        name_presets(tmp_path, [tmp_path / "c.yaml"])
    assert name_presets(tmp_path / "project", [one]) == {"same": str(one)}
    with pytest.raises(UserError, match=r"has no prefect\.yaml"):
        write_deployments(tmp_path, [one])
    wrong = {
        "[": "cannot be read",
        "deployments: 3": "no list",
        "deployments: [{name: reproduce}]": "has no deployment",
    }
    for text, said in wrong.items():
        (tmp_path / "prefect.yaml").write_text(text)
        with pytest.raises(UserError, match=said):
            write_deployments(tmp_path, [one])
    twice = {"deployments": [{"name": "nightly"}, {"name": "nightly-b"}]}
    (tmp_path / "prefect.yaml").write_text(json.dumps(twice))
    with pytest.raises(UserError, match="two deployments would be named nightly-b"):
        write_deployments(tmp_path, [one, _write_preset(tmp_path / "b.yaml", "b")])
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    ("announced", "chosen"),
    [
        ("", "configs/demo.yaml"),
        ("configs/demo.yaml", "configs/demo.yaml"),
        ("./configs/../configs/demo.yaml", "configs/demo.yaml"),
        ("configs/second.yaml", "configs/second.yaml"),
        ("configs/other.yaml", None),
        ("/etc/passwd", None),
        ("configs/demo.yaml\0", None),
        ("../configs/demo.yaml", None),
        ("{'config': 'configs/demo.yaml'}", None),
        ("x" * 100_000, None),
    ],
)
def test_named_preset_is_one_of_deployment(announced: str, chosen: str | None) -> None:
    assert deployments._named_preset(announced, ["configs/demo.yaml", "configs/second.yaml"]) == chosen


def test_limit_arrivals_many_people_keeps_most_active_and_counts() -> None:
    many = {f"person {number:06}": 1 + (number == 59_999) for number in range(60_000)}
    found = _limit_arrivals({"rows": {"ratings": 60_000}, "annotators": many})
    assert found["people"] == 60_000 and found["rows"] == {"ratings": 60_000}
    assert found["annotators"]["person 059999"] == 2 and len(json.dumps(found)) < 200_000
    few = {"ann": 2, "bob": 3}
    assert _limit_arrivals({"rows": {}, "annotators": few}) == {"rows": {}, "annotators": few, "people": 2}
