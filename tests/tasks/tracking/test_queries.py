"""Test the order of past runs, with a clock that was years fast."""

from __future__ import annotations

import time
from pathlib import Path

from mlflow import MlflowClient

from tasks.tracking.queries import find_stage, last_whole

DAY = 86_400_000


def record(client: MlflowClient, started: int, key: str) -> str:
    run = client.create_run("0", start_time=started, run_name="smoke", tags={"prefect.flow_run_id": key})
    client.set_tag(run.info.run_id, "chatmill.data", f"data-{key}")
    tags = {"mlflow.parentRunId": run.info.run_id, "chatmill.stage": "sft", "chatmill.key": key}
    client.create_run("0", start_time=started, run_name="smoke · sft", tags=tags)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def test_find_stage_run_of_fast_clock_is_not_last(tmp_path: Path) -> None:
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    now = int(time.time() * 1000)
    ahead = record(client, now + 5000 * DAY, "ahead")
    # It is used if there is no other.
    assert find_stage(client, "sft").key == "ahead"
    record(client, now - 2 * DAY, "before")
    last = record(client, now - DAY, "last")
    assert find_stage(client, "sft").key == "last"
    assert last_whole(client, "smoke") == (last, "data-last")
    assert find_stage(client, "sft", ahead[:12]).key == "ahead"
