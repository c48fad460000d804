"""The request to a judge at an address before a run computes what leads to its evaluation."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from prefect import flow

from flows.config import Preset, read_preset
from flows.orchestration.judge_check import JudgeCheck, stages_before
from flows.pipeline_run import PipelineRun
from model.errors import UserError
from tasks.engine.catalog import load_stages
from tasks.ingest import ingest
from tasks.validate import validate
from tests.example_project import write_project
from tests.flows.prefect_project import SMOKE
from tests.tasks.evaluation.judge_endpoint import endpoint, prefer_good


def preset_with(address: str, *changes: str) -> Preset:
    judge = ["evaluate.judge=endpoint", f"evaluate.judge_endpoint={address}", "evaluate.judge_model=m"]
    return read_preset(SMOKE, [*judge, *changes])


def closed_address() -> str:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{port.getsockname()[1]}/v1"


def test_stages_before_evaluate_are_those_that_change_it() -> None:
    assert stages_before("evaluate") == {
        "ingest", "validate", "split", "tokenizer", "pretrain", "sft", "labels", "reward", "judge",
        "reference", "rlhf", "evaluate",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["validate", "pretrain", "judge", "evaluate"])
def test_judge_check_first_stage_asks_once_and_begins(name: str) -> None:
    begun: list[tuple[str, int]] = []
    with endpoint(prefer_good) as (address, asked):
        check = JudgeCheck(preset_with(address), pytest.fail)
        for _ in range(2):
            check.before(load_stages()[name], lambda *held: begun.append(held))("cpu", 1)
    assert (len(asked), begun) == (1, [("cpu", 1)] * 2)


@pytest.mark.parametrize("name", ["ingest", "drift", "gate", "report", "label_batch"])
def test_judge_check_stage_that_leads_to_no_evaluation_asks_nothing(name: str) -> None:
    with endpoint(prefer_good) as (address, asked):
        JudgeCheck(preset_with(address), pytest.fail).before(load_stages()[name], lambda *held: None)(
            "cpu", 1
        )
    assert not asked


def test_judge_check_run_that_evaluates_nothing_here_asks_nothing() -> None:
    with endpoint(prefer_good) as (address, asked):
        elsewhere = preset_with(address, "execution.gpu_work_pool=gpu", "data.remote=s3://bucket")
        for check in (
            JudgeCheck(preset_with(address), pytest.fail, evaluates=False),
            JudgeCheck(elsewhere, pytest.fail),
            JudgeCheck(read_preset(SMOKE), pytest.fail),
        ):
            check.before(load_stages()["sft"], lambda *held: None)("cpu", 1)
    assert not asked


def test_judge_check_busy_judge_is_shown_and_stops_nothing() -> None:
    said: list[str] = []
    with endpoint(prefer_good, [503]) as (address, _):
        check = JudgeCheck(preset_with(address), said.append)
        check.before(load_stages()["sft"], lambda *held: None)("cpu", 1)
    assert said == [f"the judge at {address} answers status 503; the evaluation asks it again"]


def two_stages(preset: Preset, trains: bool = True) -> list[bool]:
    """Run ingest and validate as a run does; return which were reused."""

    @flow(persist_result=False)
    def first_stages() -> list[bool]:
        with PipelineRun(preset, trains) as run:
            rows = run(ingest, preset.data)
            good = run(validate, preset.validation_parameters(), rows)
            return [rows.reused, good.reused]

    return first_stages()


def test_pipeline_run_wrong_judge_stops_before_the_first_training(server_root: Path) -> None:
    write_project(server_root)
    sources = "data.sources=[{name: pairs, files: mine/pairs.jsonl, format: rows}]"
    wrong = preset_with(closed_address(), sources)
    with pytest.raises(UserError, match=r"is unreachable.*check evaluate\.judge_endpoint"):
        two_stages(wrong)
    # Ingestion by itself needs no judge, and makes the output that the next run reuses.
    assert two_stages(wrong, trains=False) == [True, False]
    with endpoint(prefer_good) as (address, asked):
        assert two_stages(preset_with(address, sources)) == [True, True]
        assert not asked
