"""The gate: whether the aligned model is good enough to be registered as a champion's equal."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.launch import Report
from tasks.stage import stage


@dataclass(frozen=True)
class GateParameters:
    """Thresholds on evaluate's figures by name: what must be reached (`least`), what not exceeded (`most`).

    `score` names the figure by which a model beats the champion.
    """

    least: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    score: str = "judge_gain"


@stage(inputs=("evaluate",))
def gate(parameters: GateParameters, evaluate: Path, out: Path, report: Report) -> dict[str, Any]:
    """verdict.json: passed, the reason, the score, and each check. Refusing is a result, not an error."""
    figures = json.loads((evaluate / "metrics.json").read_text())
    found = verdict(parameters, figures)
    (out / "verdict.json").write_text(json.dumps(found, indent=1))
    return {"passed": int(found["passed"]), "reason": found["reason"], "score": found["score"]}


def verdict(parameters: GateParameters, figures: dict[str, float]) -> dict[str, Any]:
    """Each threshold against its figure. A figure that is missing, or not a number, fails."""
    checks = [_check(name, bar, figures.get(name), True) for name, bar in parameters.least.items()]
    checks += [_check(name, bar, figures.get(name), False) for name, bar in parameters.most.items()]
    failed = [check for check in checks if not check["passed"]]
    reason = "; ".join(check["says"] for check in failed) or f"all {len(checks)} thresholds are met"
    score = figures.get(parameters.score)
    return {"passed": not failed, "reason": reason, "score": score, "by": parameters.score, "checks": checks}


def _check(name: str, bar: float, value: float | None, least: bool) -> dict[str, Any]:
    side = "at least" if least else "at most"
    passed = value is not None and (value >= bar if least else value <= bar)
    says = f"{name} is missing" if value is None else f"{name} is {value:.4g}, {side} {bar:g} is wanted"
    return {"name": name, "value": value, "bar": bar, "side": side, "passed": passed, "says": says}
