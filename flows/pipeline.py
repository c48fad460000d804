"""The order of the stages, from raw text to an aligned assistant.

Each line is one stage, one Prefect task and one MLflow run.
"""

from __future__ import annotations

from prefect import flow

from flows.config import Preset
from flows.pipeline_run import Outcome, PipelineRun
from tasks.drift import drift
from tasks.evaluate import evaluate
from tasks.gate import gate
from tasks.ingest import ingest
from tasks.judge import judge
from tasks.labels import labels
from tasks.pretrain import BaseParameters, pretrain
from tasks.report import report
from tasks.reward import reward
from tasks.rlhf import rlhf
from tasks.sft import sft
from tasks.split import split
from tasks.tokenizer import tokenizer
from tasks.validate import validate


@flow(name="chatmill", validate_parameters=True, persist_result=False)
def pipeline(preset: Preset) -> Outcome:
    """Make what changed, reuse the rest; the outcome is also written to var/summary.json."""
    base = BaseParameters(preset.architecture, preset.pretrain, preset.base)
    with PipelineRun(preset) as run:
        run.check_base()
        rows = run(ingest, preset.data)
        good = run(validate, preset.validation_parameters(), rows)
        parts = run(split, preset.split, good)
        tokens = run(tokenizer, preset.tokenizer_parameters(), parts)
        # Before the first training: a lack of data for RLHF must not show after hours of pretraining.
        run.check_trainings(parts, tokens)
        change = run.against_champion(drift, preset.drift, parts, tokens)
        trained = run(pretrain, base, tokens)
        assistant = run(sft, preset.sft, parts, trained)
        preferences = run(labels, preset.label_parts(), parts)
        critic = run(reward, preset.reward, assistant, preferences)
        second = run(judge, preset.judge_parameters(), assistant, preferences)
        aligned = run(rlhf, preset.rlhf, parts, assistant, critic)
        models = (trained, assistant, preferences, critic, second, aligned)
        figures = run(evaluate, preset.evaluate, parts, *models, *run.fetch_opponent(aligned))
        verdict = run(gate, preset.gate, figures)
        # Before the report, which links to the registered version.
        run.register_model(aligned, verdict)
        page = run(report, preset.report, good, parts, tokens, change, *models, figures, verdict)
        return run.publish_report(page)


@flow(name="ingest", validate_parameters=True, persist_result=False)
def ingestion(preset: Preset, announce: bool = True) -> Outcome:
    """Run the first two stages alone: make the data's new version, check it, and announce its new labels."""
    with PipelineRun(preset) as run:
        rows = run(ingest, preset.data)
        good = run(validate, preset.validation_parameters(), rows)
        if announce:
            run.announce_labels(good)
        return run.collect_outcome()
