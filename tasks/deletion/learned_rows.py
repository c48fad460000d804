"""The checks that a new model or a champion has used no row that was withdrawn since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import UserError
from tasks.common.counts import counted
from tasks.data.base_models.base_model import parse_registered
from tasks.data.splits import SPLITS
from tasks.data.withdrawals import WITHDRAWN, count_withdrawn, read_withdrawn
from tasks.tracking.products import find_version, version_address

if TYPE_CHECKING:
    from tasks.tracking.registry import Check
    from tasks.tracking.tracker import Tracker


def refuse_withdrawn_rows(root: Path, split: Path) -> None:
    """Raise UserError if the rows that a run's models learned from are withdrawn by now.

    Ingestion leaves withdrawn rows out, so such rows were withdrawn after it.

    Args:
        root: The project's folder.
        split: The output of the stage `split`.
    """
    withdrawn = read_withdrawn(root)
    if not withdrawn:
        return
    found = sum(count_withdrawn(split / part, withdrawn).total() for part in SPLITS)
    if found:
        raise UserError(
            f"{WITHDRAWN} withdraws {counted(found, 'rows')} that this run has used, since it read the data; "
            "its model is not registered. Repeat the run: it computes again without them what used them"
        )


def refuse_withdrawn_base(tracker: Tracker, root: Path, base_model: str) -> None:
    """Raise UserError if a model would begin from a registered one that has used rows withdrawn by now.

    Args:
        tracker: The tracker of the store.
        root: The project's folder.
        base_model: The preset's `base_model`.
    """
    base = parse_registered(base_model)
    if base is None or not read_withdrawn(root):
        return
    try:
        version = find_version(tracker.client, base.address)
    except UserError:
        # A reproduction has the base's files, and a store of its own without the version.
        return
    if used := describe_withdrawn_use(tracker, root, version):
        raise UserError(
            f"base_model: {used}, and a model that begins from it would have learned from them too; name "
            "another version (`chatmill models`) or another base"
        )


def promotion_check(tracker: Tracker, root: Path) -> Check:
    """Return what a waiting version must pass before it becomes champion: whole files, no withdrawn row.

    Args:
        tracker: The tracker of the store.
        root: The project's folder.
    """

    def check(version: Any) -> None:
        tracker.check_files(version)
        if used := describe_withdrawn_use(tracker, root, version):
            raise UserError(
                f"{used}, so it cannot become champion; reject it and repeat its run, which computes "
                "without them"
            )

    return check


def rollback_check(tracker: Tracker, root: Path, force: bool, allowed: list[str]) -> Check:
    """Return what an earlier version must pass before it becomes champion again.

    Args:
        tracker: The tracker of the store.
        root: The project's folder.
        force: Accept a version that has used withdrawn rows.
        allowed: Takes the sentence about such a version.
    """

    def check(version: Any) -> None:
        tracker.check_files(version)
        if not (used := describe_withdrawn_use(tracker, root, version)):
            return
        if not force:
            raise UserError(
                f"{used}; name another version (`chatmill models`), or add --force to use it anyway"
            )
        allowed.append(f"--force: {used}")

    return check


def describe_withdrawn_use(tracker: Tracker, root: Path, version: Any) -> str:
    """Return that a registered version has used rows that are withdrawn by now; empty if it has not.

    Args:
        tracker: The tracker of the store.
        root: The project's folder.
        version: The version in MLflow's registry.

    Returns:
        A sentence without its end. It also tells of a version whose rows cannot be read any more, as such a
        version cannot be checked.
    """
    withdrawn = read_withdrawn(root)
    if not withdrawn:
        return ""
    from tasks.deletion.affected_models import SearchTarget, learned_from, split_key_of

    used, gone = learned_from(tracker.client, tracker.registries(), root, SearchTarget(withdrawn=withdrawn))
    if any(f"{version.name}/{version.version}" in usage.versions for usage in used):
        return f"{WITHDRAWN} withdraws rows that {version_address(version)} has used"
    if gone and split_key_of(tracker.client, version) in gone:
        return (
            f"nobody can tell whether {version_address(version)} has used rows that {WITHDRAWN} withdraws: "
            "its data is neither on disk nor in DVC's cache or remote"
        )
    return ""
