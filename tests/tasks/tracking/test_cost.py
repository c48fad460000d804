"""Test the sums of costs in MLflow: spent, lost, and saved by reuse."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.engine.output import StageOutput
from tasks.tracking.cost import in_all, read_costs, sum_costs
from tasks.tracking.tracker import Tracker


def made(stage: str, folder: Path, reused: bool = False, **cost: Any) -> StageOutput:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"device": "cpu", "devices": 1, "seconds": 10.0, "device_seconds": 10.0, "lost": 0.0, **cost}
    return StageOutput(stage, "k", str(folder), "d", reused, 10.0, {}, "", whole)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a complete run, a run with a killed training, a run that resumes it, and a failed one."""
    place = tmp_path_factory.mktemp("project")
    tracker = Tracker(f"sqlite:///{place}/var/mlflow.db", "chatmill", place / "var" / "mlflow")

    @contextmanager
    def run() -> Iterator[None]:
        with tracker.open_run("smoke", {}, {"prefect.flow_run_id": "f"}, "n"):
            yield

    def close(stage: str, **told: Any) -> None:
        with tracker.open_stage(stage, {}, []):
            tracker.close_stage(made(stage, place / stage, **told), "")

    with run():
        close("ingest", memory=3_000)
        close("sft", device="cuda", device_seconds=100.0, tokens=5_000, gpu_memory=9_000)
    killed = ""
    with pytest.raises(KeyboardInterrupt), run():
        close("ingest", reused=True)
        with tracker.open_stage("sft", {}, []) as killed:
            tracker.begin_stage("cuda", 2)
            raise KeyboardInterrupt
    with run():
        close("ingest", reused=True)
        close("sft", device="cuda", device_seconds=50.0, lost=20.0, repeated=7, runs=[killed], tokens=1_000)
    with pytest.raises(ValueError, match="bad"), run(), tracker.open_stage("evaluate", {}, []):
        tracker.begin_stage("cpu", 3)
        raise ValueError("bad")
    return place


def test_read_costs_resumed_work_is_not_lost_reuse_is_saved(root: Path) -> None:
    tracker = Tracker(f"sqlite:///{root}/var/mlflow.db", "chatmill", root / "var" / "mlflow")
    costs = read_costs(tracker.client, 0.0)
    assert (costs.runs, costs.unmeasured) == (4, 0)
    whole = in_all(costs.taken)
    assert (whole.computed, whole.cached, whole.ended) == (3, 2, 1)
    assert whole.gpu_seconds == 150 and whole.gpu_lost == 20 and whole.repeated_steps == 7
    assert whole.cpu_saved == 20 and whole.gpu_saved == 0
    assert 10 <= whole.cpu_seconds < 20 and whole.cpu_lost == pytest.approx(whole.cpu_seconds - 10)
    stages = {row.name: row for row in sum_costs(costs.taken, "stage")}
    assert next(iter(stages)) == "sft"
    assert (stages["sft"].tokens, stages["sft"].gpu_memory, stages["ingest"].memory) == (6_000, 9_000, 3_000)
    assert len(sum_costs(costs.taken, "run")) == 4
    assert read_costs(tracker.client, 4e9).taken == []


def test_cost_prints_losses_and_json(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/var/mlflow.db")
    from flows.cli.cost import cost

    if not any(command.callback is cost for command in app.registered_commands):
        app.command()(cost)
    said = CliRunner().invoke(app, ["cost", "--by", "run"]).output
    text = " ".join(said.split())
    for words in (
        "4 runs of the last 30d took",
        "of it (13.3%)",
        "steps that were done twice: 7.",
        "Cut short:",
    ):
        assert words in text
    assert max(map(len, said.split("4 runs of")[0].splitlines())) <= 100
    for width in ("60", "70", "80"):
        monkeypatch.setenv("COLUMNS", width)
        for by in ("run", "stage", "week"):
            narrow = CliRunner().invoke(app, ["cost", "--by", by]).output
            table = narrow.split("4 runs of")[0]
            assert "…" not in table and max(map(len, table.splitlines())) <= int(width)
    told = json.loads(CliRunner().invoke(app, ["cost", "--json"]).output)
    assert told["in_all"]["gpu_seconds"] == 150
    assert CliRunner().invoke(app, ["cost", "--since", "soon"]).exit_code != 0


def test_read_costs_waiting_for_another_process_costs_nothing(tmp_path: Path) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db", "chatmill", tmp_path / "mlflow")
    for begins in (False, True):
        with (
            pytest.raises(KeyboardInterrupt),
            tracker.open_run("smoke", {}, {"prefect.flow_run_id": "f"}, "n"),
            tracker.open_stage("sft", {}, []),
        ):
            time.sleep(1.5)
            if begins:
                tracker.begin_stage("cpu", 2)
            raise KeyboardInterrupt
    waited, begun = read_costs(tracker.client, 0.0).taken
    assert waited.lost == waited.seconds == 0 and 0 <= begun.lost < 1.5
