"""Rare garbage collections, for processes that import large packages."""

from __future__ import annotations

import gc

_THRESHOLDS = (100_000, 50, 50)


def collect_rarely() -> None:
    """Make Python search for cycles of unused objects less often.

    Importing MLflow or Prefect's server makes 300,000 objects that are never freed. Searching them again and
    again takes a fifth of the time of the import.
    """
    gc.set_threshold(*_THRESHOLDS)
