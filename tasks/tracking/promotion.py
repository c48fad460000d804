"""The promotion of a new version, decided by the gate's thresholds, the score, and people's decisions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.engine.output import StageOutput
from tasks.evaluation.scores import Score, ScoreComparison, compare_scores, read_comparison
from tasks.tracking import approval
from tasks.tracking.alias_changes import PERSON, AliasChange, describe_change, rolled_back
from tasks.tracking.approval import REJECTED, approval_state
from tasks.tracking.products import version_address


def passed_gate(tags: Mapping[str, str]) -> bool:
    """Return whether a version met the gate's thresholds; older versions only record it in their reason."""
    if "passed" in tags:
        return tags["passed"] == "true"
    reason = tags.get("reason", "")
    return reason.endswith("thresholds are met") or reason.startswith("the champion, version")


def read_scores(verdict: StageOutput) -> ScoreComparison | None:
    """Return the candidate's score beside the champion's, from the gate's output; None if it has no score."""
    found = read_comparison(Path(verdict.path)) if verdict.path else None
    if found is not None or verdict.metrics["score"] is None:
        return found
    name = _read_verdict(Path(verdict.path)).get("by", "score")
    return ScoreComparison(Score(str(name), float(verdict.metrics["score"])))


def decide_promotion(
    verdict: StageOutput,
    tags: Mapping[str, str],
    champion: Any,
    withheld: str,
    comparison: ScoreComparison | None,
    unscored_reason: str,
) -> tuple[bool, str]:
    """Return whether the gate promotes a new version, and the reason.

    Args:
        verdict: The gate's output.
        tags: The tags of the new version.
        champion: The present champion; None if there is none.
        withheld: The reason why a person's decision prevents the promotion; empty if none does.
        comparison: The scores of candidate and champion; None if the candidate has no score.
        unscored_reason: The reason why the champion was not scored in this run, if known.
    """
    reason = str(verdict.metrics["reason"])
    if not verdict.metrics["passed"]:
        return False, reason
    if withheld:
        return False, withheld
    if comparison is None or math.isnan(comparison.candidate.value):
        return False, "it has no score"
    if champion is None:
        return True, reason
    wins, says = compare_scores(tags, champion.tags, str(champion.version), comparison.why or unscored_reason)
    return wins, f"{reason}; {says}" if wins else says


def people_may_decide(
    verdict: StageOutput, champion: Any, withheld: str, comparison: ScoreComparison | None
) -> bool:
    """Return whether people are asked about a version whose score does not beat the champion's.

    Their time is not spent on a score that is worse beyond chance. They compare answers of this run, so it
    must have the champion's.

    Args:
        verdict: The gate's output.
        champion: The present champion; None if there is none.
        withheld: The reason why a person's decision prevents the promotion; empty if none does.
        comparison: The scores of candidate and champion.
    """
    return bool(
        verdict.metrics["passed"]
        and not withheld
        and champion is not None
        and comparison is not None
        and comparison.champion is not None
        and comparison.champion_model == champion.tags.get("digest")
        and not comparison.is_worse_beyond_chance()
    )


def beats_champion(version: Any, champion: Any) -> tuple[bool, str]:
    """Return whether a version's score beats the champion's, and the reason; True if there is no champion."""
    if champion is None:
        return True, ""
    return compare_scores(version.tags, champion.tags, str(champion.version))


def withheld_by_person(moves: list[AliasChange], same: list[Any]) -> str:
    """Return the reason why a person's decision prevents this model's promotion; empty if none does.

    The decision holds under any later verdict of the gate.
    """
    names = {str(found.version): found for found in same}
    if move := rolled_back(moves, set(names)):
        return (
            f"it is not promoted again: version {move.before} was rolled back from at "
            f"{move.time or 'an unknown time'} ({describe_change(move)}); "
            f"`chatmill rollback {version_address(names[move.before])} --reason TEXT` reverts that"
        )
    refused = [found for found in same if approval_state(found.tags) == REJECTED]
    # A refused version that became champion later was taken back by a person.
    if refused and not any(move.now in names for move in moves):
        return f"it is version {refused[0].version}, which was {approval.describe_approval(refused[0])}"
    return ""


def ended_rollback(moves: Sequence[AliasChange]) -> str:
    """Return a note about the rollback that a promotion overrides; empty if the last move was not one."""
    if not moves or moves[-1].by != PERSON:
        return ""
    last = moves[-1]
    return f"; it beats version {last.now}, which was made champion at {last.time} by {describe_change(last)}"


def gate_figures(folder: Path) -> dict[str, float]:
    """Return the metrics that the gate checked, by name; empty if its file is gone."""
    found = _read_verdict(folder)
    if not found:
        return {}
    values = {check["name"]: check["value"] for check in found["checks"]} | {found["by"]: found["score"]}
    return {name: value for name, value in values.items() if value is not None}


def _read_verdict(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    except OSError:
        return {}
    return found
