"""The flow that makes one stage on the host that has the device: the deployment `stage` in prefect.yaml.

The stage and its training are imported from a snapshot of this host's sources, so imports wait until it is
taken.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.engine.source_snapshot import ORIGIN, take_snapshot


@flow(name="stage", persist_result=False)
def stage(
    preset: dict[str, Any],
    name: str,
    parameters: dict[str, Any],
    inputs: dict[str, dict[str, str]],
    run: str,
    code: str,
    lock: str,
) -> None:
    """Make one stage: fetch its inputs from the store by their keys, and send its output there.

    Args:
        preset: The preset as plain values.
        name: The stage's name.
        parameters: The stage's parameters as plain values.
        inputs: Key, digest and MLflow run of each input, by stage.
        run: The stage's run in MLflow. It gets the metrics and messages, and at the end the output's key.
        code: The digest of the stage's code on the flow's host; it must be the same here.
        lock: The digest of the lock file on the flow's host; it must be the same here.
    """
    take_snapshot(ORIGIN)
    from flows.orchestration.remote_worker import make_stage

    make_stage(ORIGIN, preset, name, parameters, inputs, run, code, lock)
