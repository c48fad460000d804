"""The model card on a version's page in MLflow: a short description, tags, and the full lineage as a file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from tasks.common.git_checkout import UNKNOWN
from tasks.common.metric_labels import metric_words
from tasks.evaluation.scores import tagged_score
from tasks.tracking.approval import approval_figures
from tasks.tracking.lineage import LINEAGE_FILE, LINEAGE_TAG, trace_model
from tasks.tracking.markdown import as_markdown
from tasks.tracking.registry import Registry

_NOTE = "mlflow.note.content"  # MLflow shows this tag as the description
LONGEST = 5000  # characters that MLflow's database has room for
_SHOWN = 20  # annotators and files that are named; the file has all


def write_model_card(registry: Registry, version: str, run: str, root: Path) -> None:
    """Write a version's lineage on its page, once.

    The tag `lineage` is written last. If the process is killed before that, the next run writes the card
    again.

    Args:
        registry: The registry of the product.
        version: The version's number.
        run: The pipeline run that keeps the full lineage.
        root: The project's folder.
    """
    client, model = registry.client, registry.model
    tags = client.get_model_version(model, version).tags
    if LINEAGE_TAG in tags:
        return
    found = trace_model(client, f"{model}/{version}", root)
    client.log_text(run, json.dumps(found, indent=1), LINEAGE_FILE)
    client.update_model_version(model, version, lineage_markdown(found, run, tags))
    # Without it, the page of the pipeline's run is empty, as its stages have the metrics.
    client.set_tag(run, _NOTE, run_note(f"{model}/{version}", tags))
    # The page first, then the tags, LINEAGE_TAG last: that tag says that everything else is there.
    for name, value in {**_card_tags(found), LINEAGE_TAG: f"runs:/{run}/{LINEAGE_FILE}"}.items():
        client.set_model_version_tag(model, version, name, value)


def run_note(version: str, tags: Mapping[str, str]) -> str:
    """Return the description of a pipeline run in Markdown: its model's version, and the gate's verdict.

    Args:
        version: The model's version, as in `demo/3`.
        tags: The version's tags with the verdict.
    """
    lines = [f"Registered as {as_markdown(version)}.", "", *_verdict_lines(tags)]
    lines += ["The metrics and the parameters are those of the child runs, one for each stage."]
    return "\n".join(lines)


def _card_tags(found: Mapping[str, Any]) -> dict[str, str]:
    environment = found["environment"]
    values = {
        "git.commit": found["git_commit"] or UNKNOWN,
        "git.dirty": UNKNOWN if found["git_diff"] is None else str(found["git_diff"]).lower(),
        "code.version": found["code_version"],
        "code.digest": found["code_digest"],
        "project.commit": found["project_commit"],
        "data.hash": found["data_hash"],
        "sources.digest": found["sources_digest"],
        "lock.digest": environment["lock"],
        "device": environment["device"],
        "pipeline.run": found["pipeline_run"],
        "prefect.flow_run_id": found["prefect_run"],
    }
    return {name: str(value) for name, value in values.items() if value}


def lineage_markdown(found: Mapping[str, Any], run: str, tags: Mapping[str, str] | None = None) -> str:
    """Return the lineage as Markdown, short enough for MLflow; lineage.json in the run is complete.

    Args:
        found: The lineage, from `trace_model`.
        run: The run with lineage.json.
        tags: The version's tags with the gate's verdict and metrics, which come first.
    """
    address = shlex.quote(f"{found['product']}/{found['version']}")
    rest = f"\nThe whole: `{LINEAGE_FILE}` of run {run}, or `chatmill lineage {address}`.\n"
    kept = ""
    for line in chain(_verdict_lines(tags or {}), _lineage_lines(found)):
        # Cut between lines, as half a table row or half an escape is not valid Markdown.
        if len(kept) + len(line) + 1 + len("…\n") + len(rest) > LONGEST:
            kept += "…\n"
            break
        kept += f"{line}\n"
    return kept + rest


def _verdict_lines(tags: Mapping[str, str]) -> Iterator[str]:
    """Yield lines with the gate's verdict, its reason and the metrics that it checked."""
    if "passed" not in tags:
        return
    says = "Passed the gate" if tags["passed"] == "true" else "Did not pass the gate"
    yield f"**{says}**: {as_markdown(tags.get('reason', 'no reason is kept'))}"
    yield ""
    if score := tagged_score(tags):
        yield f"- score: {as_markdown(f'{metric_words(score.name)}: {score}')}"
    if "champion.score" in tags:
        yield f"- the champion at that time, in the same run: {as_markdown(tags['champion.score'][:8])}"
    if values := approval_figures(tags):
        said = (f"{as_markdown(metric_words(name))}: {value:.4g}" for name, value in values.items())
        yield f"- figures: {'; '.join(said)}"
    yield f"- preset {as_markdown(tags.get('preset', 'not known'))}"
    yield ""


def _lineage_lines(found: Mapping[str, Any]) -> Iterator[str]:
    dirty = {True: ", with changes (`git.diff` in the pipeline run)", False: ", nothing changed"}
    yield f"Pipeline run `{found['pipeline_run'] or 'unknown'}`"
    yield ""
    changed = dirty.get(found["git_diff"], "; unknown whether it was changed")
    reason = f" ({as_markdown(found['git_problem'])})" if found.get("git_problem") else ""
    # Earlier versions recorded the commit of the project's repository, whatever that held.
    whose = "code" if found.get("code_digest") else "repository"
    yield f"- {whose}: commit `{found['git_commit'] or 'unknown'}`{changed}{reason}"
    if digest := found.get("code_digest"):
        yield f"- code: version {as_markdown(found['code_version'])}, sources `{digest}`"
    if commit := found.get("project_commit"):
        yield f"- project: commit `{commit}`{', with changes' if found['project_dirty'] else ''}"
    yield f"- data: DVC hash `{found['data_hash'] or 'unknown'}`"
    environment = found["environment"]
    lock, device = environment["lock"] or "unknown", environment["device"] or "unknown"
    yield f"- environment: lock file `{lock}`, device {device}"
    yield from ("", "Stages:", "", "| stage | key | | commit |", "|---|---|---|---|")
    for stage in found["stages"]:
        changed = " with changes" if stage["git_dirty"] else ""
        commit = f"`{stage['git_commit'][:10]}`{changed}" if stage["git_commit"] else ""
        yield f"| {stage['stage']} | `{stage['key']}` | {stage['status']} | {commit} |"
    yield from _labels_line(found["labels"])
    yield from ("", "Sources:", "")
    for source in found["sources"] or []:
        yield f"- {as_markdown(source['name'])}{_pinned_source(source)}"
        sums = {**source.get("sums", {}), **source.get("versions", {})}
        for name in list(sums)[:_SHOWN]:
            yield f"  - {as_markdown(name)}: `{sums[name]}`"
        if len(sums) > _SHOWN:
            yield f"  - and {len(sums) - _SHOWN:,} more"


def _labels_line(labels: Mapping[str, Mapping[str, int]] | None) -> Iterator[str]:
    if not labels:
        return
    yield from ("", "Labels:", "", "| labels by | train | valid | test |", "|---|---|---|---|")
    most = sorted(labels, key=lambda annotator: (-sum(labels[annotator].values()), annotator))
    for annotator in most[:_SHOWN]:
        counts = " | ".join(f"{labels[annotator].get(part, 0):,}" for part in ("train", "valid", "test"))
        yield f"| {as_markdown(annotator)} | {counts} |"
    if len(most) > _SHOWN:
        yield f"| and {len(most) - _SHOWN:,} more | | | |"


def _pinned_source(source: Mapping[str, Any]) -> str:
    if "pin" in source:
        pin = source["pin"]
        return f": {as_markdown(str(pin.get('package', source['archive'])))}, sha256 `{pin['sha256']}`"
    if "dataset" in source:
        revision = f" at `{source['revision']}`" if source.get("revision") else ""
        return f": {as_markdown(source['dataset'])}{revision}"
    return ""
