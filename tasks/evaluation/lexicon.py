"""A lexicon of English tone as a judge: fixed rules that were not trained on this project's data.

VADER scores a text from -1 to 1 by rules over 7,500 words that people rated one by one (Hutto & Gilbert,
VADER: A parsimonious rule-based model for sentiment analysis of social media text, ICWSM 2014). It fits
labels about the tone of English texts, such as the demo's. It does not apply to any other language or aspect,
and does not judge whether a text makes sense.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import vaderSentiment.vaderSentiment as vader


def score_tone(texts: Sequence[str]) -> list[float]:
    """Return the tone of each text, from -1 (negative) to 1 (positive); 0 for an empty text."""
    analyzer = vader.SentimentIntensityAnalyzer()
    return [float(analyzer.polarity_scores(text)["compound"]) for text in texts]


def digest_lexicon() -> str:
    """Return a digest of the rules: the version of the package and its word list."""
    words = Path(vader.__file__).with_name("vader_lexicon.txt").read_bytes()
    return hashlib.sha256(version("vaderSentiment").encode() + words).hexdigest()
