"""What follows from a decision outside of a run: a suspended run resumes, or the new champion is announced.

A run that makes a champion announces it itself; see `flows/pipeline_run.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.servers.environment import prepare_environment
from tasks.tracking.approval import FLOW_RUN, NAME
from tasks.tracking.lineage import presets_of

if TYPE_CHECKING:
    from tasks.tracking.registry import Registered, Registry


def finish_decision(
    root: Path,
    registry: Registry,
    version: Any,
    decided: Registered,
    yes: bool,
    author: str,
    reason: str,
    configs: Mapping[str, str] | None = None,
) -> list[str]:
    """Resume the run that waits for a decision, or announce the champion; return sentences about it.

    Args:
        root: The project's folder.
        registry: The registry of the version.
        version: The version as it was before the decision.
        decided: The decision's outcome.
        yes: Whether the version was approved.
        author: Who decided.
        reason: Their reason.
        configs: As in `announce_champion`.
    """
    said, resumed = [], False
    if version.tags.get(FLOW_RUN):
        if not prepare_environment(root).prefect:
            return [
                f"the Prefect server with the run {version.tags.get(NAME)} is stopped; start "
                "`chatmill up` and repeat this command to finish the run"
            ]
        # Prefect reads its settings when it is imported, so the environment must be prepared first.
        from flows.orchestration.human_approval import resume_run

        resumed, sentence = resume_run(version, yes, author, reason)
        said.append(sentence)
    # A run that resumes announces its champion itself.
    if decided.champion and not resumed:
        said += announce_champion(root, registry, str(version.version), decided.says, configs)
    return said


def announce_champion(
    root: Path, registry: Registry, version: str, says: str, configs: Mapping[str, str] | None = None
) -> list[str]:
    """Send the event of a new champion to the Prefect server of `chatmill up`; do nothing without one.

    Args:
        root: The project's folder.
        registry: The registry of the champion.
        version: The champion's number.
        says: One sentence about what happened.
        configs: Files of presets by their names, where they are not configs/NAME.yaml.

    Returns:
        A sentence if the deployments of the server were told, or could not be told.
    """
    if not prepare_environment(root).prefect:
        return []
    from flows.orchestration.events import CHAMPION_MADE, MAKE_BATCH, emit_run_event

    found = [each for each in registry.versions() if str(each.version) == version]
    preset = presets_of(registry.client, found).get(version, "")
    if not preset:
        # Without a preset, no deployment would know what to run.
        return []
    config = (configs or {}).get(preset) or f"configs/{preset}.yaml"
    if emit_run_event(CHAMPION_MADE, preset, says, MAKE_BATCH, config=config):
        return ["the deployments of `chatmill up` were told of the new champion"]
    return [f"Prefect's server did not accept the news of the new champion; {MAKE_BATCH}"]
