"""The notice of a run that starts a new product on data of another one's champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.config import Preset
    from tasks.tracking.tracker import Tracker


def describe_new_product(tracker: Tracker, preset: Preset, root: Path) -> str:
    """Return a sentence if a preset starts a product on data of another one's champion; else empty."""
    from tasks.tracking.other_products import describe_other_champion

    sources = [source.name for source in preset.data.sources]
    return describe_other_champion(tracker.client, tracker.registry.product, sources, root)
