"""Scores of models, and the comparison of a candidate's score with the champion's.

Two scores are comparable only if they measure the same thing in the same way. Metric, direction, judge, the
judge's training data and the held-out prompts must be the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tasks.common.metric_labels import metric_words

# Fields that two scores must share, with their names in messages.
IDENTITY = {
    "name": "figure",
    "higher_is_better": "direction",
    "judge": "judge",
    "judge_data": "data of the judge",
    "prompts": "held-out prompts",
}
_SHOWN = 12
# The tag of a version that becomes champion only if its score is better beyond chance.
BEYOND_CHANCE = "promote.beyond_chance"


@dataclass(frozen=True)
class Score:
    """One metric of one model, with everything that another score must share to be comparable.

    Args:
        name: The metric's name in evaluate and the gate.
        value: The value for this model.
        higher_is_better: The direction of the metric.
        judge: Digest of the judge's weights or rules; empty if the metric needs no judge.
        judge_data: Digest of the data that the judge learned from; empty if it learned from none.
        prompts: Digest of the held-out prompts or rows, in the order of their use.
        n: The number of prompts or rows.
        interval: Ends of the 95% interval of the value; None if it was not computed.
    """

    name: str
    value: float
    higher_is_better: bool = True
    judge: str = ""
    judge_data: str = ""
    prompts: str = ""
    n: int = 0
    interval: tuple[float, float] | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Score:
        """Return the score of plain values; keys that this version does not know are ignored."""
        known = {field.name for field in fields(cls)}
        found = {name: value for name, value in values.items() if name in known}
        if found.get("interval") is not None:
            # JSON has no tuples: the interval is read back as a list.
            low, high = found["interval"]
            found["interval"] = (float(low), float(high))
        return cls(**found)

    def beats(self, other: Score) -> bool:
        """Return whether this value is strictly better. NaN beats nothing and loses to every number."""
        if math.isnan(self.value):
            return False
        # Every comparison with NaN is false, so NaN would otherwise be unbeatable.
        if math.isnan(other.value):
            return True
        return self.value > other.value if self.higher_is_better else self.value < other.value

    def __str__(self) -> str:
        bounds = f" [{self.interval[0]:.4g}, {self.interval[1]:.4g}]" if self.interval else ""
        return f"{self.value:.4g}{bounds}{f' (n = {self.n:,})' if self.n else ''}"


@dataclass(frozen=True)
class ScoreComparison:
    """The candidate's score beside the champion's, both measured in one run of evaluate.

    Args:
        candidate: The score of the model that the run made.
        champion: The score of the champion's model; None if it was not scored in this run.
        champion_model: Digest of the scored champion's model, as in its version's tag `digest`.
        why: The reason why the champion was not scored; empty if it was, or if there is none.
        difference: Ends of the 95% interval of the candidate's score less the champion's, on the same
            prompts; None if it is not known.
    """

    candidate: Score
    champion: Score | None = None
    champion_model: str = ""
    why: str = ""
    difference: tuple[float, float] | None = None

    def plain(self) -> dict[str, Any]:
        """Return the value for the key `comparison` of verdict.json."""
        return asdict(self)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> ScoreComparison:
        """Return the comparison that `plain` returned as plain values."""
        champion, difference = values.get("champion"), values.get("difference")
        return cls(
            Score.read(values["candidate"]),
            Score.read(champion) if champion else None,
            str(values.get("champion_model") or ""),
            str(values.get("why") or ""),
            (float(difference[0]), float(difference[1])) if difference else None,
        )

    def is_worse_beyond_chance(self) -> bool:
        """Return whether the candidate's score is worse than the champion's by more than chance."""
        if self.difference is None:
            return False
        low, high = self.difference
        return high < 0 if self.candidate.higher_is_better else low > 0

    def describe(self) -> str:
        """Return how the candidate's score compares with the champion's, in words; empty if it does not."""
        if self.champion is None or math.isnan(self.candidate.value):
            return ""
        change = self.candidate.value - self.champion.value
        words = f"{abs(change):.4g} {'higher' if change > 0 else 'lower'} than" if change else "equal to"
        chance = _describe_chance(self.difference)
        # By the time that this is read, the candidate itself may be the champion.
        return f"{metric_words(self.candidate.name)}: {words} that of the champion before it{chance}"


def _describe_chance(difference: tuple[float, float] | None) -> str:
    if difference is None:
        return ""
    low, high = difference
    return f", {'within' if low <= 0 <= high else 'beyond'} chance (95%: {low:+.4g} to {high:+.4g})"


def read_comparison(folder: Path) -> ScoreComparison | None:
    """Return the comparison in a gate's verdict.json; None if the file or the comparison is missing."""
    try:
        found = json.loads((folder / "verdict.json").read_text(encoding="utf-8")).get("comparison")
    except (OSError, ValueError, RecursionError):
        return None
    return ScoreComparison.read(found) if found else None


def explain_incomparable(one: Score, other: Score) -> str:
    """Return the reason why two scores cannot be compared; empty if they can."""
    unlike = [name for name in IDENTITY if getattr(one, name) != getattr(other, name)]
    if not unlike:
        return ""
    shown = (f"{IDENTITY[name]} {_brief_score(one, name)} and {_brief_score(other, name)}" for name in unlike)
    return f"they differ in {'; '.join(shown)}"


def _brief_score(score: Score, name: str) -> str:
    value = getattr(score, name)
    if name == "name":
        return metric_words(score.name)
    if name == "higher_is_better":
        return "higher is better" if value else "lower is better"
    return str(value)[:_SHOWN] or "none"


def score_tags(score: Score, comparison: ScoreComparison | None = None) -> dict[str, str]:
    """Return the tags of a version that hold its score, and the champion's score of the same run."""
    tags = {
        "score": str(score.value),
        "score.name": score.name,
        "score.direction": "higher" if score.higher_is_better else "lower",
        "score.judge": score.judge,
        "score.judge_data": score.judge_data,
        "score.prompts": score.prompts,
        "score.n": str(score.n or ""),
        "score.interval": json.dumps(score.interval) if score.interval else "",
    }
    if comparison and comparison.champion and not explain_incomparable(score, comparison.champion):
        tags |= {
            "champion.model": comparison.champion_model,
            "champion.score": str(comparison.champion.value),
            "champion.difference": json.dumps(comparison.difference) if comparison.difference else "",
        }
    return {name: value for name, value in tags.items() if value}


def tagged_score(tags: Mapping[str, str]) -> Score | None:
    """Return a version's score; None if its tags do not name the metric, as in older versions."""
    if "score.name" not in tags:
        return None
    interval = tags.get("score.interval")
    return Score.read(
        {
            "name": tags["score.name"],
            "value": float(tags.get("score", "nan")),
            "higher_is_better": tags.get("score.direction") != "lower",
            "judge": tags.get("score.judge", ""),
            "judge_data": tags.get("score.judge_data", ""),
            "prompts": tags.get("score.prompts", ""),
            "n": int(tags.get("score.n", 0)),
            "interval": json.loads(interval) if interval else None,
        }
    )


def champions_score(tags: Mapping[str, str], champion: Mapping[str, str]) -> Score | None:
    """Return the champion's score for a comparison with a candidate's; None if its tags do not name it.

    Args:
        tags: The candidate's tags. They hold the champion's score of the same run, if it was this champion.
        champion: The champion's tags. Its own score counts only if the run did not score it.
    """
    mine = tagged_score(tags)
    if mine and tags.get("champion.model") and tags["champion.model"] == champion.get("digest"):
        # Measured in the candidate's run, so the judge and the prompts are those of the candidate's score.
        return replace(mine, value=float(tags["champion.score"]), interval=None)
    return tagged_score(champion)


def tagged_difference(tags: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the interval of a version's score less its run's champion's; None if it is not recorded."""
    found = json.loads(tags.get("champion.difference", "null"))
    return (float(found[0]), float(found[1])) if found else None


def _is_beyond_chance(score: Score, difference: tuple[float, float] | None) -> bool:
    if difference is None:
        return False
    return difference[0] > 0 if score.higher_is_better else difference[1] < 0


def compare_scores(
    tags: Mapping[str, str], champion: Mapping[str, str], version: str, unscored_reason: str = ""
) -> tuple[bool, str]:
    """Return whether a candidate's score beats the champion's, and the reason in words.

    Args:
        tags: The candidate's tags.
        champion: The champion's tags.
        version: The champion's version, for the message.
        unscored_reason: The reason why the champion was not scored beside the candidate, if known.
    """
    mine, best = tagged_score(tags), champions_score(tags, champion)
    stays = f"the champion, version {version}, stays: "
    if mine is None:
        return False, f"{stays}this version does not record what its score measures"
    if best is None:
        reason = unscored_reason or "its version does not record what its score measures"
        return False, f"{stays}the two cannot be compared, as {reason}"
    if unlike := explain_incomparable(mine, best):
        # The run measured the champion before this one in place of a model that the candidate is.
        if tags.get("digest") and tags["digest"] == champion.get("digest"):
            return False, f"{stays}this version has the same weights"
        before = f"{unscored_reason}, and " if unscored_reason else ""
        return False, f"{stays}the two scores cannot be compared, as {before}{unlike}"
    # Of another champion than that of its run, only the scores are known.
    difference = tagged_difference(tags) if tags.get("champion.model") == champion.get("digest") else None
    if mine.beats(best):
        says = f"{metric_words(mine.name)}: {mine.value:.4g} beats version {version}'s {best.value:.4g}"
        says += _describe_chance(difference)
        if tags.get(BEYOND_CHANCE) == "true" and not _is_beyond_chance(mine, difference):
            known = "" if difference else ", and the interval of the difference is not known"
            return False, f"{stays}{says}{known}; promote.beyond_chance asks for more"
        return True, says
    less = f"{best.value:.4g}, and this version has {mine.value:.4g}{_describe_chance(difference)}"
    return False, f"{stays}{metric_words(mine.name)}: {less}"
