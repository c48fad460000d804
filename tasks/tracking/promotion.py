"""Promotion of a new version: by the thresholds of the gate, by its score, and by what people decided."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.engine.output import StageOutput
from tasks.evaluation.scores import Comparison, Score, compare_scores, read_comparison
from tasks.tracking import approval
from tasks.tracking.alias_changes import PERSON, AliasChange, describe_change, rolled_back
from tasks.tracking.approval import REFUSED, approval_state
from tasks.tracking.products import version_address


def passed_gate(tags: Mapping[str, str]) -> bool:
    """Whether a version met the gate's thresholds; older versions say it by their reason."""
    if "passed" in tags:
        return tags["passed"] == "true"
    reason = tags.get("reason", "")
    return reason.endswith("thresholds are met") or reason.startswith("the champion, version")


def read_scores(verdict: StageOutput) -> Comparison | None:
    """The candidate's score beside the champion's, as the gate left them; None: it has no score."""
    found = read_comparison(Path(verdict.path)) if verdict.path else None
    if found is not None or verdict.metrics["score"] is None:
        return found
    name = _read_verdict(Path(verdict.path)).get("by", "score")
    return Comparison(Score(str(name), float(verdict.metrics["score"])))


def decide_promotion(
    verdict: StageOutput,
    tags: Mapping[str, str],
    champion: Any,
    withheld: str,
    comparison: Comparison | None,
    why: str,
) -> tuple[bool, str]:
    """Whether the gate promotes a new version, and the reason for either."""
    reason = str(verdict.metrics["reason"])
    if not verdict.metrics["passed"]:
        return False, reason
    if withheld:
        return False, withheld
    if comparison is None or math.isnan(comparison.candidate.value):
        return False, "it has no score to be compared by"
    if champion is None:
        return True, reason
    wins, says = compare_scores(tags, champion.tags, str(champion.version), comparison.why or why)
    return wins, f"{reason}; {says}" if wins else says


def beats_champion(version: Any, champion: Any) -> tuple[bool, str]:
    """Whether a version's score beats the champion's (None: there is none), and the reason in words."""
    if champion is None:
        return True, ""
    return compare_scores(version.tags, champion.tags, str(champion.version))


def withheld_by_person(moves: list[AliasChange], same: list[Any]) -> str:
    """Why a person's word keeps this model from being promoted, under whatever verdict; "": none does."""
    names = {str(found.version): found for found in same}
    if move := rolled_back(moves, set(names)):
        return (
            f"it is not promoted again: version {move.before} was rolled back from at "
            f"{move.time or 'an unknown time'} ({describe_change(move)}); "
            f"`chatmill rollback {version_address(names[move.before])} --why TEXT` takes it back"
        )
    refused = [found for found in same if approval_state(found.tags) == REFUSED]
    if refused and not any(move.now in names for move in moves):
        return f"it is version {refused[0].version}, which was {approval.describe_approval(refused[0])}"
    return ""


def ended_rollback(moves: Sequence[AliasChange]) -> str:
    """A word about the rollback that a promotion goes over; nothing where the last move was none."""
    if not moves or moves[-1].by != PERSON:
        return ""
    last = moves[-1]
    return f"; it beats version {last.now}, which was made champion at {last.time} by {describe_change(last)}"


def gate_figures(folder: Path) -> dict[str, float]:
    """What the gate looked at, by name; nothing where its file is gone."""
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
