"""The flows of the deployments, on a real Prefect server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Completed, Failed, Paused, Scheduled, State
from prefect.states import Running as Going

from flows import deployments
from flows.orchestration.events import CHAMPION_MADE, LABELS_DUE, LABELS_INGESTED, emit_run_event
from flows.orchestration.flow_run_pruning import KEPT_CHECKS
from flows.servers.workers import make_pools
from tests.flows.prefect_project import SMOKE, lay_deployments
from tests.waiting import until


@flow(persist_result=False)
def aligning(
    config: str = deployments.DEMO_PRESET, changes: list[str] | None = None, announced: str = ""
) -> State:
    """Return the newer run of the same deployment, or "none"."""
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
    """Return the pool of the trainings, or "here"."""
    changes = ["data.remote=/shared", "execution.gpu_work_pool=gpu"]
    return Completed(
        message=deployments._read_deployed_preset(str(SMOKE), changes).execution.gpu_work_pool or "here"
    )


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
    """End like a labels flow that found nothing new."""
    deployments._prune_checks()
    return Completed(message=f"{deployments.NOTHING_NEW} 0123")


def add_look(client: SyncPrefectClient, deployment: Any, state: Any) -> Any:
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
        add_look(client, deployment, state)
        for deployment, state in (
            (made, Completed(message="the data is 0123")),
            (made, Failed(message=nothing.message)),
            (made, Paused()),
            (made, Going(message=nothing.message)),
            (made, Scheduled()),
            (another, nothing),
        )
    ]
    old = [add_look(client, made, nothing) for _ in range(3)]
    said = LogCreate(name="a", level=20, message="looked", timestamp=datetime.now(UTC), flow_run_id=old[0])
    client.create_logs([said])
    recent = [add_look(client, made, nothing) for _ in range(KEPT_CHECKS)]
    run = client.create_flow_run_from_deployment(made)
    assert run_flow(looking, flow_run=run, return_type="state").is_completed()
    there = set[Any]()
    for start in range(0, 400, 200):
        there |= {found.id for found in client.read_flow_runs(limit=200, offset=start)}
    assert there >= {*kept, *recent, run.id} and there.isdisjoint(old)
    of = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[old[0]]))
    until(lambda: not client.read_logs(of), "the deletion of the logs")


def test_align_ignores_preset_and_changes_of_event(server_root: Path, client: SyncPrefectClient) -> None:
    make_pools()
    lay_deployments(server_root)
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
        # Other events of labels in this project may have started runs too.
        runs = client.read_flow_runs(flow_filter=by_name)
        found[:] = [run for run in runs if run.parameters.get("data_hash") == "d4"]
        return len(found) == 2

    until(started, "two runs of align")
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
    assert state.name == "Completed" and "nothing was run: the event is for the preset" in state.message


def test_label_batch_starts_by_new_champion_of_named_preset(
    server_root: Path, client: SyncPrefectClient
) -> None:
    make_pools()
    lay_deployments(server_root)
    deploying = (sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--name", "label-batch")
    subprocess.run(deploying, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    # A champion that waited for the end of a batch has an event of its own.
    for event, config in ((CHAMPION_MADE, "configs/own.yaml"), (LABELS_DUE, deployments.DEMO_PRESET)):
        assert emit_run_event(event, "demo", "version 1 is the champion", "", config=config)
    (server_root / "configs").mkdir(exist_ok=True)
    shutil.copy(SMOKE, server_root / deployments.DEMO_PRESET)
    found: dict[str, FlowRun] = {}

    def started() -> bool:
        by_name = FlowFilter(name=FlowFilterName(any_=["chatmill-label-batch"]))
        for run in client.read_flow_runs(flow_filter=by_name):
            # Tests of other files leave runs for their own presets on this server.
            if (announced := run.parameters["announced"]) in ("configs/own.yaml", deployments.DEMO_PRESET):
                found[announced] = run
        return len(found) == 2

    until(started, "two runs of label-batch")
    said = {}
    for announced, run in found.items():
        state = run_flow(
            deployments.batch_labels, flow_run=run, parameters=run.parameters, return_type="state"
        )
        said[announced] = state.message
    (server_root / deployments.DEMO_PRESET).unlink()
    assert "the event is for the preset" in said["configs/own.yaml"]
    # The preset does not learn from the page.
    assert "no source of configs/demo.yaml is the label page" in said[deployments.DEMO_PRESET]


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
