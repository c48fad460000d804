"""The notice of a run that starts a new product on data of another one's champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.common.shared_products import describe_shared_product

if TYPE_CHECKING:
    from flows.config import Preset
    from tasks.tracking.tracker import Tracker


def describe_new_product(tracker: Tracker, preset: Preset, root: Path) -> str:
    """Return a sentence if a preset starts a product on data of another one's champion, or shares one."""
    from tasks.tracking.other_products import describe_other_champion

    sources = [source.name for source in preset.data.sources]
    said = describe_other_champion(tracker.client, tracker.registry.product, sources, root)
    return "; ".join(filter(None, (said, describe_shared_product(root, preset.product))))
