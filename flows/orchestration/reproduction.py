"""Reproduction of a past run with its verdict, for the command and the scheduled flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.reproduction.verdict import StageVerdict


@dataclass(frozen=True)
class ReproductionResult:
    """The verdict on a run: by stage, in words, as a table, and the model versions that it was kept with.

    `damaged` has a sentence for each model whose copy in MLflow differs from what the run made.
    """

    run: str
    verdicts: list[StageVerdict]
    says: str
    sentence: str
    table: str
    versions: list[str]
    damaged: list[str]


def reproduce_run(
    client: MlflowClient,
    root: Path,
    run: str,
    keep: bool,
    say: Callable[[str], None],
    trust: bool = False,
) -> ReproductionResult:
    """Make a past run again from its code, data and packages, compare the results, and record the verdict.

    Args:
        client: A client of the project's MLflow store.
        root: The project's folder.
        run: An MLflow run's id, its beginning, a version, or champion.
        keep: Whether the worktree and its outputs are kept.
        say: Called with sentences about the progress.
        trust: Whether a recorded diff may run that this host has no record of.
    """
    from flows.servers.environment import checkout_environment
    from tasks.common.git_checkout import program_state
    from tasks.engine.source_snapshot import ORIGIN
    from tasks.reproduction.base_version import fetch_registered_base
    from tasks.reproduction.checkout import checked_out
    from tasks.reproduction.environment import prepare_interpreter
    from tasks.reproduction.history import past_reproductions, record_verdict
    from tasks.reproduction.past_opponents import compared_as_then
    from tasks.reproduction.recorded_run import read_original
    from tasks.reproduction.reproduce import describe_environment, make_anew
    from tasks.reproduction.verdict import judge_stages, overall_verdict, verdict_sentence
    from tasks.tracking.registered_model import damaged_copies

    original = read_original(client, run)
    # A verdict is about what the run made, and MLflow's copy is what people use: both must be the same.
    damaged = damaged_copies(client, client.get_run(original.run))
    say(f"recomputing run {original.run[:12]} ({original.name})")
    # `gc` removes fetched base models, and the run's own code has no store to fetch them from.
    fetch_registered_base(client, root, original.run[:12], original.preset, say)
    with checked_out(root, original, keep, say, trust) as checkout:
        # Before the stages run: what the run was compared with must be as it was then.
        left_out = compared_as_then(client, original, checkout)
        environment = checkout_environment(checkout.project, original.environment["threads"])
        python = prepare_interpreter(root, checkout.project, environment, say)
        made = make_anew(checkout, original, python, environment)
        environments = (original.environment, describe_environment(environment))
        # Earlier reproductions show how far the metrics vary when nothing has changed.
        known = past_reproductions(client, original.run, original.stages)
        by = program_state(ORIGIN).commit
        verdicts = judge_stages(original.stages, made, known, environments, left_out)
        table, versions = record_verdict(client, original.run, verdicts, made, by)
    sentence = verdict_sentence(verdicts)
    return ReproductionResult(
        original.run, verdicts, overall_verdict(verdicts), sentence, table, versions, damaged
    )
