"""The flow that makes one stage on the host that has the device: the deployment `stage` in prefect.yaml.

Imports wait until the sources of this host are copied, from which the stage and its training are imported.
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
    """Make one stage: inputs come from the store by their keys, the output goes there.

    `run` is the stage's run in MLflow: figures and what is said go there, and at the end the output's key.
    """
    take_snapshot(ORIGIN)
    from flows.orchestration.remote_worker import make_stage

    make_stage(ORIGIN, preset, name, parameters, inputs, run, code, lock)
