"""The aspects that labels are about."""

from __future__ import annotations

ASPECTS = ("truthfulness", "helpfulness", "harmlessness", "tone")
# The choice between two answers as a whole, on the label page.
OVERALL = "overall"
KNOWN_ASPECTS = (*ASPECTS, OVERALL)
