"""A checkout of a past run's code in a worktree, with its data and configuration."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.atomic_file import replace_text
from model.errors import UserError
from tasks.common.git_checkout import checkout_code, holds_program, remove_worktree, run_git
from tasks.project.owned_folder import check_folder, claim_folder, remove_folder
from tasks.project.paths import ARTIFACTS, CACHE, DOWNLOADS, RECORDS, REPRODUCTIONS
from tasks.project.private_folder import make_private_folder
from tasks.reproduction.data import PlacedData, place_data, standalone_preset
from tasks.reproduction.known_code import SHOWN_DIGITS, check_trusted
from tasks.reproduction.recorded_run import RecordedRun

TREE, _PRESET, READY = "tree", "preset.json", "ready.json"


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
        check_trusted(root, original.run[:SHOWN_DIGITS], original.code, original.preset)
    folder = (root / REPRODUCTIONS / original.run[:SHOWN_DIGITS]).resolve()
    claim_folder(folder, (TREE, _PRESET, READY))
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"run {original.run[:SHOWN_DIGITS]} is being reproduced already; wait until it ends"
            ) from error
        ready = _finished_result(folder)
        if ready:
            say(f"resuming from {_display_path(folder, root)}, where this was interrupted")
        else:
            with_diff = " with its diff" if original.code.diff else ""
            say(f"restoring commit {original.code.commit[:SHOWN_DIGITS]}{with_diff}")
            ready = _prepare_checkout(root, original, folder)
        say(f"its data, {original.data[:SHOWN_DIGITS]}: {ready.data}; its own code prints what follows")
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
        commit = f"commit {code[:SHOWN_DIGITS]} of this repository" if known else "this repository"
        made = f"; the code of the run was in {original.code_folder}" if original.code_folder else ""
        raise UserError(
            f"{commit} does not hold the code of run {original.run[:SHOWN_DIGITS]} in the project's "
            f"folder{made}; only runs in the folder of a clone of chatmill's repository can be made again"
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


def _display_path(path: Path, root: Path) -> str:
    return path.relative_to(root.resolve()).as_posix()
