"""Runs in MLflow: a parent a pipeline run, a child a stage."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

from model.events import Evaluation, Event, Step
from tasks.common.file_lock import CLOSED as READ_ONLY
from tasks.common.names import mlflow_key
from tasks.engine.cache_key import flatten_values, plain_parameters
from tasks.engine.catalog import read_declaration
from tasks.engine.declaration import StageDeclaration
from tasks.engine.output import MANIFEST, StageOutput
from tasks.project.database_check import check_experiment, store_key
from tasks.project.paths import STORES
from tasks.tracking.approval import ApprovalRequest
from tasks.tracking.local_artifacts import PLACE, check_hosts, keep_in
from tasks.tracking.metric_queue import BATCH, MetricQueue, ignore_message
from tasks.tracking.products import (
    CHAMPION,
    MODEL,
    Product,
    find_product,
    list_products,
    product_named,
    split_address,
)
from tasks.tracking.queries import COST_TAG, PRESET, WHOLE
from tasks.tracking.registered_model import download_model
from tasks.tracking.registry import Registered, Registry

_LONGEST = 500
_CURVES = "curves.jsonl"
# Of a run that was killed: how it ended. Of a stage's run among these: the later run that holds its files.
_CLOSED, HOLDER = "chatmill.closed", "chatmill.holder"
_FLOW_RUN = "prefect.flow_run_id"
# Of a stage's run: the copies that a cleaning removed from it.
CLEANED = "chatmill.cleaned"
# Of a stage's run: somebody was told of what it made.
_TOLD = "chatmill.told"
LAST_SECONDS = 10.0
_GONE = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE))
COST, MOST_ATTEMPTS = "cost", 50


class Tracker:
    """Writes one pipeline run. Figures go from a thread of their own, so that training does not wait.

    `folder` holds what a local store keeps on disk, and a locked file for each run that is alive: a run whose
    file can be locked was left open by a process that is gone.
    """

    def __init__(self, uri: str, experiment: str, folder: Path, product: str = MODEL) -> None:
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # It writes a traceback for each failed statement; who asked gets the error itself.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        self.uri, self.folder = uri, folder
        check_hosts()
        # Two processes that make a new database at once break it.
        with self._exclusive_lock():
            self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            found = self.client.get_experiment_by_name(experiment)
            if local := not uri.startswith("http"):
                keep_in(folder / "artifacts", uri)
            record = folder.parent / STORES.name
            key = store_key(uri, folder.parent.parent)
            check_experiment(record, key, experiment, _experiment_identity(found))
            place = PLACE if local else None
            if found is None:
                made = self.client.create_experiment(experiment, place)
                found = self.client.get_experiment(made)
                check_experiment(record, key, experiment, _experiment_identity(found))
        self.experiment = str(found.experiment_id)
        self.registry = self.registry_of(product_named(product))
        self.run = self.stage = self.name = ""
        self.declares = StageDeclaration()
        self.tags: dict[str, str] = {}
        self.sender = MetricQueue(self.client)

    def registry_of(self, product: Product) -> Registry:
        """Return the registry of a product in this store."""
        return Registry(self.client, self._exclusive_lock, product)

    def registries(self, wanted: str = "") -> list[Registry]:
        """Return the registries of all products that have versions, or of the one that is wanted."""
        there = list_products(self.client)
        chosen = [find_product(there, wanted)] if wanted else there
        return [self.registry_of(product) for product in chosen]

    @contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        """One process at a time, of those that share the folder; who may only read it needs no lock."""
        with ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context((self.folder / "lock").open("w"))
            except OSError as error:
                if error.errno not in READ_ONLY or not self.folder.is_dir():
                    raise
            else:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def open_run(
        self, name: str, files: Mapping[str, str], tags: Mapping[str, str], note: str, run_name: str = ""
    ) -> Iterator[None]:
        """The parent run of a preset for as long as the context lasts, its stages' runs tagged like it.

        `note` is what `abandoned` says of it should this process die; `run_name` is shown in MLflow's lists.
        """
        self.name, self.tags = name, {**tags, PRESET: name}
        created = self.client.create_run(self.experiment, run_name=run_name or name, tags=self.tags)
        self.run = created.info.run_id
        for file, text in files.items():
            self.client.log_text(self.run, text, file)
        alive = self.folder / "alive" / self.run
        with ExitStack() as held:
            with self._exclusive_lock():
                alive.parent.mkdir(exist_ok=True)
                file_alive = held.enter_context(alive.open("w"))
                fcntl.flock(file_alive, fcntl.LOCK_EX)
                file_alive.write(note)
                file_alive.flush()
            with self._close_ended_run(self.run, alive):
                yield
                if self.uri.startswith("http"):
                    self._close_doubles()

    def _close_doubles(self) -> None:
        """A server that took an order and was gone before it said so was asked again: two runs are of one."""
        mine = f"tags.`{_FLOW_RUN}` = '{self.tags.get(_FLOW_RUN, '')}' and attributes.status = 'RUNNING'"
        for run in self.client.search_runs([self.experiment], mine):
            self._kill_run(run.info.run_id, "MLflow made it twice; this one was not used")

    def _kill_run(self, run: str, why: str, end: int | None = None) -> None:
        """Close a run that no process goes on with, as of `end`, in milliseconds since 1970 (None: now)."""
        self.client.set_tag(run, _CLOSED, why)
        self.client.set_terminated(run, "KILLED", end)

    @contextmanager
    def _close_ended_run(self, run: str, alive: Path | None = None) -> Iterator[None]:
        """Close a run in the state that it ended in.

        Where MLflow cannot be told of it, the file that showed it alive stays, and the next start does.
        """
        try:
            yield
        except BaseException as error:
            with suppress(Exception):
                self.sender.flush_metrics(patience=LAST_SECONDS)
                self._close_run(run, "FAILED" if isinstance(error, Exception) else "KILLED", alive)
            raise
        self._close_run(run, "FINISHED", alive)

    def _close_run(self, run: str, status: str, alive: Path | None) -> None:
        self.client.set_terminated(run, status)
        if alive is not None:
            alive.unlink(missing_ok=True)

    def close_abandoned_runs(self) -> Iterator[str]:
        """Close the runs whose process is gone, as of when they last said something; the notes they left.

        A note is given again at the next start until the caller has come to the one after it.
        """
        with self._exclusive_lock():
            for path in sorted((self.folder / "alive").glob("*")):
                with path.open() as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    self._close_all(path.name, int(path.stat().st_mtime * 1000))
                    yield file.read()
                    path.unlink(missing_ok=True)

    def _close_all(self, parent: str, end: int) -> None:
        within = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'RUNNING'"
        # Its own experiment may be another preset's.
        if not (found := self._read_run(parent)):
            return
        children = self.client.search_runs([found.info.experiment_id], within)
        for run in (parent, *(child.info.run_id for child in children)):
            self._kill_run(run, "its process was killed; a later start closed it", end)

    def _read_run(self, run: str) -> Run | None:
        try:
            return self.client.get_run(run)
        except MlflowException as error:
            if error.error_code in _GONE:
                return None
            raise

    def _holder_run(self, reference: StageOutput) -> str:
        """The run that holds the files of an output that is reused; nothing where this store has none.

        A run that was killed may hold a part of them, and a cleaning removes copies from old runs. Such a run
        names the run that took its place.
        """
        run = self._read_run(reference.run) if reference.reused and reference.run else None
        if run is None or _is_whole(run):
            return run.info.run_id if run else ""
        name = run.data.tags.get(HOLDER, "")
        heir = self._read_run(name) if name else None
        return heir.info.run_id if heir is not None and _is_whole(heir) else ""

    def log_text(self, file: str, text: str) -> None:
        """Keep a text with the run of the stage, or with the parent where none is open."""
        self.client.log_text(self.stage or self.run, text, file)

    @contextmanager
    def open_stage(
        self,
        name: str,
        parameters: Any,
        parents: list[str],
        holds: tuple[str, int] = ("cpu", 1),
        declares: StageDeclaration | None = None,
    ) -> Iterator[str]:
        """Open a stage's run for as long as the context lasts and yield its id.

        `close_stage` records how it went.

        Args:
            name: the stage's name.
            parameters: the stage's parameters, a dataclass or a mapping.
            parents: ids of the runs that made the inputs.
            holds: the kind of device that the stage holds, and how many.
            declares: what the stage declares; None stands for what chatmill's stage of that name does.
        """
        self.declares = declares or read_declaration(name, None)
        tags = {
            **self.tags,
            "mlflow.parentRunId": self.run,
            "chatmill.stage": name,
            "chatmill.inputs": ",".join(run for run in parents if run),
            "chatmill.holds": json.dumps(holds),
        }
        created = self.client.create_run(self.experiment, run_name=f"{self.name} · {name}", tags=tags)
        self.stage = created.info.run_id
        params = [
            Param(mlflow_key(key), value[:_LONGEST])
            for key, value in flatten_values(plain_parameters(parameters))
        ]
        for start in range(0, len(params), 100):
            self.client.log_batch(self.stage, params=params[start : start + 100])
        try:
            with self._close_ended_run(self.stage):
                yield self.stage
        finally:
            self.stage = ""

    @contextmanager
    def resume_run(self, run: str) -> Iterator[None]:
        """Figures go to a stage's run that another process opened, and closes."""
        self.stage = run
        try:
            yield
        finally:
            self.sender.flush_metrics()
            self.stage = ""

    def log_event(self, event: Event) -> None:
        """Keep an event's figures; they are sent every few seconds, so that a dashboard can follow."""
        if not isinstance(event, Step | Evaluation) or not event.metrics:
            return
        figures = dict(event.metrics)
        if isinstance(event, Step) and event.tokens_per_second:
            figures["tokens_per_second"] = event.tokens_per_second
        self.sender.put_metrics(self.stage, _make_metrics(figures, event.step))
        with suppress(FileNotFoundError):
            os.utime(self.folder / "alive" / self.run)

    def close_stage(
        self, reference: StageOutput, data_hash: str, say: Callable[[str], None] = ignore_message
    ) -> str:
        """A stage's figures and files. The run that holds them: one reused names the run it reuses.

        Where this store does not know that run, or it was killed before it had them all, this one holds them
        as if the stage had been made. MLflow is waited for; `say` is told so.
        """
        self.sender.flush_metrics(say)
        reuses = self._holder_run(reference)
        if not reuses:
            self._keep_curves(Path(reference.path) / _CURVES)
        tags = {
            "chatmill.key": reference.key,
            "chatmill.digest": reference.digest,
            "chatmill.status": "reused" if reference.reused else "made",
            "chatmill.seconds": str(reference.seconds),
            **({"chatmill.reuses": reuses} if reuses else {}),
        }
        numbers = {name: v for name, v in reference.metrics.items() if isinstance(v, int | float)}
        self.client.log_batch(
            self.stage,
            metrics=_make_metrics(numbers, int(numbers.get("steps", 0))),
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        self._keep_cost(reference, reuses or self.stage, data_hash)
        if data_hash:
            described = json.dumps({"pointer": "data.dvc", "md5": data_hash})
            dataset = Dataset("data", data_hash[:36], "dvc", described)
            data_input = DatasetInput(dataset, [InputTag("mlflow.data.context", reference.stage)])
            self.client.log_inputs(self.stage, [data_input])
        if not reuses:
            self._keep_files(Path(reference.path))
            if reference.reused and self._read_run(reference.run):
                self.client.set_tag(reference.run, HOLDER, self.stage)
        return reuses or self.stage

    def _keep_curves(self, curves: Path) -> None:
        """What the run lacks of them: an attempt that was killed had come so far."""
        rows = [json.loads(line) for line in curves.read_text().splitlines()] if curves.exists() else []
        if not rows:
            return
        names = sorted({name for row in rows for name in _curve_metrics(row)})
        there = [
            point.step
            for name in names
            for point in self.client.get_metric_history(self.stage, mlflow_key(name))
        ]
        begins = min(there, default=math.inf)
        lacks = [
            metric
            for row in rows
            if row["step"] < begins
            for metric in _make_metrics(_curve_metrics(row), row["step"])
        ]
        for start in range(0, len(lacks), BATCH):
            self.client.log_batch(self.stage, metrics=lacks[start : start + BATCH])

    def _keep_cost(self, reference: StageOutput, holder: str, data_hash: str) -> None:
        """What a stage took: as figures of its run where it was made, and at the pipeline's run for sums.

        There a reader finds them, and whose output it is, without reading a run a stage.
        """
        if not reference.cost:
            return
        if not reference.reused:
            numbers = {
                f"{COST}/{name}": value
                for name, value in reference.cost.items()
                if isinstance(value, int | float)
            }
            self.client.log_batch(self.stage, metrics=_make_metrics(numbers, 0))
        told = {
            **reference.cost,
            "runs": reference.cost.get("runs", [])[-MOST_ATTEMPTS:],
            "status": "reused" if reference.reused else "made",
            "key": reference.key,
            "holder": holder,
            "data": data_hash,
            "declaration": self.declares.to_json(),
        }
        self.client.set_tag(self.run, f"{COST_TAG}{reference.stage}", json.dumps(told))

    def _keep_files(self, folder: Path) -> None:
        for name in (MANIFEST, *self.declares.artifacts, _CURVES):
            if (folder / name).exists():
                self.client.log_artifact(self.stage, str(folder / name))
        if (folder / _CURVES).exists():
            self.client.log_figure(self.stage, curves_figure(folder / _CURVES), "curves.png")
        if (folder / "model").is_dir():
            self.client.log_artifacts(self.stage, str(folder / "model"), "model")
        if (folder / "data_docs").is_dir():
            self.client.log_artifacts(self.stage, str(folder / "data_docs"), "data_docs")

    def is_told(self, output: StageOutput) -> bool:
        """Whether an event about this output was sent already."""
        return _TOLD in self.client.get_run(output.run).data.tags

    def set_told(self, output: StageOutput) -> None:
        """An event about this output was sent; none is sent again."""
        self.client.set_tag(output.run, _TOLD, "true")

    def is_whole(self, data_hash: str) -> None:
        """Note with the parent run that its chain came to the end, from that version of the data."""
        self.client.set_tag(self.run, WHOLE, data_hash)

    def register(
        self,
        aligned: StageOutput,
        verdict: StageOutput,
        question: ApprovalRequest | None = None,
        preset: str = "",
        why: str = "",
    ) -> Registered:
        """Make the aligned model a version of the registered model; see `Registry.register`."""
        source = f"{self.client.get_run(aligned.run).info.artifact_uri}/model"
        return self.registry.register(aligned, verdict, source, question, preset, why)

    def champion_folder(self, address: str = CHAMPION) -> Path | None:
        """The folder of a champion's model, fetched where the store is elsewhere; None: there is no champion.

        `address` is champion or NAME/champion. Raises UserError where several products have models, and
        where a file of the champion is not the one that was registered.
        """
        there = list_products(self.client)
        if not there:
            return None
        found = self.registry_of(find_product(there, split_address(address)[0])).champion()
        return download_model(found, self.uri) if found else None

    def check_files(self, version: Any) -> None:
        """Raise DamagedModel unless MLflow has the files of a version as they were registered."""
        with TemporaryDirectory() as scratch:
            download_model(version, self.uri, scratch)


def _is_whole(run: Run) -> bool:
    """Return whether a stage's run came to its end and still has all files that it kept."""
    return run.info.status == "FINISHED" and CLEANED not in run.data.tags


def _experiment_identity(experiment: Any) -> str:
    """Return what tells an experiment from another one of its name; empty for none."""
    return f"{experiment.experiment_id} {experiment.creation_time}" if experiment else ""


def _curve_metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    """A point of the curves without its place."""
    return {name: value for name, value in row.items() if name != "step"}


def _make_metrics(figures: Mapping[str, Any], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [
        Metric(mlflow_key(name), float(value), now, step)
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
    rows = max(1, math.ceil(len(curves) / columns))
    height = 2.4 * rows
    figure = Figure(figsize=(5 * columns, height))
    # In inches, by hand: of a figure of many panels, working its layout out takes as long as drawing it.
    figure.subplots_adjust(
        left=0.06, right=0.98, bottom=0.3 / height, top=1 - 0.3 / height, wspace=0.16, hspace=0.34
    )
    for place, (name, points) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.plot(*zip(*points, strict=True), linewidth=1, marker="." if len(points) < 12 else "")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.tick_params(labelsize=7)
    return figure
