"""The flows that schedules and events start. Each run reads its preset file again. See prefect.yaml.

Imports wait for the run, so that Prefect shows a triggered run as running within seconds.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from httpx import HTTPError
from prefect import flow, get_client, get_run_logger
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

DEMO_PRESET = "configs/demo.yaml"
# A run in one of these states has read, or will read, the data of all events before it.
TAKES_OVER = [
    StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.COMPLETED,
]  # fmt: skip
LOOKED_AT = 100
_SHOWN = 200
# The start of the message of a run that found no new labels; `_prune_checks` finds such runs by it.
NOTHING_NEW = "nothing new since the data"


@flow(name="chatmill-nightly", persist_result=False)
def nightly(config: str = DEMO_PRESET, changes: list[str] | None = None) -> State:
    """Run the whole chain; what did not change is reused."""
    preset = _read_deployed_preset(config, changes)
    if answered := _read_decision(preset):
        return answered
    from flows.pipeline import pipeline

    return _finish_or_suspend(preset, pipeline.fn(preset))


@flow(name="chatmill-labels", persist_result=False)
def labels(config: str = DEMO_PRESET, changes: list[str] | None = None) -> State:
    """Make a new version of the data from the sources; new labels in it start `align`."""
    preset = _read_deployed_preset(config, changes)
    _decide_by_votes(preset)
    _send_batch_events(preset)
    if data := _notified_hash(preset):
        _prune_checks()
        return Completed(message=f"{NOTHING_NEW} {data[:12]}")
    from flows.pipeline import ingestion

    outcome = ingestion.fn(preset)
    return Completed(message=f"the data is {outcome.data_hash[:12]}")


@flow(name="chatmill-align", persist_result=False)
def align(
    config: str = DEMO_PRESET,
    changes: list[str] | None = None,
    presets: list[str] | None = None,
    announced: str = "",
    data_hash: str = "",
) -> State:
    """Run the chain for new labels: make reward model, RLHF, evaluation and gate again, reuse the rest.

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
    # The newest run handles the labels of all events before it.
    if data_hash and (newer := _find_newer_run()):
        return Completed(message=f"run {newer} was asked for later and reads these labels too")
    if data_hash and (run := _find_handling_run(preset, data_hash)):
        return Completed(message=f"MLflow run {run[:12]} learned from the data {data_hash[:12]} already")
    from flows.pipeline import pipeline

    return _finish_or_suspend(preset, pipeline.fn(preset))


@flow(name="chatmill-label-batch", persist_result=False)
def batch_labels(
    config: str = DEMO_PRESET,
    changes: list[str] | None = None,
    presets: list[str] | None = None,
    announced: str = "",
    add_another: bool = False,
) -> State:
    """Make a batch for the label page from the models of the preset's last run, and ask people to judge it.

    A batch that the page has already is not added again, and none is added while one needs judgements: the
    champion then waits, and `labels` starts this again when that batch has ended.

    Args:
        config: The preset of this deployment.
        changes: Keys to change in it. Only the deployment sets them, never an event.
        presets: Further presets that this deployment may run.
        announced: The preset that an event names. It runs only if it is `config` or one of `presets`.
        add_another: Whether to add a batch although an open one of the preset needs judgements.
    """
    from flows.orchestration.batch_events import count_batch_attempt

    count_batch_attempt(Path.cwd(), announced)
    named = [config, *(presets or [])]
    chosen = _named_preset(announced, named)
    if chosen is None:
        return Completed(message=_not_named(announced, named))
    preset = _read_deployed_preset(chosen, changes)
    if not any(source.labels for source in preset.data.sources):
        return Completed(
            message=f"no batch was made, as no source of {chosen} is the label page, and nothing would learn "
            "from the judgements; docs/labelling-setup.md shows the source"
        )
    from flows.orchestration.batch_events import send_batch_requests
    from flows.orchestration.label_batches import find_unfinished_batch, keep_champion_waiting
    from flows.orchestration.tracker import open_tracker

    send_batch_requests(Path.cwd(), preset.name)
    if not add_another and (unfinished := find_unfinished_batch(preset, Path.cwd())):
        tracker = open_tracker(preset.tracking.mlflow, preset.tracking.experiment, preset.product)
        waits = keep_champion_waiting(preset, tracker, Path.cwd())
        return Completed(message="; ".join(filter(None, (unfinished, waits))))
    from flows.pipeline import labelling

    outcome = labelling.fn(preset, add_another)
    return Completed(message=f"MLflow run {outcome.mlflow_run_id[:12]} made the items")


def _named_preset(announced: str, presets: list[str]) -> str | None:
    """Return the deployment's own name for the preset that an event names; None if it names no such preset.

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
        f"nothing was run: the event is for the preset {shown!r}, "
        f"but this deployment runs {', '.join(presets)}; "
        "`chatmill up --config FILE`, with a --config for each preset, makes deployments for others"
    )


def _finish_or_suspend(preset: Preset, outcome: Outcome) -> State:
    """Return the final state of a run; suspend it first if a person must approve its model."""
    if outcome.pending_version:
        from flows.orchestration.human_approval import await_decision

        if state := await_decision(preset):
            return state
    return Completed(message=f"MLflow run {outcome.mlflow_run_id[:12]}")


def _read_decision(preset: Preset) -> State | None:
    """Return the final state of a run that was suspended for a person's decision; None for a new run."""
    if preset.promote.approval == "gate":
        return None
    from flows.orchestration.human_approval import await_decision

    return await_decision(preset)


def _read_deployed_preset(config: str, changes: list[str] | None) -> Preset:
    from tasks.engine.source_snapshot import take_snapshot

    # The snapshot is taken before the stages are imported: the run then uses one state of the code to its
    # end.
    take_snapshot(Path.cwd())
    from flows.config import ExecutionSection, read_preset
    from flows.orchestration.run_links import name_flow_run

    preset = read_preset(Path(config), changes or [])
    name_flow_run(preset.name)
    context = FlowRunContext.get()
    own = context.flow_run.work_pool_name if context and context.flow_run else None
    if preset.execution.gpu_work_pool and preset.execution.gpu_work_pool == own:
        # This run occupies a worker of that pool; with one worker, waiting for a second would never end.
        return preset.model_copy(update={"execution": ExecutionSection()})
    return preset


def _decide_by_votes(preset: Preset) -> None:
    """Approve or reject the models about which the people of the label page have decided."""
    if preset.promote.approval != "people":
        return
    from flows.orchestration.people_approval import decide_by_votes
    from flows.orchestration.run_links import deployed_preset_path
    from flows.orchestration.tracker import open_tracker

    tracker = open_tracker(preset.tracking.mlflow, preset.tracking.experiment, preset.product)
    configs = {preset.name: deployed_preset_path(preset.name)}
    for sentence in decide_by_votes(tracker, Path.cwd(), configs):
        get_run_logger().info(sentence)


def _send_batch_events(preset: Preset) -> None:
    """Send the events about batches of the label page that are due by its store and the registry."""
    from flows.orchestration.batch_events import send_batch_requests, start_waiting_batch

    said = [send_batch_requests(Path.cwd(), preset.name)]
    # Without the page as a source no batch is due, and MLflow, which takes seconds, need not be asked.
    if any(source.labels for source in preset.data.sources):
        from flows.orchestration.tracker import open_tracker

        tracker = open_tracker(preset.tracking.mlflow, preset.tracking.experiment, preset.product)
        said.append(start_waiting_batch(Path.cwd(), preset, tracker))
    for sentence in filter(None, said):
        get_run_logger().info(sentence)


def _notified_hash(preset: Preset) -> str:
    """Return the data's hash if sources and admissions did not change since the last look; else "".

    This runs every few minutes, mostly with no result, so it must not leave a run in MLflow each time.
    """
    from tasks.data.labels.new_labels import known_labels

    known = known_labels(Path.cwd(), preset.name)
    rows, good = _current_data(preset)
    if not rows or not good:
        return ""
    data = str(rows.metrics["data_hash"])
    return data if known.is_handled(good.digest, data, preset.labels.min_new) else ""


def _prune_checks() -> None:
    """Delete older runs of this deployment that found nothing; after an error the next run repeats it."""
    from flows.orchestration.flow_run_pruning import prune_checks

    with suppress(HTTPError), get_client(sync_client=True) as client:
        me = client.read_flow_run(flow_run.id)
        if me.deployment_id is not None:
            prune_checks(client, me.deployment_id, NOTHING_NEW)


def _current_data(preset: Preset) -> tuple[StageOutput | None, StageOutput | None]:
    """Return the data of the present sources and its good rows, if a run has made them."""
    from flows.orchestration.page_products import ingest_parameters
    from tasks.engine.stage import StageContext
    from tasks.ingest import ingest
    from tasks.validate import validate

    context = StageContext(Path.cwd(), preset.seed)
    rows = ingest.find_output(ingest_parameters(preset, context.root), {}, context, lambda event: None)
    return rows, rows and validate.find_output(
        preset.validation_parameters(), {"ingest": rows}, context, lambda event: None
    )


def _find_newer_run() -> str:
    """Return the name of a later run of this deployment for the same preset; empty if there is none."""
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
            # The latest expected runs suffice: an older one was not asked for after this one.
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
    """Return whether two runs, given by their parameters, are for the same preset and changes."""

    def asked(run: dict[str, Any]) -> tuple[str | None, list[str]]:
        named = [run.get("config", DEMO_PRESET), *(run.get("presets") or [])]
        return _named_preset(run.get("announced") or "", named), run.get("changes") or []

    return asked(one) == asked(other)


def _find_handling_run(preset: Preset, data_hash: str) -> str:
    """Return the preset's last complete run in MLflow if it read this version of the data and its good rows.

    Released rows change the good rows of a version, so the version alone is not enough.
    """
    from flows.orchestration.tracker import open_tracker

    tracker = open_tracker(preset.tracking.mlflow, preset.tracking.experiment)
    # MLflow reads its settings when it is imported, so the environment must be set first.
    from tasks.tracking.queries import find_stage, last_whole, read_past_manifest

    run, read = last_whole(tracker.client, preset.name)
    if not run or read != data_hash:
        return ""
    taken = read_past_manifest(tracker.client, find_stage(tracker.client, "validate", run))
    _, good = _current_data(preset)
    return run if good and taken and taken["digest"] == good.digest else ""
