"""The judge: a fixed tone lexicon that says whether RLHF did what the labels asked.

VADER (Hutto & Gilbert, VADER: A parsimonious rule-based model for sentiment analysis of social media text,
ICWSM 2014) scores a text from -1 to 1 by rules over 7,500 words that people rated one by one. It is
independent of the reward: it is not trained, has no weights in common with the reward model, is never
called before evaluation, and its lexicon is no part of the rated texts that the reward model learned from.
It has the same authors and the same idea of tone as those ratings, so it measures the aspect that was
asked for; and it is a lexicon, so it says nothing about whether a text makes sense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


def judge(texts: Sequence[str]) -> list[float]:
    """Tone of each text, from -1 (negative) to 1 (positive); 0 for an empty one."""
    analyzer = SentimentIntensityAnalyzer()
    return [float(analyzer.polarity_scores(text)["compound"]) for text in texts]


@dataclass(frozen=True)
class Verdict:
    """Two models by the judge, on the same prompts: mean scores, and how often the second one wins.

    `win_rate` counts a tie as half a win; `low` and `high` are the ends of its 95% interval.
    """

    before: float
    after: float
    win_rate: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """Mean score after less mean score before."""
        return self.after - self.before


def compare(before: Sequence[float], after: Sequence[float]) -> Verdict:
    """Compare scores of two models, paired by prompt. Raises ValueError for none, or a different number."""
    if not before or len(before) != len(after):
        raise ValueError(f"{len(before)} scores against {len(after)}; both models answer the same prompts")
    wins = sum((b < a) + 0.5 * (b == a) for b, a in zip(before, after, strict=True))
    low, high = wilson_interval(wins, len(before))
    return Verdict(
        before=sum(before) / len(before),
        after=sum(after) / len(after),
        win_rate=wins / len(before),
        low=low,
        high=high,
    )


def wilson_interval(wins: float, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a share of wins, by default at 95%.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927. Unlike
    the normal interval it stays inside 0 and 1 at the ends. Ties counted as half a win make it a little wide.
    """
    share = wins / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return centre - half, centre + half
