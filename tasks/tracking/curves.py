"""The curves of a training: its metrics by step, as MLflow's metrics and as a chart."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

from tasks.common.names import mlflow_key
from tasks.tracking.metric_queue import BATCH

CURVES = "curves.jsonl"


def complete_curves(client: MlflowClient, run: str, curves: Path) -> None:
    """Send the points of the curves that the run lacks: those of a killed attempt before this one."""
    rows = [json.loads(line) for line in curves.read_text().splitlines()] if curves.exists() else []
    if not rows:
        return
    names = sorted({name for row in rows for name in _without_step(row)})
    there = [point.step for name in names for point in client.get_metric_history(run, mlflow_key(name))]
    begins = min(there, default=math.inf)
    lacks = [
        metric
        for row in rows
        if row["step"] < begins
        for metric in make_metrics(_without_step(row), row["step"])
    ]
    for start in range(0, len(lacks), BATCH):
        client.log_batch(run, metrics=lacks[start : start + BATCH])


def _without_step(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point of the curves without its step."""
    return {name: value for name, value in row.items() if name != "step"}


def make_metrics(figures: Mapping[str, Any], step: int) -> list[Metric]:
    """Return the finite numbers among some values as MLflow metrics."""
    now = int(time.time() * 1000)
    return [
        Metric(mlflow_key(name), float(value), now, step)
        for name, value in figures.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]


def curves_figure(path: Path) -> Any:
    """Return the curves of a training as one figure with a panel for each metric."""
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[float, float]]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name not in ("step", "learning_rate_scale") and "/" not in name:
                curves.setdefault(name, []).append((row["step"], value))
    columns = 2
    rows = max(1, math.ceil(len(curves) / columns))
    height = 2.4 * rows
    figure = Figure(figsize=(5 * columns, height))
    # The margins are set by hand, in inches: an automatic layout of many panels takes as long as drawing
    # them.
    figure.subplots_adjust(
        left=0.06, right=0.98, bottom=0.3 / height, top=1 - 0.3 / height, wspace=0.16, hspace=0.34
    )
    for index, (name, points) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.plot(*zip(*points, strict=True), linewidth=1, marker="." if len(points) < 12 else "")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.tick_params(labelsize=7)
    return figure
