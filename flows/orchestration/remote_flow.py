"""The flow that makes one stage on the host that has the device: the deployment `stage` in prefect.yaml.

The stage and its training are imported from a snapshot of this host's sources, so imports wait until it is
taken.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.engine.source_snapshot import ORIGIN, take_snapshot


@flow(name="stage", persist_result=False)
def stage(request: dict[str, Any]) -> None:
    """Make one stage: fetch its inputs from the store by their keys, and send its output there.

    Args:
        request: A `StageRequest` as plain values.
    """
    take_snapshot(ORIGIN)
    from flows.orchestration.remote_worker import make_stage
    from flows.orchestration.stage_request import StageRequest

    make_stage(ORIGIN, StageRequest.from_json(request))
