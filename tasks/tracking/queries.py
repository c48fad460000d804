"""Past pipeline runs in MLflow, and what each stage left in them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
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
from tasks.engine.output import MANIFEST

# Other teams' runs in a shared store have no flow run.
PIPELINES = "tags.`mlflow.parentRunId` IS NULL and tags.`prefect.flow_run_id` LIKE '%'"
# On a parent run whose chain came to the end: the version of the data that it read.
WHOLE = "chatmill.data"
# On a parent run, behind it the name of a stage: what it took, its key and the run with its files, as JSON.
COST_TAG = "chatmill.cost."
# On a parent run and its stages' runs: the preset's name.
PRESET = "chatmill.preset"
# The stage whose model a pipeline run registers.
REGISTERED_STAGE = "rlhf"
_NEWEST = ("attributes.start_time DESC",)
_PAGE, _FEW = 5000, 20
# Seconds by which the clocks of hosts may differ.
CLOCKS_APART = 3600.0


@dataclass(frozen=True)
class StageRun:
    """One stage in one pipeline run: made, reused, or (no key) not finished; `holder_run_id` has its
    files."""

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
    """A stage in the pipeline run whose id begins so, or in the newest.

    Raises UserError where there is no such run or more than one, and where it did not reach the stage.
    """
    pipeline = _find_pipeline(client, run)
    children = search_runs(client, f"tags.`mlflow.parentRunId` = '{pipeline.info.run_id}'")
    stages = {child.data.tags.get("chatmill.stage", ""): child for child in reversed(children)}
    if stage not in stages:
        known = ", ".join(name for name in stages if name) or "no stage"
        raise UserError(
            f"run {pipeline.info.run_id[:12]} ({pipeline.info.status}) has no stage {stage}: "
            f"it came to {known}"
        )
    return _stage_run(pipeline, stages[stage])


def _find_pipeline(client: MlflowClient, run: str) -> Run:
    if not run:
        # A run that began while the clock was wrong, years ahead, is not the last one for all those years.
        newest = search_runs(client, f"{PIPELINES}{begun_by_now()}", most=1) or search_runs(
            client, PIPELINES, most=1
        )
        if not newest:
            raise UserError("MLflow holds no pipeline run yet; `chatmill run` makes one")
        return newest[0]
    found = []
    if run.isalnum():
        found = search_runs(client, f"{PIPELINES} and attributes.run_id LIKE '{run}%'", most=2)
    if not found:
        raise UserError(f"MLflow holds no pipeline run whose id begins with {run}")
    if len(found) > 1:
        raise UserError(f"more than one pipeline run's id begins with {run}: more of its letters are needed")
    return found[0]


def stage_before(client: MlflowClient, found: StageRun) -> StageRun | None:
    """The same stage in the last earlier run of the same preset that finished it; None: the first."""
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
    """The last run of a preset whose chain came to the end, and the data hash that it read ("": none)."""
    whole = f"{PIPELINES} and tags.`{WHOLE}` LIKE '%' and attributes.status = 'FINISHED'"
    for run in iterate_runs(client, f"{whole}{begun_by_now()}{_of_preset(preset)}"):
        if preset_of(run) == preset:
            return run.info.run_id, run.data.tags[WHOLE]
    return "", ""


def begun_by_now() -> str:
    """Return a search's further condition: runs that did not begin in the future, by this host's clock."""
    return f" and attributes.start_time <= {int((time.time() + CLOCKS_APART) * 1000)}"


def _of_preset(name: str) -> str:
    """A search's further condition; empty for a name with both quotes in it, which cannot be asked for.

    It finds more than that preset's runs: all whose names begin so.
    """
    quote = '"' if "'" in name else "'"
    return "" if quote in name else f" and attributes.run_name LIKE {quote}{name}%{quote}"


def preset_of(pipeline: Run) -> str:
    """Return the preset of a pipeline run; older runs have its name for theirs."""
    return str(pipeline.data.tags.get(PRESET) or pipeline.info.run_name or "")


def made_seconds(client: MlflowClient, preset: str, stage: str, most: int = 50) -> list[float]:
    """What a stage of a preset took when it was made, the newest first; of the last runs of that stage."""
    condition = f"tags.`chatmill.stage` = '{stage}' and tags.`chatmill.status` = 'made'"
    return [
        float(run.data.tags["chatmill.seconds"])
        for run in search_runs(client, condition, most=most)
        if run.info.run_name == f"{preset} · {stage}"
    ]


def read_past_manifest(client: MlflowClient, found: StageRun) -> dict[str, Any] | None:
    """The manifest that MLflow keeps of a stage; None where it is gone."""
    read: dict[str, Any] = read_artifact(client, found.holder, MANIFEST) or {}
    return read if "key" in read else None


def search_runs(
    client: MlflowClient, condition: str = "", most: int = 0, order: Sequence[str] = _NEWEST
) -> list[Run]:
    """Runs of every experiment, the newest first; all of them where `most` is 0."""
    return list(islice(iterate_runs(client, condition, most or _PAGE, order), most or None))


def iterate_runs(
    client: MlflowClient, condition: str, page: int = _FEW, order: Sequence[str] = _NEWEST
) -> Iterator[Run]:
    """Runs as `search_runs` finds them, read so many at a time: a run costs MLflow a millisecond."""
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
        tags.get("chatmill.status", ""),
        tags.get("chatmill.key", ""),
        tags.get("chatmill.reuses", child.info.run_id),
        pipeline.data.tags.get("git.commit", ""),
    )


_MOST = 1000

PARENT, UNNAMED, LABELS = "mlflow.parentRunId", "(unnamed)", ("ratings", "comparisons")


def experiment_ids(client: MlflowClient) -> list[str]:
    """The ids of all experiments of the store."""
    return [found.experiment_id for found in client.search_experiments()]


def run_or_none(client: MlflowClient, run: str) -> Run | None:
    """The run, or None where the store does not know it."""
    try:
        return client.get_run(run) if run else None
    except MlflowException:
        return None


def child_runs(client: MlflowClient, parent: Run) -> list[Run]:
    """The runs of the stages of a pipeline run, in their order."""
    within = f"tags.`{PARENT}` = '{parent.info.run_id}'"
    return list(client.search_runs([parent.info.experiment_id], within, order_by=["start_time ASC"]))


def read_artifact(client: MlflowClient, run: Run | str, name: str) -> Any:
    """The JSON file of a run, by it or by its id, or None where it is gone."""
    try:
        return json.loads(artifact_text(client, run, name) or "")
    except (ValueError, RecursionError):
        return None


def artifact_text(client: MlflowClient, run: Run | str, name: str) -> str | None:
    """The file of a run, by it or by its id, or None where it is gone."""
    with TemporaryDirectory() as folder:
        try:
            # By its address: by the run's id, MLflow reads that run three times over.
            address = (client.get_run(run) if isinstance(run, str) else run).info.artifact_uri
            found = download_artifacts(
                artifact_uri=f"{address}/{name}", dst_path=folder, tracking_uri=client.tracking_uri
            )
            # Line ends of a diff are part of it.
            return Path(found).read_bytes().decode("utf-8")
        except (MlflowException, OSError, ValueError):
            return None


def holder_run_id(run: Run) -> str:
    """The run that holds a stage's files: the one it reuses, or itself."""
    return str(run.data.tags.get("chatmill.reuses") or run.info.run_id)


def maker_runs(client: MlflowClient, runs: Sequence[Run]) -> dict[str, Run]:
    """The runs that hold these stages' files, by id; those that are gone from MLflow are left out."""
    known = {run.info.run_id: run for run in runs}
    others = sorted({holder_run_id(run) for run in runs} - known.keys())
    known |= runs_by_id(client, others)
    return {run: known[run] for run in map(holder_run_id, runs) if run in known}


def runs_by_id(client: MlflowClient, runs: Sequence[str]) -> dict[str, Run]:
    """The runs of these ids that the store has, in one search for each thousand."""
    known: dict[str, Run] = {}
    for start in range(0, len(runs), _MOST):
        some = runs[start : start + _MOST]
        named = ", ".join(f"'{run}'" for run in some)
        found = client.search_runs(
            experiment_ids(client), f"attributes.run_id IN ({named})", ViewType.ALL, max_results=len(some)
        )
        known |= {run.info.run_id: run for run in found}
    return known


def data_hash(run: Run) -> str | None:
    """DVC's hash of the data that a stage's run names."""
    for given in run.inputs.dataset_inputs if run.inputs else []:
        found = json.loads(given.dataset.source).get("md5")
        if found:
            return str(found)
    return None
