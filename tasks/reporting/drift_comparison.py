"""The report's section on the drift from the champion's data."""

from __future__ import annotations

from typing import Any

from tasks.common.metric_labels import drift_words
from tasks.reporting.charts import against_bars, tick_label


def drift_section(found: dict[str, Any]) -> dict[str, Any] | None:
    """Return the table and the chart of the drift from the champion's data; None without a champion."""
    measures = found.get("measures") or []
    if not measures:
        return None
    rows = [
        {
            "name": drift_words(each["name"]),
            **{name: each[name] for name in ("of", "past")},
            **{name: tick_label(float(f"{each[name]:.4g}")) for name in ("before", "now")},
            **{name: f"{each[name]:.2g}" for name in ("distance", "bar")},
        }
        for each in measures
    ]
    multiples = [(drift_words(each["name"]), each["multiple"], each["past"]) for each in measures]
    new = ", ".join(f"{share:.1%} of the {kind}" for kind, share in found["new"].items())
    # It follows a full stop.
    says = found["says"][:1].upper() + found["says"][1:]
    return {"says": says, "version": found["against"], "new": new, "rows": rows,
            "picture": against_bars(multiples)}  # fmt: skip
