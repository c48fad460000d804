"""The file of a training's curves: one line of JSON a step that is reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from model.atomic_file import atomic_path


class CurveFile:
    """The points of a training's curves in the order of the steps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a step."""
        with self.path.open("a") as curves:
            curves.write(json.dumps({"step": step, **metrics}) + "\n")

    def truncate(self, step: int) -> None:
        """Keep only the points up to a step, as later ones will be written again; -1 keeps none."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except ValueError:
                # A kill left this line incomplete.
                break
        with atomic_path(self.path, self.path.with_suffix(".part")) as part:
            part.write_text("".join(kept))
