"""What schedules and events start: each reads the preset as its file is on that day. See prefect.yaml.

Imports wait for the run, so that one that is triggered is seen to run within seconds.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from httpx import HTTPError
from prefect import flow, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Completed, State, StateType

if TYPE_CHECKING:
    from flows.config import Preset
    from flows.pipeline_run import Outcome
    from tasks.engine.output import StageOutput

DEMO = "configs/demo.yaml"
# In one of these it has read, or is going to read, the data of all events before it.
TAKES_OVER = [
    StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.COMPLETED,
]  # fmt: skip
LOOKED_AT = 100
_SHOWN = 200
# How the message begins of a look that found nothing.
NOTHING_NEW = "nothing new since the data"


@flow(name="chatmill-nightly", persist_result=False)
def nightly(config: str = DEMO, changes: list[str] | None = None) -> State:
    """The whole chain; what did not change is reused."""
    preset = _read_deployed_preset(config, changes)
    if answered := _read_decision(preset):
        return answered
    from flows.pipeline import pipeline

    return _finish_or_suspend(preset, pipeline.fn(preset))


@flow(name="chatmill-labels", persist_result=False)
def labels(config: str = DEMO, changes: list[str] | None = None) -> State:
    """What the sources hold by now as a new version of the data; new labels among it start `align`."""
    preset = _read_deployed_preset(config, changes)
    if data := _notified_hash(preset):
        _prune_looks()
        return Completed(message=f"{NOTHING_NEW} {data[:12]}")
    from flows.pipeline import ingestion

    outcome = ingestion.fn(preset)
    return Completed(message=f"the data is {outcome.data_hash[:12]}")


@flow(name="chatmill-align", persist_result=False)
def align(
    config: str = DEMO,
    changes: list[str] | None = None,
    presets: list[str] | None = None,
    announced: str = "",
    data_hash: str = "",
) -> State:
    """The chain for new labels: reward model, RLHF, evaluation and gate are made anew, the rest is reused.

    Args:
        config: The preset of this deployment.
        changes: Keys to change in it. Only the deployment sets them, never an event.
        presets: Further presets that this deployment may run.
        announced: The preset that an event names. It runs only if it is `config` or one of `presets`.
        data_hash: The version of the data that an event names. A run that has nothing to add to others ends
            at once, so several events become one run.
    """
    named = [config, *(presets or [])]
    chosen = _named_preset(announced, named)
    if chosen is None:
        return Completed(message=_not_named(announced, named))
    preset = _read_deployed_preset(chosen, changes)
    if answered := _read_decision(preset):
        return answered
    if data_hash and (newer := _find_newer_run()):
        return Completed(message=f"run {newer} was asked for later and reads these labels too")
    if data_hash and (run := _find_handling_run(preset, data_hash)):
        return Completed(message=f"MLflow run {run[:12]} learned from the data {data_hash[:12]} already")
    from flows.pipeline import pipeline

    return _finish_or_suspend(preset, pipeline.fn(preset))


def _named_preset(announced: str, presets: list[str]) -> str | None:
    """Return the deployment's own name for the preset that an event names; None: it names no such preset.

    Whoever can send an event must not choose what runs here, so an event's text is only compared.
    """
    if not announced:
        return presets[0]
    try:
        wanted = Path(announced).resolve()
        return next((each for each in presets if Path(each).resolve() == wanted), None)
    except (OSError, ValueError, RuntimeError):
        # A NUL byte, a name that is too long, a link loop: no file of a preset.
        return None


def _not_named(announced: str, presets: list[str]) -> str:
    shown = announced if len(announced) <= _SHOWN else f"{announced[:_SHOWN]}…"
    return (
        f"nothing was run: the event names the preset {shown!r}, "
        f"and this deployment runs {', '.join(presets)}; "
        "`chatmill up --config FILE`, with a --config for each preset, makes deployments for others"
    )


def _finish_or_suspend(preset: Preset, outcome: Outcome) -> State:
    """The end of a run; where a person is asked about what came out, it is suspended until they decided."""
    if outcome.waits:
        from flows.orchestration.human_approval import await_decision

        if state := await_decision(preset):
            return state
    return Completed(message=f"MLflow run {outcome.mlflow_run_id[:12]}")


def _read_decision(preset: Preset) -> State | None:
    """What a person decided about the model of this run, which was suspended for it; None: it begins."""
    if preset.promote.approval != "human":
        return None
    from flows.orchestration.human_approval import await_decision

    return await_decision(preset)


def _read_deployed_preset(config: str, changes: list[str] | None) -> Preset:
    from tasks.engine.source_snapshot import take_snapshot

    # Before the stages are imported: the run has one state of the code from here to its end.
    take_snapshot(Path.cwd())
    from flows.config import Placement, read_preset
    from flows.orchestration.run_links import name_flow_run

    preset = read_preset(Path(config), changes or [])
    name_flow_run(preset.name)
    context = FlowRunContext.get()
    own = context.flow_run.work_pool_name if context and context.flow_run else None
    if preset.placement.train and preset.placement.train == own:
        # It has a worker of that pool already, and could wait for ever for a second one.
        return preset.model_copy(update={"placement": Placement()})
    return preset


def _notified_hash(preset: Preset) -> str:
    """The data's hash where sources and admissions are as they were when labels were last looked for.

    Asked every few minutes, most often with nothing new: that is to leave no run in MLflow each time.
    """
    from tasks.data.new_labels import known_labels

    known = known_labels(Path.cwd(), preset.name)
    rows, good = _current_data(preset)
    told = rows and rows.metrics["data_hash"] == known.data and good and good.digest == known.digest
    return known.data if told else ""


def _prune_looks() -> None:
    """Delete older looks of this deployment that found nothing; one that fails is made good by the next."""
    from flows.orchestration.flow_run_pruning import prune_looks

    with suppress(HTTPError), get_client(sync_client=True) as client:
        me = client.read_flow_run(flow_run.id)
        if me.deployment_id is not None:
            prune_looks(client, me.deployment_id, NOTHING_NEW)


def _current_data(preset: Preset) -> tuple[StageOutput | None, StageOutput | None]:
    """The data of the sources as they are now and the good rows of it, where a run has made them."""
    from tasks.engine.stage import StageContext
    from tasks.ingest import ingest
    from tasks.validate import validate

    around = StageContext(Path.cwd(), preset.seed)
    rows = ingest.find_output(preset.data, {}, around, lambda event: None)
    return rows, rows and validate.find_output(
        preset.validation_parameters(), {"ingest": rows}, around, lambda event: None
    )


def _find_newer_run() -> str:
    """The name of a run of this deployment for the same preset that was asked for after this one."""
    with get_client(sync_client=True) as client:
        me = client.read_flow_run(flow_run.id)
        if me.deployment_id is None or me.created is None:
            return ""
        others = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[me.deployment_id])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=TAKES_OVER))
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=LOOKED_AT,
        )
    later = [
        run
        for run in others
        if run.id != me.id
        and run.created
        and run.created > me.created
        and _is_same_preset(run.parameters, me.parameters)
    ]
    return later[0].name if later else ""


def _is_same_preset(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two runs are for the same preset."""

    def asked(run: dict[str, Any]) -> tuple[str | None, list[str]]:
        named = [run.get("config", DEMO), *(run.get("presets") or [])]
        return _named_preset(run.get("announced") or "", named), run.get("changes") or []

    return asked(one) == asked(other)


def _find_handling_run(preset: Preset, data_hash: str) -> str:
    """The last whole run of the preset in MLflow, if it read this version of the data and its good rows.

    Rows that were admitted since make other good rows of the same version.
    """
    from flows.orchestration.tracker import open_tracker

    tracker = open_tracker(preset.tracking.mlflow, preset.tracking.experiment)
    # After the environment is set, as MLflow reads it when it is imported.
    from tasks.tracking.queries import find_stage, last_whole, read_past_manifest

    run, read = last_whole(tracker.client, preset.name)
    if not run or read != data_hash:
        return ""
    taken = read_past_manifest(tracker.client, find_stage(tracker.client, "validate", run))
    _, good = _current_data(preset)
    return run if good and taken and taken["digest"] == good.digest else ""
