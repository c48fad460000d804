"""Reproduce a past run and record the verdict; the command and the scheduled flow both call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.reproduction.verdict import StageVerdict


@dataclass(frozen=True)
class Reproduced:
    """The verdict on a run: by stage, in words, as a table; the versions of its model that now have it."""

    run: str
    verdicts: list[StageVerdict]
    says: str
    sentence: str
    table: str
    versions: list[str]


def made_again(
    client: MlflowClient,
    root: Path,
    run: str,
    keep: bool,
    say: Callable[[str], None],
    trust: bool = False,
) -> Reproduced:
    """Bring a run back, make it anew, judge it, and keep the verdict."""
    from flows.servers.environment import bare
    from tasks.common.git_checkout import code_state
    from tasks.reproduction.environment import interpreter
    from tasks.reproduction.history import record, repetitions
    from tasks.reproduction.reproduce import (
        checked_out,
        compared_as_then,
        make_anew,
        read_original,
        surroundings,
    )
    from tasks.reproduction.verdict import judge, sentence, whole

    original = read_original(client, run)
    say(f"run {original.run[:12]} ({original.name}) is made again")
    with checked_out(root, original, keep, say, trust) as checkout:
        left_out = compared_as_then(client, original, checkout)
        environment = bare(checkout.project, original.around["threads"])
        python = interpreter(root, checkout.project, environment, say)
        made = make_anew(checkout, original, python, environment)
        around = (original.around, surroundings(environment))
        known = repetitions(client, original.run, original.stages)
        verdicts = judge(original.stages, made, known, around, left_out)
        table, versions = record(client, original.run, verdicts, made, code_state(root).commit)
    return Reproduced(original.run, verdicts, whole(verdicts), sentence(verdicts), table, versions)
