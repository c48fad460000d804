"""The gate: decides whether the aligned model may become champion, and compares it with the champion.

A preset's thresholds are added to defaults that refuse a model which lost what SFT had. verdict.json holds
each check, and under `comparison` the candidate's score beside the champion's (tasks/evaluation/scores.py).
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from model.evaluation.confidence_intervals import Z
from model.evaluation.evaluate_config import NONE, EvaluateParameters
from model.events import EventCallback, Message
from tasks.common.metric_labels import is_below_zero, metric_words
from tasks.data.splits import LEAST_TEST_PROMPTS
from tasks.engine.declaration import Tolerance
from tasks.engine.stage import stage
from tasks.evaluate import HELD_OUT, METRICS
from tasks.evaluation.score_difference import PAIRED_METRICS, difference_interval
from tasks.evaluation.scores import Score, ScoreComparison

# What a model must keep of SFT's, and gain over it. Chosen by trial: the demo loses 7% on right answers, a
# run whose answers became garbage lost 137%. Rewards are in deviations of SFT's answers.
DEFAULT_LEAST = {
    "reward_gain": 0.01,
    "ends_by_itself_change": -0.15,
    "prompts": float(LEAST_TEST_PROMPTS),
}
DEFAULT_MOST = {"loss_increase": 0.15, "kl": 15.0}
# The further default if the judge is reliable.
DEFAULT_JUDGED = {"win_rate": 0.5}
# The further default if there are test pairs. By a reward model that guesses, every gain is noise.
DEFAULT_PAIRED = {"test_pair_accuracy": 0.5}
_EVERY_LEAST = {**DEFAULT_LEAST, **DEFAULT_JUDGED, **DEFAULT_PAIRED}
# Names from before metrics named their model. The old `ends_by_itself` was SFT's.
OLD_NAMES = {"ends_by_itself": "aligned_ends_by_itself", "distinct": "aligned_distinct"}
OLD_SCORES = {"judge_gain": "judge", "win_rate": "judge", "reward_gain": "reward"}


@dataclass(frozen=True)
class GateMeasure:
    """A metric that can be the score: its direction, the rows that it is taken on, and its scorer."""

    higher_is_better: bool = True
    rows: str = "prompts"
    scorer: str = ""


_MEASURES = {
    "judge": GateMeasure(scorer="judge"),
    "reward": GateMeasure(scorer="reward"),
    "completion_loss": GateMeasure(False, "completions"),
    "bits_per_byte": GateMeasure(False, "text"),
    "exact_match": GateMeasure(rows="questions"),
    "f1": GateMeasure(rows="questions"),
    "ends_by_itself": GateMeasure(),
    "distinct": GateMeasure(),
    "length": GateMeasure(),
}
# Metrics that are shares of the test prompts with Wilson's interval, by the end of their names.
_PROMPT_SHARES = ("win_rate", "ends_by_itself")
MODELS = ("base", "few_shot", "sft", "aligned", "champion")
# Listed rather than taken from evaluate: a preset is checked before anything is measured.
_COMPARISON_METRICS = (
    "reward_gain", "loss_increase", "kl", "ends_by_itself_change", "length_ratio", "judge_gain", "win_rate",
    "judge_gain_over_base", "base_answer_loss_change", "champion_win_rate", "test_pair_accuracy",
    "judge_test_pair_accuracy", "judge_reliable", "prompts", "questions", "completions",
)  # fmt: skip
_ENDS = ("", "_low", "_high", "_n")
# The values that a metric can have, by the end of its name; the metrics that are not listed have no bounds.
_SHARE = (0.0, 1.0)
_RANGES = {
    "kl": (0.0, math.inf), "ends_by_itself_change": (-1.0, 1.0), "loss_increase": (-1.0, math.inf),
    "base_answer_loss_change": (-1.0, math.inf),
    "win_rate": _SHARE, "pair_accuracy": _SHARE, "exact_match": _SHARE, "f1": _SHARE,
    "ends_by_itself": _SHARE, "distinct": _SHARE, "judge_reliable": _SHARE,
    "_n": (0.0, math.inf), "length": (0.0, math.inf), "length_ratio": (0.0, math.inf),
    "completion_loss": (0.0, math.inf), "bits_per_byte": (0.0, math.inf), "prompts": (0.0, math.inf),
    "questions": (0.0, math.inf), "completions": (0.0, math.inf),
}  # fmt: skip


@dataclass(frozen=True)
class GateParameters:
    """The thresholds on evaluate's metrics, and the metric that ranks models.

    A default of this module holds unless its own section, `min` or `max`, names the metric.
    """

    min: dict[str, float | None] = field(default_factory=dict)
    """Least value of a metric that passes, by the metric's name; `null`: no threshold."""

    max: dict[str, float | None] = field(default_factory=dict)
    """Largest value of a metric that passes, by the metric's name; `null`: no threshold."""

    ranking_metric: str = ""
    """Metric by which a model that passed must beat the champion: `aligned_judge`, `aligned_reward`,
    `aligned_completion_loss`, `aligned_bits_per_byte`, `aligned_f1`, `aligned_exact_match`,
    `aligned_ends_by_itself`, `aligned_distinct` or `aligned_length`. It is compared only with [the same
    metric, measured in the same way](explained.md#versions-the-champion-and-going-back). Empty:
    `aligned_judge`, or `aligned_reward` if no judge is reliable."""

    def __post_init__(self) -> None:
        for section in ("min", "max"):
            for name in getattr(self, section):
                if name not in KNOWN:
                    raise ValueError(
                        f"{section}.{name} is not a metric of evaluate{_nearest_names(name, KNOWN)}"
                    )
        for section, name, bar in self._thresholds():
            self._check_threshold(section, name, bar)
        if self.ranking_metric and _measure_of(self.ranking_metric) not in _MEASURES:
            scores = [f"aligned_{name}" for name in _MEASURES]
            raise ValueError(
                f"ranking_metric is {self.ranking_metric}, by which two models cannot be compared; it "
                "must be one of "
                f"{', '.join(scores)}"
            )

    def _thresholds(self) -> list[tuple[str, str, float | None]]:
        return [(side, name, bar) for side in ("min", "max") for name, bar in getattr(self, side).items()]

    def _check_threshold(self, section: str, name: str, bar: float | None) -> None:
        """Raise ValueError for a threshold that no model, or every model, passes."""
        least = self.min.get(name, _EVERY_LEAST.get(name))
        most = self.max.get(name, DEFAULT_MOST.get(name))
        other, default = ("max", DEFAULT_MOST) if section == "min" else ("min", _EVERY_LEAST)
        if bar is None:
            if name in default and name not in getattr(self, other):
                raise ValueError(
                    f"{section}.{name} has no effect, as the default threshold of {name} is in {other}; "
                    f"`{other}: {{{name}: null}}` removes it"
                )
            return
        if least is not None and most is not None and least > most:
            raise ValueError(
                f"{section}.{name} is {bar:g}, and no model passes: min.{name} is {least:g} and max.{name} "
                f"{most:g}"
            )
        if section == "min" and bar >= 1 and name.endswith("_low") and _bare(name).endswith(_PROMPT_SHARES):
            raise ValueError(
                f"min.{name} is {bar:g}, and no model passes: the interval of a share begins below 1"
            )
        low, high = _range_of(name)
        if not low <= bar <= high:
            passes = "every model passes" if (bar < low) == (section == "min") else "no model passes"
            bounds = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
            raise ValueError(f"{section}.{name} is {bar:g}, and {passes}: the metric is {bounds}")


KNOWN = frozenset(
    name + end
    for name in (
        *_COMPARISON_METRICS,
        *OLD_NAMES,
        *(f"{model}_{measure}" for model in MODELS for measure in _MEASURES),
    )
    for end in _ENDS
)


def _range_of(name: str) -> tuple[float, float]:
    """Return the least and the largest value that a metric can have."""
    bare = name.removesuffix("_low").removesuffix("_high")
    # The longest name that fits: length_ratio is a length too.
    fits = [end for end in _RANGES if bare.endswith(end)]
    return _RANGES[max(fits, key=len)] if fits else (-math.inf, math.inf)


def _nearest_names(name: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else "; docs/configuration.md lists them"


def _measure_of(score: str) -> str:
    return OLD_SCORES.get(score, score.removeprefix("aligned_"))


def _verdict_headline(metrics: Mapping[str, Any]) -> str:
    if "passed" not in metrics:
        return ""
    reason, beside = (str(metrics.get(name) or "") for name in ("reason", "against_champion"))
    said = "; ".join(filter(None, (reason, beside)))
    return ("passed" if metrics["passed"] else "refused") + (f": {said}" if said else "")


def _short_headline(metrics: Mapping[str, Any]) -> str:
    if metrics.get("passed") == 0 and metrics.get("reason"):
        return "refused; the table at the end of the run has the reasons"
    return _verdict_headline(metrics)


@stage(
    inputs=("evaluate",),
    metrics_from=("evaluate",),
    artifacts=("verdict.json",),
    headline=_verdict_headline,
    short_headline=_short_headline,
    tolerances=(Tolerance(("score",), absolute=0.05),),
)
def gate(
    parameters: GateParameters, evaluate: Path, out: Path, on_event: EventCallback, seed: int
) -> dict[str, Any]:
    """Write verdict.json: passed, the reason, the score, each check, and the comparison with the champion.

    A refusal is a result, not an error.
    """
    figures = json.loads((evaluate / METRICS).read_text(encoding="utf-8"))
    held_out = json.loads((evaluate / HELD_OUT).read_text(encoding="utf-8"))
    for old, new in OLD_NAMES.items():
        if old in parameters.min or old in parameters.max:
            text = f"gate: {old} is an old name of {new}; use {new} in the preset"
            on_event(Message(text))
    found = check_thresholds(parameters, figures)
    compared = compare_with_champion(parameters, figures, held_out)
    found |= {"by": compared.candidate.name, "score": _as_number(compared.candidate.value)}
    if compared.champion:
        measure = compared.candidate.name.removeprefix("aligned_")
        compared = replace(
            compared, difference=difference_interval(measure, evaluate / "completions.jsonl", seed)
        )
    found["comparison"] = compared.plain()
    beside = {"against_champion": said} if (said := compared.describe()) else {}
    found |= beside
    (out / "verdict.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return {"passed": int(found["passed"]), "reason": found["reason"], "score": found["score"], **beside}


def check_thresholds(parameters: GateParameters, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Compare each metric with its threshold. A metric that is missing, or not a number, fails."""
    least, most = effective_thresholds(parameters, figures)
    checks = [_check_threshold(name, bar, figures, True) for name, bar in least.items()]
    checks += [_check_threshold(name, bar, figures, False) for name, bar in most.items()]
    failed = [check for check in checks if not check["passed"]]
    reason = "; ".join(check["says"] for check in failed) or _describe_success(checks)
    return {"passed": not failed, "reason": reason, "checks": checks}


def effective_thresholds(
    parameters: GateParameters, figures: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the thresholds, least and most, with defaults for metrics that the preset does not name.

    A default is replaced only in its own section: `min: {kl: 1}` must not remove the bound above.
    """
    least_named, most_named = (
        {_new_name(name) for name in side} for side in (parameters.min, parameters.max)
    )
    least = {_new_name(name): bar for name, bar in parameters.min.items() if bar is not None}
    most = {_new_name(name): bar for name, bar in parameters.max.items() if bar is not None}
    defaults = {
        **DEFAULT_LEAST,
        **(DEFAULT_JUDGED if figures.get("judge_reliable") else {}),
        **(DEFAULT_PAIRED if figures.get("test_pair_accuracy_n") else {}),
    }
    return (
        {**least, **{name: bar for name, bar in defaults.items() if name not in least_named}},
        {**most, **{name: bar for name, bar in DEFAULT_MOST.items() if name not in most_named}},
    )


def explain_unmeasured(
    parameters: GateParameters, evaluate: EvaluateParameters, beyond_chance: bool = False
) -> str:
    """Return why no model can pass, as evaluate does not measure what a threshold needs; else empty.

    The defaults that apply only to measured metrics are left out.

    Args:
        parameters: The gate's parameters.
        evaluate: Those of evaluate.
        beyond_chance: Whether a model must be better than the champion by more than chance.
    """
    questions = evaluate.num_questions if evaluate.question_sources else 0
    asked = (
        "evaluate.num_questions is 0" if evaluate.question_sources else "evaluate.question_sources is empty"
    )
    # For each count: its key, its value, why it is 0, and the metrics that are taken on these rows.
    counts = {
        "prompts": ("num_prompts", evaluate.num_prompts, "", ()),
        "questions": ("num_questions", questions, asked, ("exact_match", "f1", "base_answer_loss_change")),
        "completions": (
            "num_completions", evaluate.num_completions, "evaluate.num_completions is 0",
            ("completion_loss", "loss_increase"),
        ),
    }  # fmt: skip
    least, most = effective_thresholds(parameters, {})
    used = [("min", name, bar) for name, bar in least.items()]
    used += [("max", name, bar) for name, bar in most.items()]
    for side, name, bar in used:
        removed = f"`gate.{side}: {{{name}: null}}` removes it"
        for count, (key, value, reason, metrics) in counts.items():
            if name == count and side == "min" and bar > value:
                why = (not value and reason) or f"evaluate.{key} is {value}"
                return f"gate.min.{name} is {bar:g} and {why}, so no model passes; {removed}"
            if not value and _bare(name).endswith(metrics):
                return f"gate.{side}.{name} is {bar:g} and {reason}, so no model passes; {removed}"
        if name != "prompts" and side == "min" and (needed := _prompts_for(name, bar)) > evaluate.num_prompts:
            return (
                f"gate.min.{name} is {bar:g}, which takes {needed} prompts even if all are won, and "
                f"evaluate.num_prompts is {evaluate.num_prompts}, so no model passes; {removed}"
            )
        if evaluate.judge == NONE and _needs_judge(_bare(name)):
            return f"gate.{side}.{name} is {bar:g} and evaluate.judge is none, so no model passes; {removed}"
    by = _measure_of(parameters.ranking_metric)
    reasons = [why for _, value, why, metrics in counts.values() if not value and by in metrics]
    reasons += ["evaluate.judge is none"] if evaluate.judge == NONE and by == "judge" else []
    if reasons:
        return f"gate.ranking_metric is {parameters.ranking_metric} and {reasons[0]}; name another metric"
    if not beyond_chance or not by or by in PAIRED_METRICS:
        return ""
    known = " or ".join(f"aligned_{name}" for name in PAIRED_METRICS)
    return (
        f"promote.beyond_chance is true and gate.ranking_metric is {parameters.ranking_metric}, of whose "
        f"difference no interval is known; name {known}"
    )


def prompts_needed(parameters: GateParameters) -> tuple[int, str]:
    """Return the fewest test prompts with which a model can pass, and the threshold that needs so many.

    The number is 0, and the threshold's key empty, if none depends on it.
    """
    least, _ = effective_thresholds(parameters, {})
    needed = {f"gate.min.{name}": _prompts_for(name, bar) for name, bar in least.items()}
    key = max(needed, key=needed.__getitem__, default="")
    return (needed[key], key) if needed.get(key) else (0, "")


def _prompts_for(name: str, bar: float) -> int:
    """Return the fewest test prompts with which a metric can reach a threshold of `min`; 0: any number.

    Where all n prompts are won, Wilson's interval begins at n / (n + z**2).
    """
    if name == "prompts":
        return math.ceil(bar)
    bare = _bare(name)
    if not bare.endswith(_PROMPT_SHARES):
        return 0
    if name.endswith("_n"):
        return math.ceil(bar)
    return math.ceil(Z**2 * bar / (1 - bar)) if name.endswith("_low") and 0 <= bar < 1 else 0


def _bare(name: str) -> str:
    return name.removesuffix("_low").removesuffix("_high").removesuffix("_n")


def _needs_judge(name: str) -> bool:
    compared = ("judge_gain", "judge_gain_over_base", "win_rate", "champion_win_rate")
    return name in compared or name.endswith("_judge")


def _new_name(name: str) -> str:
    for end in _ENDS:
        if name.removesuffix(end) in OLD_NAMES:
            return OLD_NAMES[name.removesuffix(end)] + end
    return name


def _describe_success(checks: Sequence[Mapping[str, Any]]) -> str:
    if len(checks) < 2:
        return str(checks[0]["says"]) if checks else "no thresholds are set"
    return f"all {len(checks)} thresholds are met"


def _check_threshold(name: str, bar: float, figures: Mapping[str, Any], least: bool) -> dict[str, Any]:
    side = "at least" if least else "at most"
    value = figures.get(name)
    # A broken model may have a divergence of -inf or a reward of inf, which would pass the comparison.
    passed = value is not None and math.isfinite(value) and (value >= bar if least else value <= bar)
    low, high, n = (figures.get(f"{name}{end}") for end in _ENDS[1:])
    interval = None if low is None or high is None else [low, high]
    shown = f" [{low:.4g}, {high:.4g}]" if interval else ""
    shown += f" (n = {n:.0f})" if n is not None else ""
    shown += ", an estimate that can be below 0 by chance" if is_below_zero(name, low) else ""
    found = "missing" if value is None else f"{value:.4g}{shown}"
    says = f"{metric_words(name)}: {found}, {side} {bar:g} is required"
    if not passed:
        # The preset's key: who disagrees with the threshold changes it there.
        says += f" by gate.{'min' if least else 'max'}.{name}"
    return {
        "name": name, "value": value, "interval": interval, "n": n, "bar": bar, "side": side,
        "passed": passed, "says": says,
    }  # fmt: skip


def compare_with_champion(
    parameters: GateParameters, figures: Mapping[str, Any], held_out: Mapping[str, Any]
) -> ScoreComparison:
    """Return the candidate's score beside the champion's of the same run, by the same judge.

    Args:
        parameters: The parameters, which may name the score.
        figures: evaluate's metrics.json.
        held_out: evaluate's held_out.json.
    """
    by = _measure_of(parameters.ranking_metric) or ("judge" if figures.get("judge_reliable") else "reward")
    there = held_out["champion"]
    # Both scores are of one run: other prompts or another judge would give other scales.
    candidate, champion = (_model_score(by, model, figures, held_out) for model in ("aligned", "champion"))
    reason = there.get("why", "")
    if not there["measured"]:
        return ScoreComparison(candidate, None, there.get("model", ""), reason)
    if math.isnan(champion.value):
        reason = f"{metric_words(f'champion_{by}')} was not measured" + (
            ": it has another tokenizer, so losses a token cannot be compared" if "loss" in by else ""
        )
        return ScoreComparison(candidate, None, there.get("model", ""), reason)
    return ScoreComparison(candidate, champion, there.get("model", ""))


def _model_score(by: str, model: str, figures: Mapping[str, Any], held_out: Mapping[str, Any]) -> Score:
    measure, name = _MEASURES[by], f"{model}_{by}"
    scorer = held_out.get(measure.scorer, {})
    low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
    rows = measure.rows if measure.rows in held_out else ""
    n = figures.get(f"{name}_n", figures.get(measure.rows, 0))
    value = figures.get(name)
    return Score(
        name=f"aligned_{by}",
        value=math.nan if value is None else float(value),
        higher_is_better=measure.higher_is_better,
        judge=scorer.get("digest", ""),
        judge_data=scorer.get("data", ""),
        prompts=held_out[rows] if rows else "",
        n=int(n),
        interval=(low, high) if low is not None and high is not None else None,
    )


def _as_number(value: float) -> float | None:
    return None if math.isnan(value) else value
