"""A past run as its records describe it: code, data, preset, environment and stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from model.errors import UserError
from tasks.common.git_checkout import UNKNOWN, Code
from tasks.common.names import plain_keys
from tasks.engine.output import MANIFEST
from tasks.reproduction.known_code import SHOWN_DIGITS, check_plain
from tasks.reproduction.verdict import StageResult
from tasks.tracking.queries import artifact_text, child_runs, data_hash, holder_run_id, read_artifact
from tasks.tracking.run_diff import find_run

# Names for people, with the tags of the run that hold the values.
_ENVIRONMENT_TAGS = {"threads": "threads", "processor": "processor", "python": "python"}
DATA_STAGES = {"ingest", "validate"}


@dataclass(frozen=True)
class RecordedRun:
    """A run as MLflow holds it: what must be restored, and the results.

    `code_folder` is the folder of the code if it was apart from the project's repository.
    """

    run: str
    name: str
    code: Code
    preset: dict[str, Any]
    data: str
    environment: dict[str, str]
    stages: list[StageResult]
    code_folder: str = ""

    @property
    def command(self) -> str:
        """The command that makes its stages: all of them, or only those of the data."""
        return "ingest" if {made.stage for made in self.stages} <= DATA_STAGES else "run"


def read_original(client: MlflowClient, name: str) -> RecordedRun:
    """Return the run of an id or its start, a version, or champion.

    Raises:
        UserError: There is no such run; or it did not finish, its code is unknown, or it lacks its preset.
    """
    parent = find_run(client, name)
    run, tags = parent.info.run_id, parent.data.tags
    if parent.info.status != "FINISHED":
        raise UserError(
            f"run {run[:SHOWN_DIGITS]} did not finish ({parent.info.status.lower()}); "
            "one that finished can be reproduced"
        )
    commit = tags.get("git.commit", "")
    if commit in ("", UNKNOWN):
        reason = tags.get("git.problem") or "it was made outside of git"
        raise UserError(
            f"the code of run {run[:SHOWN_DIGITS]} is in no commit, so it cannot be restored ({reason}); "
            "runs in a clone of chatmill's repository that git reads can be reproduced"
        )
    if (dirty := tags.get("git.dirty")) not in ("true", "false"):
        reason = tags.get("git.problem") or f"git.dirty is {dirty}"
        raise UserError(
            f"the code of run {run[:SHOWN_DIGITS]} is not known whole, so it cannot be restored ({reason})"
        )
    preset = read_artifact(client, run, "preset.json")
    if preset is None:
        raise UserError(f"run {run[:SHOWN_DIGITS]} has no preset.json in MLflow; its configuration is lost")
    diff = artifact_text(client, run, "git.diff") if dirty == "true" else ""
    if dirty == "true" and not (diff or "").strip():
        raise UserError(
            f"run {run[:SHOWN_DIGITS]} used changed code, but its git.diff is missing in MLflow or empty; "
            "without it the code would differ"
        )
    found = child_runs(client, parent)
    # Several stages name the same data; the first that names any is enough.
    code, data = Code(commit, diff or ""), next((hash for hash in map(data_hash, found) if hash), "")
    check_plain(run[:SHOWN_DIGITS], code, data, preset)
    return RecordedRun(
        run,
        parent.info.run_name or "",
        code,
        preset,
        data,
        {name: _read_tag(tags, tag) for name, tag in _ENVIRONMENT_TAGS.items()},
        [_find_made(client, child) for child in found if "chatmill.digest" in child.data.tags],
        tags.get("code.folder", ""),
    )


def _read_tag(tags: Mapping[str, str], name: str) -> str:
    """Return a tag of a run.

    The number of threads is returned only if it is a number, because it enters an environment.
    """
    value = tags.get(name, "")
    return value if name != "threads" or (value.isascii() and value.isdecimal()) else ""


def _find_made(client: MlflowClient, run: Run) -> StageResult:
    manifest = read_artifact(client, holder_run_id(run), MANIFEST)
    figures = manifest["metrics"] if manifest else plain_keys(run.data.metrics)
    return StageResult(run.data.tags["chatmill.stage"], run.data.tags["chatmill.digest"], figures, manifest)
