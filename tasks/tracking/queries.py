"""Queries of MLflow for past pipeline runs, and for the files of their stages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from model.errors import UserError
from tasks.common.stage_status import IS_COMPUTED, read_status
from tasks.engine.output import MANIFEST

# The second condition leaves out runs of other teams in a shared store.
PIPELINES = "tags.`mlflow.parentRunId` IS NULL and tags.`prefect.flow_run_id` LIKE '%'"
# Tag of a parent run that completed all stages: the version of the data that it read.
WHOLE = "chatmill.data"
# Prefix of tags of a parent run, followed by a stage's name: its cost, its key and the run with its files, as
# JSON.
COST_TAG = "chatmill.cost."
# The tag of a stage's run with the devices that it holds, and since when.
HELD = "chatmill.holds"
# Tag of a parent run and of its stages' runs: the preset's name.
PRESET = "chatmill.preset"
# The stage whose model a pipeline run registers.
REGISTERED_STAGE = "rlhf"
# The stages of runs that train nothing: the flow `ingest` and its schedule make a version of the data, and
# the flow `label_batch` makes items for the label page.
SIDE_STAGES = ("ingest", "validate", "label_batch")
_NEWEST = ("attributes.start_time DESC",)
# Runs in a page: many if all are wanted, few if the search usually ends at the first.
_PAGE, _FEW = 5000, 20
# Seconds by which the clocks of hosts may differ.
CLOCKS_APART = 3600.0


@dataclass(frozen=True)
class StageRun:
    """One stage in one pipeline run: made, reused, or unfinished.

    Attributes:
        pipeline: The pipeline run's id.
        preset: The preset's name.
        started: The start of the pipeline run in milliseconds since 1970.
        stage: The stage's name.
        state: MLflow's status of the stage's run, such as FINISHED.
        status: "computed" or "cached"; empty if the stage is unfinished.
        key: The cache key; empty if the stage is unfinished.
        holder: The id of the run that holds the stage's files.
        commit: The Git commit; empty if it is unknown.
    """

    pipeline: str
    preset: str
    started: int
    stage: str
    state: str
    status: str
    key: str
    holder: str
    commit: str


def find_stage(client: MlflowClient, stage: str, run: str = "") -> StageRun:
    """Return a stage in the pipeline run whose id starts with `run`, or in the newest run that has it.

    Raises:
        UserError: No run or several runs match, or the run did not reach the stage.
    """
    pipeline = _find_pipeline(client, run)
    stages = _stages_of(client, pipeline)
    # The newest run may have been an ingestion.
    if stage not in stages and not run and stage.isidentifier():
        having = f"tags.`chatmill.stage` = '{stage}' and tags.`mlflow.parentRunId` LIKE '%'"
        if newest := search_runs(client, f"{having}{begun_by_now()}", most=1):
            pipeline = client.get_run(newest[0].data.tags["mlflow.parentRunId"])
            stages = _stages_of(client, pipeline)
    if stage not in stages:
        known = ", ".join(name for name in stages if name) or "no stage"
        raise UserError(
            f"run {pipeline.info.run_id[:12]} ({pipeline.info.status}) has no stage {stage}: it has {known}"
        )
    return _stage_run(pipeline, stages[stage])


def find_newest_stages(client: MlflowClient) -> tuple[list[StageRun], str]:
    """Return the stages, in their order, of the newest pipeline run that did more than SIDE_STAGES.

    Returns:
        The stages, and a sentence about a newer run that did not; empty if there is none.

    Raises:
        UserError: There is no pipeline run, or the newest one began no stage.
    """
    pipeline, said = _find_pipeline(client, ""), ""
    stages = {name: child for name, child in _stages_of(client, pipeline).items() if name}
    # A schedule ingests every few minutes, and nobody asks about such a run.
    if stages.keys() <= {*SIDE_STAGES}:
        past = " and ".join(f"tags.`chatmill.stage` != '{name}'" for name in SIDE_STAGES)
        condition = f"{past} and tags.`{PARENT}` LIKE '%'{begun_by_now()}"
        if further := search_runs(client, condition, most=1):
            only = " and ".join(stages) or "no stage"
            said = f"a newer run, {pipeline.info.run_id[:12]}, has {only} alone"
            pipeline = client.get_run(further[0].data.tags[PARENT])
            stages = {name: child for name, child in _stages_of(client, pipeline).items() if name}
    if not stages:
        raise UserError(f"run {pipeline.info.run_id[:12]} ({pipeline.info.status}) has no stage")
    return [_stage_run(pipeline, child) for child in stages.values()], said


def _stages_of(client: MlflowClient, pipeline: Run) -> dict[str, Run]:
    """Return the runs of a pipeline run's stages by name; the newest run of a stage wins."""
    children = search_runs(client, f"tags.`mlflow.parentRunId` = '{pipeline.info.run_id}'")
    return {child.data.tags.get("chatmill.stage", ""): child for child in reversed(children)}


def _find_pipeline(client: MlflowClient, run: str) -> Run:
    if not run:
        # A run that began while a clock was years ahead would otherwise stay the newest for all those years.
        newest = search_runs(client, f"{PIPELINES}{begun_by_now()}", most=1) or search_runs(
            client, PIPELINES, most=1
        )
        if not newest:
            raise UserError("MLflow has no pipeline run yet; start one with `chatmill run`")
        return newest[0]
    found = []
    # Nothing else is the start of an id, and a quote would break the filter.
    if run.isalnum():
        found = search_runs(client, f"{PIPELINES} and attributes.run_id LIKE '{run}%'", most=2)
    if not found:
        raise UserError(f"MLflow has no pipeline run whose id begins with {run}")
    if len(found) > 1:
        raise UserError(f"several pipeline runs have an id that begins with {run}; give more characters")
    return found[0]


def stage_before(client: MlflowClient, found: StageRun) -> StageRun | None:
    """Return the same stage in the last earlier run of the preset that finished it; None if there is none."""
    earlier = f"{PIPELINES} and attributes.start_time < {found.started}{_of_preset(found.preset)}"
    for pipeline in iterate_runs(client, earlier):
        if preset_of(pipeline) != found.preset:
            continue
        within = f"tags.`mlflow.parentRunId` = '{pipeline.info.run_id}'"
        which = f"tags.`chatmill.stage` = '{found.stage}' and tags.`chatmill.key` LIKE '%'"
        finished = search_runs(client, f"{within} and {which}", most=1)
        if finished:
            return _stage_run(pipeline, finished[0])
    return None


def last_whole(client: MlflowClient, preset: str) -> tuple[str, str]:
    """Return the last complete run of a preset and the data hash that it read; "" for both without one."""
    whole = f"{PIPELINES} and tags.`{WHOLE}` LIKE '%' and attributes.status = 'FINISHED'"
    for run in iterate_runs(client, f"{whole}{begun_by_now()}{_of_preset(preset)}"):
        if preset_of(run) == preset:
            return run.info.run_id, run.data.tags[WHOLE]
    return "", ""


def last_stages(client: MlflowClient, preset: str, stage: str) -> tuple[dict[str, StageRun], str]:
    """Return the finished stages of a preset's newest run that finished a stage, and the data's hash.

    Args:
        client: The client of the store.
        preset: The preset's name.
        stage: The stage that the run must have finished. The run itself may go on, or may have failed later.

    Returns:
        The stages by name and the hash of the data that they read; an empty mapping and text if there is no
        such run.
    """
    finished = f"tags.`chatmill.stage` = '{stage}' and tags.`chatmill.key` LIKE '%'"
    for child in iterate_runs(client, f"{finished}{begun_by_now()}"):
        pipeline = run_or_none(client, child.data.tags.get(PARENT, ""))
        if pipeline is None or preset_of(pipeline) != preset:
            continue
        stages = {
            name: _stage_run(pipeline, each)
            for name, each in _stages_of(client, pipeline).items()
            if name and "chatmill.key" in each.data.tags
        }
        return stages, data_hash(child) or ""
    return {}, ""


def begun_by_now() -> str:
    """Return a further search condition: only runs that did not begin in the future by this host's clock."""
    return f" and attributes.start_time <= {int((time.time() + CLOCKS_APART) * 1000)}"


def _of_preset(name: str) -> str:
    """Return a further search condition for a preset; empty for a name with both kinds of quotes.

    MLflow's filters have no escape for quotes. The condition matches all names with this prefix, so the
    caller compares the preset of each run.
    """
    quote = '"' if "'" in name else "'"
    return "" if quote in name else f" and attributes.run_name LIKE {quote}{name}%{quote}"


def preset_of(pipeline: Run) -> str:
    """Return the preset of a pipeline run; in older runs it is the run's name."""
    return str(pipeline.data.tags.get(PRESET) or pipeline.info.run_name or "")


def made_seconds(client: MlflowClient, preset: str, stage: str, most: int = 50) -> list[float]:
    """Return the seconds that a preset's stage took when it was made, the newest first.

    Only the last `most` runs of that stage, of all presets, are read.
    """
    condition = f"tags.`chatmill.stage` = '{stage}' and {IS_COMPUTED}"
    return [
        float(run.data.tags["chatmill.seconds"])
        for run in search_runs(client, condition, most=most)
        if run.info.run_name == f"{preset} · {stage}"
    ]


def read_past_manifest(client: MlflowClient, found: StageRun) -> dict[str, Any] | None:
    """Return the manifest that MLflow keeps of a stage; None if it is gone."""
    read: dict[str, Any] = read_artifact(client, found.holder, MANIFEST) or {}
    return read if "key" in read else None


def search_runs(
    client: MlflowClient, condition: str = "", most: int = 0, order: Sequence[str] = _NEWEST
) -> list[Run]:
    """Return runs of all experiments, the newest first; all of them if `most` is 0."""
    return list(islice(iterate_runs(client, condition, most or _PAGE, order), most or None))


def iterate_runs(
    client: MlflowClient, condition: str, page: int = _FEW, order: Sequence[str] = _NEWEST
) -> Iterator[Run]:
    """Yield the runs that `search_runs` returns, in pages: MLflow takes a millisecond for each run."""
    ids = experiment_ids(client)
    token = None
    while True:
        found = client.search_runs(ids, condition, max_results=page, order_by=list(order), page_token=token)
        yield from found
        token = found.token
        if not token:
            return


def _stage_run(pipeline: Run, child: Run) -> StageRun:
    tags = child.data.tags
    return StageRun(
        pipeline.info.run_id,
        preset_of(pipeline),
        pipeline.info.start_time,
        tags["chatmill.stage"],
        child.info.status,
        read_status(tags.get("chatmill.status", "")),
        tags.get("chatmill.key", ""),
        tags.get("chatmill.reuses", child.info.run_id),
        pipeline.data.tags.get("git.commit", ""),
    )


_MOST = 1000

PARENT, UNNAMED, LABEL_ORDER = "mlflow.parentRunId", "(unnamed)", ("ratings", "comparisons")


def experiment_ids(client: MlflowClient) -> list[str]:
    """Return the ids of all experiments in the store."""
    return [found.experiment_id for found in client.search_experiments()]


def run_or_none(client: MlflowClient, run: str) -> Run | None:
    """Return a run, or None if the store does not have it."""
    try:
        return client.get_run(run) if run else None
    except MlflowException:
        return None


def child_runs(client: MlflowClient, parent: Run) -> list[Run]:
    """Return the stage runs of a pipeline run in their order."""
    within = f"tags.`{PARENT}` = '{parent.info.run_id}'"
    return list(client.search_runs([parent.info.experiment_id], within, order_by=["start_time ASC"]))


def read_artifact(client: MlflowClient, run: Run | str, name: str) -> Any:
    """Return the content of a run's JSON file; None if it is gone or damaged."""
    try:
        return json.loads(artifact_text(client, run, name) or "")
    except (ValueError, RecursionError):
        return None


def artifact_text(client: MlflowClient, run: Run | str, name: str) -> str | None:
    """Return the content of a run's text file; None if it is gone."""
    with TemporaryDirectory() as folder:
        try:
            # By address: if a run's id is given, MLflow reads the run three times.
            address = (client.get_run(run) if isinstance(run, str) else run).info.artifact_uri
            found = download_artifacts(
                artifact_uri=f"{address}/{name}", dst_path=folder, tracking_uri=client.tracking_uri
            )
            # Line ends are part of a diff, so the text mode, which changes them, is not used.
            return Path(found).read_bytes().decode("utf-8")
        except (MlflowException, OSError, ValueError):
            return None


def holder_run_id(run: Run) -> str:
    """Return the id of the run that holds a stage's files: the one that it reuses, or itself."""
    return str(run.data.tags.get("chatmill.reuses") or run.info.run_id)


def maker_runs(client: MlflowClient, runs: Sequence[Run]) -> dict[str, Run]:
    """Return the runs that hold these stages' files, by id, without those that are gone from MLflow."""
    known = {run.info.run_id: run for run in runs}
    others = sorted({holder_run_id(run) for run in runs} - known.keys())
    known |= runs_by_id(client, others)
    return {run: known[run] for run in map(holder_run_id, runs) if run in known}


def runs_by_id(client: MlflowClient, runs: Sequence[str]) -> dict[str, Run]:
    """Return the runs with these ids that the store has, one search for each thousand ids."""
    known: dict[str, Run] = {}
    for start in range(0, len(runs), _MOST):
        some = runs[start : start + _MOST]
        named = ", ".join(f"'{run}'" for run in some)
        # ViewType.ALL includes runs that were deleted on MLflow's page, whose files are still there.
        found = client.search_runs(
            experiment_ids(client), f"attributes.run_id IN ({named})", ViewType.ALL, max_results=len(some)
        )
        known |= {run.info.run_id: run for run in found}
    return known


def data_hash(run: Run) -> str | None:
    """Return DVC's hash of the data that a stage's run recorded."""
    for given in run.inputs.dataset_inputs if run.inputs else []:
        # Somebody may have logged a dataset of another kind to the run.
        with suppress(ValueError, AttributeError, TypeError):
            if found := json.loads(given.dataset.source).get("md5"):
                return str(found)
    return None


def experiment_identity(experiment: Any) -> str:
    """Return a text that distinguishes an experiment from another one of its name; empty for None."""
    return f"{experiment.experiment_id} {experiment.creation_time}" if experiment else ""
