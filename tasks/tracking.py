"""Runs in MLflow: a parent a pipeline run, a child a stage; and the registry that the gate guards."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException

from tasks.keys import plain
from tasks.stage import MANIFEST, Reference

MODEL, CHAMPION = "chatmill", "champion"
FLUSH_SECONDS = 10.0
BATCH = 500
LONGEST = 500
KEPT = ("samples.json", "report.md", "agreement.json", "accuracy.json", "yardstick.json", "answers.json")
ALSO = ("metrics.json", "verdict.json", "report.html", "curves.jsonl")


@dataclass(frozen=True)
class Registered:
    """What became of the aligned model in the registry."""

    version: str
    champion: bool
    says: str


class Tracker:
    """Writes one pipeline run. Metrics wait and go in batches, so that training does not."""

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        import logging

        logging.getLogger("alembic").setLevel(logging.ERROR)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = self.client.get_experiment_by_name(experiment)
        place = artifacts.resolve().as_uri() if uri.startswith("sqlite") else None
        self.experiment = found.experiment_id if found else self.client.create_experiment(experiment, place)
        self.run = ""
        self.stage = ""
        self.waiting: list[Metric] = []
        self.flushed = time.monotonic()
        self.name = ""

    def open_run(self, name: str, files: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Open the parent run."""
        created = self.client.create_run(self.experiment, run_name=name, tags=dict(tags))
        self.run, self.name = created.info.run_id, name
        for file, text in files.items():
            self.client.log_text(self.run, text, file)

    def close_run(self, failed: bool) -> None:
        """Close the parent run."""
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")

    def text(self, file: str, text: str) -> None:
        """Keep a text with the parent run."""
        self.client.log_text(self.run, text, file)

    def open_stage(self, name: str, parameters: Any, parents: list[str]) -> str:
        """Open a stage's run; its id."""
        tags = {
            "mlflow.parentRunId": self.run,
            "chatmill.stage": name,
            "chatmill.inputs": ",".join(run for run in parents if run),
        }
        created = self.client.create_run(self.experiment, run_name=f"{self.name} · {name}", tags=tags)
        self.stage = created.info.run_id
        self.waiting = []
        params = [Param(key, value[:LONGEST]) for key, value in flat(plain(parameters))]
        for start in range(0, len(params), 100):
            self.client.log_batch(self.stage, params=params[start : start + 100])
        return self.stage

    def note(self, event: dict[str, Any]) -> None:
        """Keep an event's figures; they are sent every few seconds, so that a dashboard can follow."""
        if event["event"] not in ("step", "evaluation") or not event["metrics"]:
            return
        figures = dict(event["metrics"])
        if event.get("tokens_per_second"):
            figures["tokens_per_second"] = event["tokens_per_second"]
        self.waiting += _metrics(figures, event["step"])
        if len(self.waiting) >= BATCH or time.monotonic() - self.flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        for start in range(0, len(self.waiting), BATCH):
            self.client.log_batch(self.stage, metrics=self.waiting[start : start + BATCH])
        self.waiting = []
        self.flushed = time.monotonic()

    def close_stage(self, reference: Reference | None, data_hash: str | None = None) -> None:
        """Close a stage's run with its figures and files; None: it failed. A reused one names its source."""
        self._flush()
        if reference is None:
            self.client.set_terminated(self.stage, "FAILED")
            return
        tags = {
            "chatmill.key": reference.key,
            "chatmill.digest": reference.digest,
            "chatmill.status": "reused" if reference.reused else "made",
            "chatmill.seconds": str(reference.seconds),
        }
        if reference.reused and reference.run:
            tags["chatmill.reuses"] = reference.run
        numbers = {name: v for name, v in reference.metrics.items() if isinstance(v, int | float)}
        self.client.log_batch(
            self.stage,
            metrics=_metrics(numbers, int(numbers.get("steps", 0))),
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        if data_hash and not reference.reused:
            described = json.dumps({"pointer": "data.dvc", "md5": data_hash})
            dataset = Dataset("data", data_hash[:36], "dvc", described)
            data_input = DatasetInput(dataset, [InputTag("mlflow.data.context", reference.stage)])
            self.client.log_inputs(self.stage, [data_input])
        if not reference.reused:
            self._keep_files(Path(reference.path))
        self.client.set_terminated(self.stage)

    def _keep_files(self, folder: Path) -> None:
        for name in (MANIFEST, *KEPT, *ALSO):
            if (folder / name).exists():
                self.client.log_artifact(self.stage, str(folder / name))
        if (folder / "curves.jsonl").exists():
            self.client.log_figure(self.stage, curves_figure(folder / "curves.jsonl"), "curves.png")
        if (folder / "model").is_dir():
            self.client.log_artifacts(self.stage, str(folder / "model"), "model")

    def register(self, model: Path, aligned: Reference, verdict: Reference) -> Registered:
        """Make the aligned model version N of the registered model; `champion` where it passed and is better.

        The same model under the same verdict is registered once: what is there is returned.
        """
        try:
            self.client.get_registered_model(MODEL)
        except MlflowException:
            self.client.create_registered_model(MODEL)
        champion = self.champion()
        for known in self.client.search_model_versions(f"name='{MODEL}'"):
            if known.tags.get("digest") == aligned.digest and known.tags.get("gate") == verdict.digest:
                holds = champion is not None and champion.version == known.version
                says = f"version {known.version} of {MODEL}" + (", the champion" if holds else "")
                return Registered(str(known.version), holds, f"{says}, is this model")
        passed, score = bool(verdict.metrics["passed"]), verdict.metrics["score"]
        best = float(champion.tags.get("score", "-inf")) if champion else -math.inf
        better = passed and score is not None and score > best
        reason = str(verdict.metrics["reason"])
        if passed and not better:
            reason = f"the champion, version {champion.version}, has {best:.4g}; this has {score:.4g}"
        source_run = aligned.run or self.stage
        source = f"{self.client.get_run(source_run).info.artifact_uri}/model"
        tags = {"digest": aligned.digest, "gate": verdict.digest, "score": str(score), "reason": reason}
        made = self.client.create_model_version(MODEL, source, source_run, tags=tags)
        if better:
            self.client.set_registered_model_alias(MODEL, CHAMPION, made.version)
        says = "now the champion" if better else f"not the champion: {reason}"
        return Registered(str(made.version), better, f"version {made.version} of {MODEL}: {says}")

    def champion(self) -> Any:
        """The version with the alias, or None."""
        try:
            return self.client.get_model_version_by_alias(MODEL, CHAMPION)
        except MlflowException:
            return None

    def versions(self) -> list[Any]:
        """All versions, the newest first."""
        try:
            found = self.client.search_model_versions(f"name='{MODEL}'")
        except MlflowException:
            return []
        return sorted(found, key=lambda version: -int(version.version))


def flat(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as `a.b.0.c` and text."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from flat(value, f"{prefix}{key}.")
    elif isinstance(values, list) and any(isinstance(value, Mapping) for value in values):
        for place, value in enumerate(values):
            yield from flat(value, f"{prefix}{place}.")
    else:
        yield prefix.rstrip("."), str(values)


def _metrics(figures: Mapping[str, Any], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [
        Metric(name, float(value), now, step)
        for name, value in figures.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]


def curves_figure(path: Path) -> Any:
    """The curves of a training as one figure, a panel a quantity."""
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[float, float]]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name not in ("step", "learning_rate_scale") and "/" not in name:
                curves.setdefault(name, []).append((row["step"], value))
    columns = 2
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(5 * columns, 2.4 * rows), layout="constrained")
    for place, (name, points) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.plot(*zip(*points, strict=True), linewidth=1, marker="." if len(points) < 12 else "")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.tick_params(labelsize=7)
    return figure
