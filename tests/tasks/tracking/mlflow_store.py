"""Helpers that open a tracker with a database of its own."""

from __future__ import annotations

from pathlib import Path

from tasks.tracking.tracker import Tracker


def open_tracker(root: Path) -> Tracker:
    """Open the tracker of a folder that holds `mlflow.db`."""
    return Tracker(f"sqlite:///{root / 'mlflow.db'}", "chatmill", root / "mlflow")
