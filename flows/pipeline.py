"""The order of the stages, from raw text to an aligned assistant.

Each line is one stage, one Prefect task and one MLflow run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prefect import flow

from flows.config import Preset
from flows.orchestration.batch_events import send_batch_requests
from flows.orchestration.label_announcement import remember_learned_labels
from flows.orchestration.label_batches import (
    add_made_batch,
    find_batch_inputs,
    find_unfinished_batch,
    item_parameters,
    keep_champion_waiting,
    read_guide,
)
from flows.orchestration.page_products import ingest_parameters
from flows.pipeline_plan import PipelinePlan
from flows.pipeline_run import Outcome, PipelineRun
from model.errors import UserError
from tasks.drift import drift
from tasks.engine.output import StageOutput
from tasks.evaluate import evaluate
from tasks.gate import gate
from tasks.ingest import ingest
from tasks.judge import judge
from tasks.label_batch import label_batch
from tasks.labels import labels
from tasks.pretrain import pretrain
from tasks.reference import reference
from tasks.report import report
from tasks.reward import reward
from tasks.rlhf import rlhf
from tasks.sft import sft
from tasks.split import split
from tasks.tokenizer import tokenizer
from tasks.tracking.products import version_address
from tasks.validate import validate


@flow(name="chatmill", validate_parameters=True, persist_result=False)
def pipeline(preset: Preset) -> Outcome:
    """Make what changed, reuse the rest; the outcome is also written to var/summary.json."""
    with PipelineRun(preset) as run:
        page = run_stages(run.preset, run)
        rows, valid_rows = (run.references[name] for name in ("ingest", "validate"))
        data = str(rows.metrics["data_hash"])
        remember_learned_labels(run.settings.root, preset.name, valid_rows, data, run.display.show_event)
        return run.publish_report(page)


def run_stages(preset: Preset, run: PipelineRun | PipelinePlan) -> StageOutput:
    """Carry out the stages in their order, or only plan them; return the report's output."""
    run.check_base()
    rows = run(ingest, ingest_parameters(preset, run.context.root))
    valid_rows = run(validate, preset.validation_parameters(), rows)
    splits = run(split, preset.split_parameters(), valid_rows)
    tokens = run(tokenizer, preset.tokenizer_parameters(), splits)
    # Before the first training: a lack of data for RLHF must not show after hours of pretraining.
    run.check_trainings(splits, tokens)
    drift_result = run.run_drift(drift, preset.drift, splits, tokens)
    base_model = run(pretrain, preset.base_parameters(), tokens)
    run.end_without("pairs", splits, base_model)
    sft_model = run(sft, preset.sft, splits, base_model)
    run.end_without("labels", splits, sft_model)
    preferences = run(labels, preset.label_parts(), splits)
    reward_model = run(reward, preset.reward, sft_model, preferences)
    judge_model = run(judge, preset.judge_parameters(), sft_model, preferences)
    margins = []
    if preset.rlhf.method == "dpo":
        margins.append(run(reference, preset.rlhf.dpo.reference_parameters, sft_model, preferences))
    aligned_model = run(rlhf, preset.rlhf, splits, sft_model, preferences, reward_model, *margins)
    models = (base_model, sft_model, preferences, reward_model, judge_model, aligned_model)
    metrics = run(evaluate, preset.evaluate, splits, *models, *run.fetch_champion_model(aligned_model))
    verdict = run(gate, preset.gate, metrics)
    # Before the report, which links to the registered version.
    run.register_model(aligned_model, verdict)
    results = (drift_result, *models, metrics, verdict)
    order = preset.report.source_order or preset.validation_parameters().source_order
    page = preset.report.label_page or any(source.labels for source in preset.data.sources)
    shown = replace(preset.report, source_order=order, label_page=page)
    return run(report, shown, valid_rows, splits, tokens, *results)


@flow(name="ingest", validate_parameters=True, persist_result=False)
def ingestion(preset: Preset, announce: bool = True) -> Outcome:
    """Run the first two stages alone: make the data's new version, check it, and announce its new labels."""
    with PipelineRun(preset, trains=False) as run:
        rows = run(ingest, ingest_parameters(preset, run.context.root))
        valid_rows = run(validate, preset.validation_parameters(), rows)
        if announce:
            run.announce_labels(valid_rows)
        return run.collect_outcome()


@flow(name="label_batch", validate_parameters=True, persist_result=False)
def labelling(preset: Preset, add_another: bool = False) -> Outcome:
    """Run the stage label_batch alone, on the outputs of the preset's last run; add its items to the page.

    The event `labels.requested` is sent once for each batch, also for one whose process was killed before.

    Args:
        preset: The preset.
        add_another: Whether to add a batch although an open one of the preset needs judgements.

    Raises:
        UserError: An open batch of the preset needs judgements, or there is nothing to make a batch from.
    """
    root = Path.cwd()
    # Read before anything is computed for it.
    read_guide(preset.label_batch, root)
    # Of a batch that was added by a process which was killed then.
    send_batch_requests(root, preset.name)
    if not add_another and (unfinished := find_unfinished_batch(preset, root)):
        raise UserError(unfinished)
    with PipelineRun(preset, trains=False) as run:
        given = find_batch_inputs(preset, run.tracker, run.context, run.display.show_event)
        run.references["ingest"] = given.data
        items = run(label_batch, item_parameters(preset), *given.outputs)
        champion = run.tracker.registry.champion()
        made = add_made_batch(
            preset, items, run.settings.root, add_another, version_address(champion) if champion else ""
        )
        run.show_notes(made.describe(), made.describe_left_out())
        if made.missing:
            run.show_notes(keep_champion_waiting(preset, run.tracker, run.settings.root))
        run.show_notes(send_batch_requests(run.settings.root, preset.name))
        return run.collect_outcome()
