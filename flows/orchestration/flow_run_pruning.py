"""Deletion of Prefect's records of scheduled runs that found nothing: a deployment has hundreds a day."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import StateType

# Three hours of runs every five minutes are kept, so that a person sees that they happen.
KEPT_CHECKS = 36
# A backlog is deleted over several runs, so that none takes long.
DELETED_AT_ONCE = 200


def prune_checks(client: SyncPrefectClient, deployment: UUID, message: str) -> int:
    """Delete the older completed runs of a deployment whose message begins with `message`.

    The last `KEPT_CHECKS` completed runs are kept, and so are all runs that are open, failed or suspended,
    and those with another message.

    Args:
        client: A client of Prefect's server.
        deployment: The deployment's id.
        message: The start of the message.

    Returns:
        The number of deleted runs.
    """
    found = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=DELETED_AT_ONCE,
        offset=KEPT_CHECKS,
    )
    deleted = 0
    for run in found:
        if run.state and (run.state.message or "").startswith(message):
            try:
                client.delete_flow_run(run.id)
            except ObjectNotFound:
                # Another run of the deployment deleted it meanwhile.
                continue
            deleted += 1
    return deleted
