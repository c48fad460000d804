"""The lineage of a model: the runs that made it, its data, its sources, and the annotators.

A value that MLflow or the disk no longer holds is None in the results.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from model.errors import UserError
from tasks.common.git_checkout import UNKNOWN
from tasks.common.stage_status import read_status
from tasks.data.base_models.base_model import parse_registered
from tasks.data.records import annotators_of, naming_row
from tasks.engine.output import is_undamaged
from tasks.project.paths import ARTIFACTS
from tasks.tracking.products import CHAMPION, find_version, is_version, split_address
from tasks.tracking.queries import (
    LABEL_ORDER,
    PARENT,
    REGISTERED_STAGE,
    UNNAMED,
    artifact_text,
    child_runs,
    data_hash,
    experiment_ids,
    holder_run_id,
    maker_runs,
    read_artifact,
    run_or_none,
    runs_by_id,
)

ALIGNED, DIFF = "aligned", "git.diff"
# The file of a pipeline run that holds a registered model's lineage, and the version's tag that names it.
LINEAGE_FILE, LINEAGE_TAG = "lineage.json", "lineage"
# Any other text, such as "unknown", is read as None.
DIRTY = {"true": True, "false": False}


def model_run(client: MlflowClient, name: str) -> tuple[str, str]:
    """Return the run that holds a model, and its version as NAME/NUMBER; the version is empty for `aligned`.

    Raises:
        UserError: There is no such model.
    """
    if name == ALIGNED:
        wanted = f"tags.`chatmill.stage` = '{REGISTERED_STAGE}' and attributes.status = 'FINISHED'"
        found = client.search_runs(
            experiment_ids(client), wanted, max_results=1, order_by=["start_time DESC"]
        )
        if not found:
            raise UserError("no run has produced an aligned model yet; `chatmill run` trains one")
        # The newest run may have reused the model; its files are in the run that made it.
        return found[0].data.tags.get("chatmill.reuses") or found[0].info.run_id, ""
    if not is_version(name):
        raise UserError(
            f"{name!r} is not a model: give {CHAMPION}, a version's number or {ALIGNED}; with "
            "several products "
            f"NAME/{CHAMPION} or NAME/NUMBER"
        )
    version = find_version(client, name)
    return str(version.run_id), f"{version.name}/{version.version}"


def presets_of(client: MlflowClient, versions: Sequence[Any]) -> dict[str, str]:
    """Return the preset of each registered version by its number.

    Older versions lack the tag `preset`; the name of their run contains it.
    """
    found = {str(each.version): str(each.tags["preset"]) for each in versions if "preset" in each.tags}
    lacking = {str(each.version): str(each.run_id) for each in versions if "preset" not in each.tags}
    runs = runs_by_id(client, sorted({run for run in lacking.values() if run}))
    names = {run: runs[run].info.run_name or "" for run in runs}
    return found | {
        version: names[run].partition(" · ")[0] for version, run in lacking.items() if names.get(run)
    }


def upstream_runs(runs: Iterable[Run], last: str) -> list[Run]:
    """Return the stage runs of a pipeline that the run held by `last` was made from, and that run itself."""
    by_holder = {holder_run_id(run): run for run in runs}
    wanted, waiting = set(), [last]
    while waiting:
        name = waiting.pop()
        if name in by_holder and name not in wanted:
            wanted.add(name)
            waiting += [
                each for each in by_holder[name].data.tags.get("chatmill.inputs", "").split(",") if each
            ]
    return [run for name, run in by_holder.items() if name in wanted]


def described_sources(
    preset: Mapping[str, Any] | None, identities: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]] | None:
    """Return each source with what identifies its bytes: files, URLs, a revision, an archive's checksum.

    Args:
        preset: The preset of the pipeline run.
        identities: The identities in ingestion's manifest: `files` and `labelling` have SHA-256 by local
            file, `urls` the version of each URL.

    Returns:
        One mapping for each source; None if the preset is not known.
    """
    if not preset or "data" not in preset:
        return None
    archives = preset["data"].get("archives") or {}
    told = (
        "name",
        "format",
        "archive",
        "members",
        "files",
        "urls",
        "dataset",
        "subset",
        "revision",
        "labels",
    )
    known = {each["name"]: each for each in identities}
    described = []
    for source in preset["data"].get("sources", []):
        row = {name: source[name] for name in told if source.get(name)}
        if source.get("archive") in archives:
            # The checksum in the preset identifies an archive, wherever it is fetched from.
            row["pin"] = archives[source["archive"]]
        identity = known.get(source["name"], {})
        sums = {**identity.get("files", {}), **identity.get("labelling", {})}
        versions = {url["url"]: url["version"] for url in identity.get("urls", ())}
        row |= {name: value for name, value in (("sums", sums), ("versions", versions)) if value}
        described.append(row)
    return described


def described_base(preset: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return the base model of a pipeline run; None if the model was trained from random weights.

    The key `version` is there for a registered model: its lineage says what that model learned from.
    """
    name = str((preset or {}).get("base_model") or "")
    if not name:
        return None
    base = parse_registered(name)
    return {"name": name} if base is None else {"name": name, "version": base.address, "digest": base.digest}


def recorded_diffs(client: MlflowClient, found: Mapping[str, Any]) -> str:
    """Return the differences from the commits that made a model's stages, as `git apply` takes them.

    A comment line before each diff names its run and stages. The text is empty if nothing differed.
    """
    makers: dict[str, list[Mapping[str, Any]]] = {}
    for stage in found["stages"]:
        if stage["git_dirty"]:
            makers.setdefault(stage["pipeline_run"], []).append(stage)
    parts = []
    for run, stages in makers.items():
        named = ", ".join(stage["stage"] for stage in stages)
        parts.append(f"# commit {stages[0]['git_commit']}, pipeline run {run}: {named}\n")
        parts.append(artifact_text(client, run, DIFF) or "# gone from MLflow\n")
    return "".join(parts)


def count_labels(folder: Path) -> dict[str, dict[str, int]] | None:
    """Return the number of labels of each annotator by part of the split; None if the split is gone.

    Rows are read one at a time, because a split may be larger than the memory.
    """
    if not folder.is_dir():
        return None
    counts: dict[str, Counter[str]] = {}
    for part in ("train", "valid", "test"):
        for kind in LABEL_ORDER:
            for path in sorted((folder / part / kind).glob("*.jsonl")):
                with naming_row(path, os.path.relpath(path)), path.open(encoding="utf-8") as lines:
                    for line in lines:
                        row = json.loads(line)
                        for annotator in annotators_of(row):
                            counts.setdefault(annotator or UNNAMED, Counter())[part] += 1
    return {annotator: dict(counts[annotator]) for annotator in sorted(counts)}


def trace_model(client: MlflowClient, name: str, root: Path) -> dict[str, Any]:
    """Return all that is known about the origin of a model.

    Raises:
        UserError: There is no such model, or its run is missing in MLflow.
    """
    held, address = model_run(client, name)
    product, version = split_address(address)
    made = run_or_none(client, held)
    if made is None:
        raise UserError(
            f"MLflow no longer has the run {held} that produced {name}, so its lineage is unknown"
        )
    parent = run_or_none(client, made.data.tags.get(PARENT, ""))
    runs = upstream_runs(child_runs(client, parent), held) if parent else [made]
    made_by = maker_runs(client, runs)
    stages = [_stage_lineage(run, made_by.get(holder_run_id(run))) for run in runs]
    keys = {stage["stage"]: stage["key"] for stage in stages}
    tags = (parent or made).data.tags
    split = root / ARTIFACTS / "split" / keys.get("split", "gone")
    ingest = next((made_by.get(stage["run"]) for stage in stages if stage["stage"] == "ingest"), None)
    manifest = (read_artifact(client, ingest, "manifest.json") if ingest else None) or {}
    made_of = (manifest.get("surroundings") or {}).get("outside")
    # Manifests of older runs have only the digest.
    made_of = made_of if isinstance(made_of, dict) else {"digest": made_of}
    preset = read_artifact(client, parent, "preset.json") if parent else None
    # A damaged split would give wrong counts, so the counts recorded at registration are used instead.
    labels = count_labels(split) if is_undamaged(split, root) else None
    if labels is None:
        labels = _recorded_labels(client, parent, product, version)
    return {
        "model": name,
        "product": product or None,
        "version": version or None,
        "mlflow_run": held,
        "pipeline_run": parent.info.run_id if parent else None,
        "prefect_run": tags.get("prefect.flow_run_id"),
        "git_commit": _recorded_commit(tags),
        "git_diff": DIRTY.get(tags.get("git.dirty", "")) if _recorded_commit(tags) else None,
        "git_problem": tags.get("git.problem"),
        "code_version": tags.get("code.version"),
        "code_digest": tags.get("code.digest"),
        "project_commit": tags.get("project.commit"),
        "project_dirty": DIRTY.get(tags.get("project.dirty", "")),
        "data_hash": data_hash(made),
        "stages": stages,
        "base_model": described_base(preset),
        "sources": described_sources(preset, made_of.get("sources", ())),
        "sources_digest": made_of.get("digest"),
        "labels": labels,
        "environment": {"lock": tags.get("lock.digest"), "device": tags.get("device")},
    }


def _recorded_labels(
    client: MlflowClient, parent: Run | None, model: str, version: str
) -> dict[str, Any] | None:
    """Return the labels by annotator as counted at registration; None if they were not recorded."""
    address = client.get_model_version(model, version).tags.get(LINEAGE_TAG, "") if version else ""
    run = run_or_none(client, address.removeprefix("runs:/").partition("/")[0]) if address else parent
    return ((read_artifact(client, run, LINEAGE_FILE) if run else None) or {}).get("labels")


def _recorded_commit(tags: Mapping[str, str]) -> str | None:
    """Return the commit; None if it is unknown, which older runs record as an empty text."""
    found = tags.get("git.commit")
    return None if found in ("", UNKNOWN) else found


def _stage_lineage(run: Run, maker: Run | None) -> dict[str, Any]:
    tags = run.data.tags
    return {
        "stage": tags.get("chatmill.stage", ""),
        "key": tags.get("chatmill.key", ""),
        "status": read_status(tags.get("chatmill.status", "not finished")),
        "run": holder_run_id(run),
        "pipeline_run": maker.data.tags.get(PARENT) if maker else None,
        "git_commit": _recorded_commit(maker.data.tags) if maker else None,
        "git_dirty": DIRTY.get(maker.data.tags.get("git.dirty", "")) if maker else None,
        "digest": tags.get("chatmill.digest"),
    }
