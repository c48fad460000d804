"""The product that a preset's sources of the label page are read for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from flows.common.shared_products import product_presets
from flows.config import Preset
from tasks.data.sources.source_types import DataParameters, IngestParameters


def ingest_parameters(preset: Preset, root: Path) -> DataParameters:
    """Return the parameters of ingestion: a source of the label page reads the judgements of its product.

    Args:
        preset: The preset.
        root: The project's folder, whose configs/ has the other presets of the product.
    """
    if not any(source.labels for source in preset.data.sources):
        return preset.data
    given = {each.name: getattr(preset.data, each.name) for each in fields(preset.data)}
    presets = {preset.name, *product_presets(root, preset.product)}
    return IngestParameters(**given, product=preset.product, presets=tuple(sorted(presets)))
