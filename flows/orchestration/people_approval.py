"""Approval by the people of the label page: they compare a model's answers with those of the present one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.orchestration.decision_effects import finish_decision
from model.data.dataloader import read_rows
from model.errors import UserError
from tasks.deletion.learned_rows import promotion_check
from tasks.labelling.batches import open_batch
from tasks.labelling.people_vote import PeopleVote, ask_people, find_vote, other_votes, read_people_vote
from tasks.labelling.schema import open_label_store, read_label_store
from tasks.tracking.approval import PENDING, approval_state
from tasks.tracking.products import version_address

if TYPE_CHECKING:
    from tasks.tracking.registry import Registry
    from tasks.tracking.tracker import Tracker

# The author of a decision by vote, in the history of the registry.
AUTHOR = "the people of the label page"


def ask_about_version(root: Path, registry: Registry, number: str, evaluation: Path) -> str:
    """Put a model's answers on the label page, beside the champion's or SFT's; return a sentence about it.

    Args:
        root: The project's folder.
        registry: The registry of the model.
        number: The version that waits.
        evaluation: The output of the stage `evaluate`, with the answers.
    """
    version, champion = registry.client.get_model_version(registry.model, number), registry.champion()
    rows, address = read_rows(evaluation / "completions.jsonl"), version_address(version)
    measured = any(row["model"] == "champion" for row in rows)
    opponent = ("champion", version_address(champion)) if measured and champion else ("sft", "SFT")
    with open_label_store(root) as store:
        try:
            count = ask_people(store, address, _model_digest(version), rows, *opponent)
        except UserError as error:
            said = f"people cannot compare {address} with {opponent[1]} ({error})"
            return f"{said}; `chatmill approve {address}` decides"
    return (
        f"the label page asks which answers are better, those of {address} or of {opponent[1]} "
        f"({count} prompts); `chatmill label` serves it"
    )


def vote_about(root: Path, version: Any) -> PeopleVote | None:
    """Return what people say of a version so far; None if they were not asked."""
    store = read_label_store(root)
    if store is None:
        return None
    with store:
        return read_people_vote(store, version_address(version), _model_digest(version))


def describe_other_vote(root: Path, version: Any) -> str:
    """Return that people judged another model which had this version; empty if they did not."""
    store = read_label_store(root)
    if store is None:
        return ""
    address, model = version_address(version), _model_digest(version)
    with store:
        if find_vote(store, address, model) or not other_votes(store, address, model):
            return ""
    return (
        f"{address}: the votes on the label page are about another model that had this number and do not "
        f"count; the next run asks again, and `chatmill approve {address}` decides without people"
    )


def _model_digest(version: Any) -> str:
    return str(version.tags.get("digest") or version.run_id or version.source)


def _close_vote(root: Path, version: Any) -> None:
    """Let nobody judge further items of a vote that is decided."""
    with open_label_store(root) as store:
        if batch := find_vote(store, version_address(version), _model_digest(version)):
            open_batch(store, batch.name, False)


def decide_by_votes(tracker: Tracker, root: Path, configs: Mapping[str, str] | None = None) -> list[str]:
    """Approve or reject the waiting versions whose vote is decided; return a sentence for each.

    A suspended run of such a version is resumed if Prefect's server is reachable, and a new champion is
    announced there.

    Args:
        tracker: The tracker of the store.
        root: The project's folder.
        configs: Files of presets by their names, where they are not configs/NAME.yaml.
    """
    said = []
    for registry in tracker.registries():
        for version in registry.versions():
            if approval_state(version.tags) != PENDING:
                continue
            vote = vote_about(root, version)
            if vote is None or not vote.decision:
                continue
            yes = vote.decision == "approved"
            decided = registry.decide(
                str(version.version), yes, AUTHOR, vote.words, check=promotion_check(tracker, root)
            )
            said.append(f"{decided.says} ({vote.words})")
            _close_vote(root, version)
            said += finish_decision(root, registry, version, decided, yes, AUTHOR, vote.words, configs)
    return said
