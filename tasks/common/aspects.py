"""The aspects that labels are about."""

from __future__ import annotations

ASPECTS = ("truthfulness", "helpfulness", "harmlessness", "tone")
# The choice between two answers as a whole, on the label page.
OVERALL = "overall"
# That of labels from files that name none, unless their source has `aspect`.
UNNAMED_ASPECT = "helpfulness"
KNOWN_ASPECTS = (*ASPECTS, OVERALL)
