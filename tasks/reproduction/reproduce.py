"""Reproduction of a past run: its code in a worktree, with its data and configuration, run again."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from model.atomic_file import replace_text
from model.errors import UserError
from model.processes import die_with_parent
from model.training.devices import describe_processor
from tasks.common.disk_space import full_disk_error, is_folder_full, little_space
from tasks.common.git_checkout import (
    UNKNOWN,
    Code,
    checkout_code,
    holds_program,
    remove_worktree,
    run_git,
)
from tasks.common.names import plain_keys
from tasks.common.old_keys import recorded_key
from tasks.common.program_call import REPRODUCTION
from tasks.engine.output import MANIFEST, read_manifest
from tasks.project.owned_folder import check_folder, claim_folder, remove_folder
from tasks.project.paths import ARTIFACTS, CACHE, DOWNLOADS, RECORDS, REPRODUCTIONS
from tasks.project.private_folder import make_private_folder
from tasks.reproduction.data import PlacedData, place_data, standalone_preset
from tasks.reproduction.known_code import check_plain, check_trusted
from tasks.reproduction.verdict import StageResult
from tasks.tracking.champion_input import fetch_champion_model, opponent_digest
from tasks.tracking.products import MODEL, product_named
from tasks.tracking.queries import artifact_text, child_runs, data_hash, holder_run_id, read_artifact
from tasks.tracking.reference_version import STAGE as CHAMPION
from tasks.tracking.reference_version import fetch_reference_version, of_version
from tasks.tracking.registered_model import DamagedModel
from tasks.tracking.registry import Registry
from tasks.tracking.run_diff import find_run

TREE, _PRESET, READY = "tree", "preset.json", "ready.json"
# Names for people, with the tags of the run that hold the values.
_ENVIRONMENT_TAGS = {"threads": "threads", "processor": "processor", "python": "python"}
_SHOWN = 12
# Long enough for a training to save its checkpoint.
_ENDING_SECONDS = 90.0
DATA_STAGES = {"ingest", "validate"}
# The gate and the report depend on evaluate.
FOLLOW_EVALUATE = ("evaluate", "gate", "report")


class ReproductionFailed(Exception):
    """The reproduction did not finish; its files stay, and the next attempt continues from them."""


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
            f"run {run[:_SHOWN]} did not finish ({parent.info.status.lower()}); "
            "one that finished can be reproduced"
        )
    commit = tags.get("git.commit", "")
    if commit in ("", UNKNOWN):
        reason = tags.get("git.problem") or "it was made outside of git"
        raise UserError(
            f"the code of run {run[:_SHOWN]} is in no commit, so it cannot be restored ({reason}); runs in a "
            "clone of chatmill's repository that git reads can be reproduced"
        )
    if (dirty := tags.get("git.dirty")) not in ("true", "false"):
        reason = tags.get("git.problem") or f"git.dirty is {dirty}"
        raise UserError(
            f"the code of run {run[:_SHOWN]} is not known whole, so it cannot be restored ({reason})"
        )
    preset = read_artifact(client, run, "preset.json")
    if preset is None:
        raise UserError(f"run {run[:_SHOWN]} has no preset.json in MLflow; its configuration is lost")
    diff = artifact_text(client, run, "git.diff") if dirty == "true" else ""
    if dirty == "true" and not (diff or "").strip():
        raise UserError(
            f"run {run[:_SHOWN]} used changed code, but its git.diff is missing in MLflow or empty; "
            "without it the code would differ"
        )
    found = child_runs(client, parent)
    # Several stages name the same data; the first that names any is enough.
    code, data = Code(commit, diff or ""), next((hash for hash in map(data_hash, found) if hash), "")
    check_plain(run[:_SHOWN], code, data, preset)
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


@dataclass(frozen=True)
class Checkout:
    """The place of a reproduction: the project's folder in its worktree, and a description of its data."""

    project: Path
    preset: Path
    data: str


@contextmanager
def checked_out(
    root: Path, original: RecordedRun, keep: bool, say: Callable[[str], None], trust: bool = False
) -> Iterator[Checkout]:
    """Restore the run's code, data and configuration in var/cache/reproduce/RUN until the verdict is given.

    An interrupted reproduction is continued. The folder is removed at the end unless `keep` is set. It stays
    if the run failed or was interrupted.

    Args:
        root: The project's folder.
        original: The run.
        keep: Whether the folder stays after the verdict.
        say: Receives messages about the progress.
        trust: Accept code and stores that this host does not know.

    Raises:
        UserError: The run cannot be restored, or is not trusted. Nothing is left then.
    """
    _check_code(root, original)
    if not trust:
        check_trusted(root, original.run[:_SHOWN], original.code, original.preset)
    folder = (root / REPRODUCTIONS / original.run[:_SHOWN]).resolve()
    claim_folder(folder, (TREE, _PRESET, READY))
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"run {original.run[:_SHOWN]} is being reproduced already; wait until it ends"
            ) from error
        ready = _finished_result(folder)
        if ready:
            say(f"resuming from {_display_path(folder, root)}, where this was interrupted")
        else:
            with_diff = " with its diff" if original.code.diff else ""
            say(f"restoring commit {original.code.commit[:_SHOWN]}{with_diff}")
            ready = _prepare_checkout(root, original, folder)
        say(f"its data, {original.data[:_SHOWN]}: {ready.data}; its own code prints what follows")
        try:
            yield ready
        except UserError:
            # The run cannot be reproduced here, so nothing would continue from the folder.
            _remove_checkout(root, folder)
            raise
        if keep:
            (folder / READY).unlink()
            say(f"all files stay in {_display_path(folder, root)} until the next reproduction of this run")
        else:
            _remove_checkout(root, folder)
        folder.with_suffix(".lock").unlink()


def _check_code(root: Path, original: RecordedRun) -> None:
    """Raise UserError if the project's repository has the run's commit, but not as chatmill's code.

    Earlier versions recorded the commit of the project's own repository. One without the commit is no
    answer: `checkout_code` says how to fetch it.
    """
    code = original.code.commit
    known = run_git(root, "cat-file", "-e", f"{code}^{{commit}}").returncode == 0
    if (known or original.code_folder) and not holds_program(root, code):
        commit = f"commit {code[:_SHOWN]} of this repository" if known else "this repository"
        made = f"; the code of the run was in {original.code_folder}" if original.code_folder else ""
        raise UserError(
            f"{commit} does not hold the code of run {original.run[:_SHOWN]} in the project's folder{made}; "
            "only runs in the folder of a clone of chatmill's repository can be made again"
        )


def _finished_result(folder: Path) -> Checkout | None:
    """Return the checkout that an earlier attempt completed and nobody judged yet; else None."""
    try:
        found = json.loads((folder / READY).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    project = folder / found["project"]
    # A changed file must not lead to a folder outside, whose code would be run.
    return Checkout(project, folder / _PRESET, found["data"]) if project.is_relative_to(folder) else None


def _prepare_checkout(root: Path, original: RecordedRun, folder: Path) -> Checkout:
    try:
        project = checkout_code(root, original.code, folder / TREE)
        _link_former_layout(project)
        ingest = next((made.manifest for made in original.stages if made.stage == "ingest"), None)
        placed: PlacedData = place_data(root, project, original.preset, original.data, ingest)
        preset = folder / _PRESET
        preset.write_text(json.dumps(standalone_preset(placed.preset), indent=1), encoding="utf-8")
        ready = Checkout(project, preset, placed.how)
        replace_text(
            folder / READY, json.dumps({"project": str(project.relative_to(folder)), "data": placed.how})
        )
        return ready
    except BaseException:
        _remove_checkout(root, folder)
        raise


def _link_former_layout(project: Path) -> None:
    """Link var/ to var/cache/ for code of earlier versions, which keeps outputs directly in var/."""
    # Otherwise the run would say that it has closed the folder to other users.
    make_private_folder(project / RECORDS)
    (project / CACHE).mkdir(exist_ok=True)
    for path in (ARTIFACTS, DOWNLOADS):
        link = project / RECORDS / path.name
        if not link.exists():
            link.symlink_to(path.relative_to(RECORDS))


def _remove_checkout(root: Path, folder: Path) -> None:
    check_folder(folder)
    # First: after a kill, the next attempt must not continue from half of a worktree.
    (folder / READY).unlink(missing_ok=True)
    remove_worktree(root, folder / TREE)
    remove_folder(folder)


def compared_as_then(client: MlflowClient, original: RecordedRun, checkout: Checkout) -> dict[str, str]:
    """Make drift and evaluate in the checkout compare with the champion of that time.

    The checkout's own registry has no champion, so the profile and the model come from MLflow.

    Returns:
        The stages to leave out, by name, with the reason: what they were compared with is gone.
    """
    return {
        **_drift_as_then(client, original, checkout),
        **_evaluate_as_then(client, original, checkout),
    }


def _drift_as_then(client: MlflowClient, original: RecordedRun, checkout: Checkout) -> dict[str, str]:
    given, stage = _champion_of(original, "drift")
    if not given:
        return {}
    version = stage["metrics"]["against"]
    found = next(
        (
            each
            for each in (of_version(one, version) for one in _find_registries(client, original))
            if each and each.digest == given
        ),
        None,
    )
    if found is None:
        return {"drift": f"MLflow no longer has version {version}, the champion at that time"}
    try:
        brought = fetch_reference_version(
            found, client, client.tracking_uri, checkout.project, lambda event: None
        )
    except DamagedModel as error:
        return {"drift": str(error)}
    if brought is None:
        return {"drift": f"the profile of champion {version}'s data is missing in MLflow"}
    _set_preset_key(checkout, "drift.reference_output", found.key)
    return {}


def _evaluate_as_then(client: MlflowClient, original: RecordedRun, checkout: Checkout) -> dict[str, str]:
    given, _ = _champion_of(original, "evaluate")
    if not given:
        return {}
    for registry in _find_registries(client, original):
        for version in registry.versions():
            if opponent_digest(version) == given:
                uri, project = client.tracking_uri, checkout.project
                try:
                    found = fetch_champion_model(version, uri, project, lambda event: None)
                except DamagedModel as error:
                    return dict.fromkeys(FOLLOW_EVALUATE, str(error))
                _set_preset_key(checkout, "registry.compare_with", found.key)
                return {}
    reason = "the champion's model that was scored beside it is missing in MLflow"
    return dict.fromkeys(FOLLOW_EVALUATE, reason)


def _champion_of(original: RecordedRun, stage: str) -> tuple[str, dict[str, Any]]:
    """Return the digest of the champion that a stage was given, or "", and the stage's manifest."""
    manifest = next((made.manifest for made in original.stages if made.stage == stage), None) or {}
    given = manifest.get("inputs", {}).get(CHAMPION) or {}
    return str(given.get("digest", "")), dict(manifest)


def _find_registries(client: MlflowClient, original: RecordedRun) -> list[Registry]:
    """Return the registry of the run's product, and the one of stores without products."""
    preset = original.preset
    name = (preset.get("registry") or {}).get("model") or preset.get("name") or MODEL
    products = dict.fromkeys((product_named(str(name)), product_named(MODEL)))
    return [Registry(client, nullcontext, product) for product in products]


def _set_preset_key(checkout: Checkout, name: str, value: str) -> None:
    preset = json.loads(checkout.preset.read_text(encoding="utf-8"))
    # Under the name that the checkout's own code reads.
    section, _, key = recorded_key(preset, name).partition(".")
    preset[section] = {**(preset.get(section) or {}), key: value}
    checkout.preset.write_text(json.dumps(preset, indent=1), encoding="utf-8")


def command_module(project: Path) -> str:
    """Return the module of the command line in a checkout; older commits have it under another name."""
    own = project / "flows" / "cli" / "main.py"
    return "flows.cli.main" if own.exists() else "flows.command"


def make_anew(
    checkout: Checkout, original: RecordedRun, python: Path, environment: Mapping[str, str]
) -> dict[str, StageResult]:
    """Run the checkout's own code on its own var/, and return the results of each stage by name.

    The output of the run is shown. On an exception in this process, Ctrl-C included, the run is asked to end,
    which saves checkpoints, and waited for.

    Args:
        checkout: The place of the reproduction.
        original: The run.
        python: The interpreter with the packages of that time.
        environment: The environment variables of the run.

    Raises:
        ReproductionFailed: The run did not finish.
    """
    words = [
        str(python), "-m", command_module(checkout.project), original.command, "--config",
        str(checkout.preset),
    ]  # fmt: skip
    process = subprocess.Popen(
        words,
        cwd=checkout.project,
        env={**environment, REPRODUCTION: "1"},
        # Ctrl-C would otherwise reach the run too, besides the SIGTERM below.
        start_new_session=True,
        # The process group is its own, so a kill of this process would otherwise leave the run as an orphan.
        preexec_fn=partial(die_with_parent, os.getpid()),
    )
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(_ENDING_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        raise
    made = read_made(checkout.project)
    if code:
        # Code of earlier versions does not name the folder.
        if is_folder_full(checkout.project):
            raise full_disk_error(checkout.project)
        done = [each.stage for each in original.stages if each.stage in made]
        after = f"after {done[-1]}" if done else "before its first stage was done"
        raise ReproductionFailed(
            f"the run of that code ended {after} with exit code {code}; see its output above"
            f"{little_space(checkout.project)}"
        )
    return made


def read_made(project: Path) -> dict[str, StageResult]:
    """Return the results of each stage under a checkout's var/ by name; the newest of several."""
    made: dict[str, tuple[float, StageResult]] = {}
    for path in sorted((project / ARTIFACTS).glob(f"*/*/{MANIFEST}")):
        found = read_manifest(path.parent)
        written = path.stat().st_mtime
        # The champion was fetched, not made here.
        if found and found["stage"] != CHAMPION and written >= made.get(found["stage"], (0.0,))[0]:
            made[found["stage"]] = (
                written,
                StageResult(found["stage"], found["digest"], found["metrics"], found),
            )
    return {stage: each for stage, (_, each) in made.items()}


def describe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the reproduction, with the same names as `RecordedRun.environment`."""
    threads = environment.get("OMP_NUM_THREADS", "")
    return {
        "threads": threads,
        "processor": describe_processor(),
        "python": platform.python_version(),
    }


def _display_path(path: Path, root: Path) -> str:
    return path.relative_to(root.resolve()).as_posix()
