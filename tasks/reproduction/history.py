"""Records of reproductions, kept with the original run, and results of other runs of the same stages."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient

from tasks.common.names import plain_keys
from tasks.common.stage_status import IS_COMPUTED
from tasks.reproduction.verdict import StageResult, StageVerdict, overall_verdict, verdict_sentence
from tasks.tracking.products import list_products
from tasks.tracking.queries import (
    REGISTERED_STAGE,
    child_runs,
    experiment_ids,
    holder_run_id,
    read_artifact,
)

_KEPT, _TABLE = "reproductions.json", "reproduced.md"
_TAG = "chatmill.reproduced"
_MOST = 50


def past_reproductions(
    client: MlflowClient, run: str, stages: Sequence[StageResult]
) -> dict[str, list[StageResult]]:
    """Return, by stage, results of earlier reproductions and of other runs with the same key."""
    found: dict[str, list[StageResult]] = {made.stage: [] for made in stages}
    for entry in _recorded_reproductions(client, run):
        for stage, left in entry["stages"].items():
            if stage in found:
                found[stage].append(StageResult(stage, left["digest"], left["figures"]))
    for made in stages:
        key = (made.manifest or {}).get("key")
        if not key:
            continue
        same = f"tags.`chatmill.key` = '{key}' and {IS_COMPUTED}"
        for other in client.search_runs(experiment_ids(client), same, max_results=_MOST):
            digest = other.data.tags.get("chatmill.digest", "")
            found[made.stage].append(StageResult(made.stage, digest, plain_keys(other.data.metrics)))
    return found


def _recorded_reproductions(client: MlflowClient, run: str) -> list[dict[str, Any]]:
    return read_artifact(client, run, _KEPT) or []


def record_verdict(
    client: MlflowClient, run: str, verdicts: Sequence[StageVerdict], now: dict[str, StageResult], by: str
) -> tuple[str, list[str]]:
    """Record a verdict with the run and with the versions of its model.

    The run gets the tag chatmill.reproduced and the files reproduced.md and reproductions.json. Later
    verdicts learn tolerances from the metrics in the latter.

    Args:
        client: The MLflow store.
        run: The id of the original run.
        verdicts: The verdicts on the stages.
        now: The results of the reproduction by stage.
        by: The commit of the code that made the reproduction.

    Returns:
        The verdict as a table, and the versions of the model as NAME/NUMBER.
    """
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    says = overall_verdict(verdicts)
    entry = {
        "at": at,
        "verdict": says,
        "says": verdict_sentence(verdicts),
        "by": by,
        "stages": {
            stage: {"digest": made.digest, "figures": dict(made.figures)} for stage, made in now.items()
        },
    }
    kept = json.dumps([*_recorded_reproductions(client, run), entry][-_MOST:], indent=1)
    table = verdict_markdown(verdicts, at)
    with TemporaryDirectory() as folder:
        for name, text in ((_KEPT, kept), (_TABLE, table)):
            path = Path(folder) / name
            path.write_text(text, encoding="utf-8")
            client.log_artifact(run, str(path))
    tag = f"{says} at {at}"
    # The tag follows the files: a run with the tag has the table that explains it.
    client.set_tag(run, _TAG, tag)
    versions = _model_versions(client, run)
    for version in versions:
        client.set_model_version_tag(version.name, version.version, _TAG, tag)
    return table, [f"{version.name}/{version.version}" for version in versions]


def _model_versions(client: MlflowClient, run: str) -> list[Any]:
    """Return the versions, of all products, whose model this run holds."""
    products = {product.model for product in list_products(client)}
    aligned = [
        holder_run_id(child)
        for child in child_runs(client, client.get_run(run))
        if child.data.tags.get("chatmill.stage") == REGISTERED_STAGE
    ]
    found = [each for name in aligned for each in client.search_model_versions(f"run_id = '{name}'")]
    return [each for each in found if each.name in products]


def verdict_markdown(verdicts: Sequence[StageVerdict], at: str) -> str:
    """Return the verdict as a Markdown table."""
    rows = [f"| {each.stage} | {each.says} | {each.reason.replace('|', '/')} |" for each in verdicts]
    head = ["| stage | verdict | reason |", "|---|---|---|"]
    return "\n".join([f"Reproduced at {at}.", "", *head, *rows, "", verdict_sentence(verdicts), ""])
