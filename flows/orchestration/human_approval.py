"""Approval by a person: Prefect suspends a deployed run and starts it again when they have decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import FlowPauseTimeout, NotPausedError, ObjectNotFound
from prefect.flow_runs import resume_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Completed, State
from pydantic import Field

from flows.orchestration.events import ASKS, CHAMPION_MADE, MAKE_BATCH, emit_run_event
from flows.orchestration.run_links import deployed_preset_path
from flows.orchestration.tracker import open_tracker
from tasks.deletion.learned_rows import promotion_check
from tasks.tracking.approval import (
    EXPIRED,
    FLOW_RUN,
    PENDING,
    UNTIL,
    approval_state,
    compared_answers,
    describe_approval,
    evaluation_page,
    seconds_left,
)
from tasks.tracking.products import version_address

if TYPE_CHECKING:
    from flows.config import Preset
    from tasks.tracking.registry import Registry

SOMEBODY = "a person in Prefect's page"


class Decision(RunInput):
    """The form that Prefect's page shows when the run is resumed there."""

    # A run that an older version suspended is resumed under these names.
    approve: bool
    why: str = Field("", title="reason")
    who: str = Field(SOMEBODY, title="author")


def await_decision(preset: Preset) -> State | None:
    """Suspend this run with its evaluation until a person has decided about its model.

    Returns:
        The run's final state; None if no person is asked about a model of this run.
    """
    tracker = open_tracker(preset.tracking.mlflow, preset.tracking.experiment, preset.product)
    registry, me = tracker.registry, str(flow_run.id)
    found = next((version for version in registry.versions() if version.tags.get(FLOW_RUN) == me), None)
    if found is None:
        return None
    key = f"version-{found.version}"
    with get_client(sync_client=True) as client:
        # Prefect runs a resumed flow from its top; the pause key tells the second pass from the first.
        suspended = key in (client.read_flow_run(UUID(me)).empirical_policy.pause_keys or ())
    stands = approval_state(found.tags)
    # A run that was suspended is resumed by a decision in time, even if the deadline has passed by now.
    if stands == PENDING or (stands == EXPIRED and suspended):
        shown = evaluation_page(found, registry.champion(), compared_answers(tracker.client, found))
        if not suspended:
            # On the first pass alone, so that a person is notified once.
            create_markdown_artifact(shown, key="approval", description="the request for approval")
            get_run_logger().info(describe_approval(found))
            address = version_address(found)
            says = f"version {found.version} passed the gate and waits for approval until {found.tags[UNTIL]}"
            emit_run_event(
                ASKS, preset.name, says, f"`chatmill approve {address} --show` shows the evaluation"
            )
        word = suspend_flow_run(
            wait_for_input=Decision.with_initial_data(description=shown),
            key=key,
            timeout=max(1, int(seconds_left(found.tags))),
        )
        # `chatmill approve` may have recorded the decision already, so the version is read again.
        found = registry.client.get_model_version(found.name, found.version)
        if approval_state(found.tags) in (PENDING, EXPIRED):
            decided = registry.decide(
                str(found.version),
                word.approve,
                word.who,
                word.why,
                in_time=True,
                check=promotion_check(tracker, Path.cwd()),
            )
            return _finish_decided(preset, registry, str(found.version), decided.says)
    said = f"version {found.version}: {describe_approval(found)}"
    return _finish_decided(preset, registry, str(found.version), said)


def _finish_decided(preset: Preset, registry: Registry, version: str, said: str) -> State:
    """Return the final state of a run about whose model was decided; announce a new champion."""
    champion = registry.champion()
    if champion is not None and str(champion.version) == version:
        config = deployed_preset_path(preset.name)
        emit_run_event(CHAMPION_MADE, preset.name, said, MAKE_BATCH, config=config)
    return Completed(message=said)


def resume_run(version: Any, yes: bool, author: str, reason: str) -> tuple[bool, str]:
    """Resume the run that is suspended for a version; return whether it resumes, and a sentence about it."""
    run, name = UUID(version.tags[FLOW_RUN]), version.tags.get("approval.name", "")
    try:
        resume_flow_run(run, run_input={"approve": yes, "who": author, "why": reason})
    except (NotPausedError, ObjectNotFound, FlowPauseTimeout):
        with get_client(sync_client=True) as client:
            try:
                state = client.read_flow_run(run).state
            except ObjectNotFound:
                return False, f"Prefect no longer has the run {name}"
        return False, f"the run {name} is not suspended: {state.name if state else 'it has no state'}"
    return True, f"the run {name} resumes and ends with your decision"
