"""Runs in MLflow: a parent run for each pipeline run, a child run for each stage."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

from model.events import Evaluation, Event, Step
from tasks.common.file_lock import CLOSED as READ_ONLY
from tasks.common.names import mlflow_key
from tasks.common.stage_status import status_of
from tasks.engine.cache_key import flatten_values, plain_parameters
from tasks.engine.catalog import read_declaration
from tasks.engine.declaration import StageDeclaration
from tasks.engine.output import MANIFEST, StageOutput
from tasks.project.database_check import check_experiment, store_key
from tasks.project.dry_run import may_write
from tasks.project.paths import STORES
from tasks.tracking.approval import ApprovalRequest
from tasks.tracking.curves import CURVES, complete_curves, curves_figure, make_metrics
from tasks.tracking.local_artifacts import PLACE, check_hosts, keep_in
from tasks.tracking.metric_queue import MetricQueue, ignore_message
from tasks.tracking.products import (
    CHAMPION,
    MODEL,
    Product,
    find_product,
    find_version,
    list_products,
    product_named,
    split_address,
)
from tasks.tracking.queries import COST_TAG, HELD, PRESET, WHOLE, experiment_identity
from tasks.tracking.registered_model import download_model
from tasks.tracking.registry import Registered, Registry
from tasks.tracking.store_client import open_store

_LONGEST = 500
# Tags of a killed run: how it was closed; and for a stage's run, the later run that holds its files.
_CLOSED, HOLDER = "chatmill.closed", "chatmill.holder"
_FLOW_RUN = "prefect.flow_run_id"
# Tag of a stage's run: the copies that `gc` removed from it.
CLEANED = "chatmill.cleaned"
# Tag of a stage's run: an event about its output was sent.
_TOLD = "chatmill.told"
LAST_SECONDS = 10.0
_GONE = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE))
COST, MOST_ATTEMPTS = "cost", 50


class Tracker:
    """A writer of one pipeline run to MLflow. A separate thread sends metrics, so training never waits.

    `folder` holds the files of a local store, and a locked file for each running pipeline run. If such a file
    can be locked, the process of its run is gone.
    """

    def __init__(self, uri: str, experiment: str, folder: Path, product: str = MODEL) -> None:
        self.uri, self.folder = uri, folder
        check_hosts()
        # Two processes that create a new database at the same time break it.
        with self._exclusive_lock():
            self.client = open_store(uri)
            found = self.client.get_experiment_by_name(experiment)
            if local := not uri.startswith("http"):
                keep_in(folder / "artifacts", uri)
            record = folder.parent / STORES.name
            key = store_key(uri, folder.parent.parent)
            check_experiment(record, key, experiment, experiment_identity(found))
            # A server chooses the location of the files itself.
            place = PLACE if local else None
            if found is None and may_write():
                found = self.client.create_missing_experiment(experiment, place)
                check_experiment(record, key, experiment, experiment_identity(found))
        # A dry run creates no experiment, and no experiment has this number.
        self.experiment = str(found.experiment_id) if found else "-1"
        self.registry = self.registry_of(product_named(product))
        self.run = self.stage = self.name = ""
        self.declaration = StageDeclaration()
        self.tags: dict[str, str] = {}
        self.sender = MetricQueue(self.client)

    def registry_of(self, product: Product) -> Registry:
        """Return the registry of a product in this store."""
        return Registry(self.client, self._exclusive_lock, product)

    def registries(self, wanted: str = "") -> list[Registry]:
        """Return the registries of all products that have versions, or of the wanted one."""
        there = list_products(self.client)
        chosen = [find_product(there, wanted)] if wanted else there
        return [self.registry_of(product) for product in chosen]

    @contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        """Exclude the other processes that share the folder; a user who may only read it needs no lock."""
        with ExitStack() as held:
            try:
                if may_write():
                    self.folder.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context((self.folder / "lock").open("a" if may_write() else "r"))
            except OSError as error:
                if may_write() and (error.errno not in READ_ONLY or not self.folder.is_dir()):
                    raise
            else:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def open_run(
        self, name: str, files: Mapping[str, str], tags: Mapping[str, str], note: str, run_name: str = ""
    ) -> Iterator[None]:
        """Open the parent run of a preset while the context lasts; its stages' runs get the same tags.

        Args:
            name: The preset's name.
            files: Texts to keep with the run, by file name.
            tags: Tags of the run.
            note: The text that `close_abandoned_runs` yields if this process dies.
            run_name: The name in MLflow's lists; the default is `name`.
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
                # Under the folder's lock, as `close_abandoned_runs` would otherwise find the file before it
                # is locked.
                fcntl.flock(file_alive, fcntl.LOCK_EX)
                file_alive.write(note)
                file_alive.flush()
            with self._close_ended_run(self.run, alive):
                yield
                if self.uri.startswith("http"):
                    self._close_doubles()

    def _close_doubles(self) -> None:
        """Close duplicates of this run.

        A client repeats a request whose answer was lost, and MLflow then has two runs.
        """
        mine = f"tags.`{_FLOW_RUN}` = '{self.tags.get(_FLOW_RUN, '')}' and attributes.status = 'RUNNING'"
        for run in self.client.search_runs([self.experiment], mine):
            self._kill_run(run.info.run_id, "MLflow created it twice; this one was not used")

    def _kill_run(self, run: str, reason: str, end: int | None = None) -> None:
        """Close a run that no process continues.

        Args:
            run: The run's id.
            reason: The reason, kept as a tag.
            end: The end in milliseconds since 1970; None means now.
        """
        self.client.set_tag(run, _CLOSED, reason)
        self.client.set_terminated(run, "KILLED", end)

    @contextmanager
    def _close_ended_run(self, run: str, alive: Path | None = None) -> Iterator[None]:
        """Close a run in the state in which its context ends.

        If MLflow is unreachable, the file that marks the run as alive stays, and the next start closes the
        run.
        """
        try:
            yield
        except BaseException as error:
            # The error that ended the run matters more than MLflow's.
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
        """Close the runs whose process is gone, and yield their notes.

        A run ends at the last change of its file. A note is yielded again at the next start unless the caller
        asks for the following one.
        """
        with self._exclusive_lock():
            for path in sorted((self.folder / "alive").glob("*")):
                with ExitStack() as opened:
                    try:
                        file = opened.enter_context(path.open())
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except (FileNotFoundError, BlockingIOError):
                        continue
                    # A run removes its file before it releases the lock: this run ended by itself since the
                    # file was opened, and must keep the state in which it ended.
                    if not os.fstat(file.fileno()).st_nlink:
                        continue
                    self._close_all(path.name, int(path.stat().st_mtime * 1000))
                    yield file.read()
                    # After the yield: a caller that fails with this note gets it again.
                    path.unlink(missing_ok=True)

    def _close_all(self, parent: str, end: int) -> None:
        within = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'RUNNING'"
        # The run may belong to another preset's experiment.
        if not (found := self._read_run(parent)):
            return
        children = self.client.search_runs([found.info.experiment_id], within)
        for run in (parent, *(child.info.run_id for child in children)):
            self._kill_run(run, "its process was killed; a later start of chatmill closed the run", end)

    def _read_run(self, run: str) -> Run | None:
        try:
            return self.client.get_run(run)
        except MlflowException as error:
            if error.error_code in _GONE:
                return None
            raise

    def _holder_run(self, reference: StageOutput) -> str:
        """Return the run that holds the files of a reused output; empty if this store has none.

        A killed run may hold only a part of them, and `gc` removes copies from old runs. Such a run names
        its successor in a tag.
        """
        run = self._read_run(reference.run) if reference.reused and reference.run else None
        if run is None or _is_whole(run):
            return run.info.run_id if run else ""
        name = run.data.tags.get(HOLDER, "")
        heir = self._read_run(name) if name else None
        return heir.info.run_id if heir is not None and _is_whole(heir) else ""

    def log_text(self, file: str, text: str) -> None:
        """Keep a text with the stage's run, or with the parent run if no stage is open."""
        self.client.log_text(self.stage or self.run, text, file)

    @contextmanager
    def open_stage(
        self,
        name: str,
        parameters: Any,
        parents: list[str],
        declaration: StageDeclaration | None = None,
    ) -> Iterator[str]:
        """Open a stage's run while the context lasts, and yield its id.

        `close_stage` records the result.

        Args:
            name: The stage's name.
            parameters: The stage's parameters, a dataclass or a mapping.
            parents: Ids of the runs that made the inputs.
            declaration: The stage's declaration; None means that of chatmill's stage of this name.
        """
        self.declaration = declaration or read_declaration(name, None)
        tags = {
            **self.tags,
            "mlflow.parentRunId": self.run,
            "chatmill.stage": name,
            "chatmill.inputs": ",".join(run for run in parents if run),
        }
        created = self.client.create_run(self.experiment, run_name=f"{self.name} · {name}", tags=tags)
        self.stage = created.info.run_id
        params = [
            Param(mlflow_key(key), value[:_LONGEST])
            for key, value in flatten_values(plain_parameters(parameters))
        ]
        # MLflow takes at most 100 parameters in a request.
        for start in range(0, len(params), 100):
            self.client.log_batch(self.stage, params=params[start : start + 100])
        try:
            with self._close_ended_run(self.stage):
                yield self.stage
        finally:
            self.stage = ""

    def begin_stage(self, device: str, devices: int) -> None:
        """Record the devices that the stage holds, and since when: what it waited before costs nothing."""
        held = (device, devices, round(time.time(), 3))
        self.client.set_tag(self.stage, HELD, json.dumps(held))

    @contextmanager
    def resume_run(self, run: str) -> Iterator[None]:
        """Send metrics to a stage's run that another process opened and will close."""
        self.stage = run
        try:
            yield
        finally:
            self.sender.flush_metrics()
            self.stage = ""

    def log_event(self, event: Event) -> None:
        """Queue an event's metrics; they are sent every few seconds, so that a dashboard can follow."""
        if not isinstance(event, Step | Evaluation) or not event.metrics:
            return
        figures = dict(event.metrics)
        if isinstance(event, Step) and event.tokens_per_second:
            figures["tokens_per_second"] = event.tokens_per_second
        self.sender.put_metrics(self.stage, make_metrics(figures, event.step))
        with suppress(FileNotFoundError):
            # The time of this file is the end of the run if the process is killed.
            os.utime(self.folder / "alive" / self.run)

    def close_stage(
        self, reference: StageOutput, data_hash: str, say: Callable[[str], None] = ignore_message
    ) -> str:
        """Record a stage's metrics and files, and return the id of the run that holds the files.

        A reused stage names the run that it reuses. If that run is missing or incomplete in this store, this
        run holds the files as if the stage had been made.

        Args:
            reference: The stage's output.
            data_hash: DVC's hash of the data; empty if none was read.
            say: Receives messages about an MLflow server that is unreachable.
        """
        self.sender.flush_metrics(say)
        reuses = self._holder_run(reference)
        if not reuses:
            complete_curves(self.client, self.stage, Path(reference.path) / CURVES)
        tags = {
            "chatmill.key": reference.key,
            "chatmill.digest": reference.digest,
            "chatmill.status": status_of(reference.reused),
            "chatmill.seconds": str(reference.seconds),
            **({"chatmill.reuses": reuses} if reuses else {}),
        }
        numbers = {name: v for name, v in reference.metrics.items() if isinstance(v, int | float)}
        self.client.log_batch(
            self.stage,
            metrics=make_metrics(numbers, int(numbers.get("steps", 0))),
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        self._keep_cost(reference, reuses or self.stage, data_hash)
        if data_hash:
            described = json.dumps({"pointer": "data.dvc", "md5": data_hash})
            # MLflow takes at most 36 characters in the digest of a data set.
            dataset = Dataset("data", data_hash[:36], "dvc", described)
            data_input = DatasetInput(dataset, [InputTag("mlflow.data.context", reference.stage)])
            self.client.log_inputs(self.stage, [data_input])
        if not reuses:
            self._keep_files(Path(reference.path))
            if reference.reused and self._read_run(reference.run):
                # Later runs that reuse the same output find its files through this tag.
                self.client.set_tag(reference.run, HOLDER, self.stage)
        return reuses or self.stage

    def _keep_cost(self, reference: StageOutput, holder: str, data_hash: str) -> None:
        """Record a stage's cost: as metrics of its run if it was made, and as a tag of the pipeline run.

        From the tag, a reader gets costs and owners of outputs without reading each stage's run.
        """
        if not reference.cost:
            return
        if not reference.reused:
            numbers = {
                f"{COST}/{name}": value
                for name, value in reference.cost.items()
                if isinstance(value, int | float)
            }
            self.client.log_batch(self.stage, metrics=make_metrics(numbers, 0))
        told = {
            **reference.cost,
            # MLflow takes at most 8,000 characters in a tag.
            "runs": reference.cost.get("runs", [])[-MOST_ATTEMPTS:],
            "status": status_of(reference.reused),
            "key": reference.key,
            "holder": holder,
            "data": data_hash,
            "declaration": self.declaration.to_json(),
        }
        self.client.set_tag(self.run, f"{COST_TAG}{reference.stage}", json.dumps(told))

    def _keep_files(self, folder: Path) -> None:
        for name in (MANIFEST, *self.declaration.artifacts, CURVES):
            if (folder / name).exists():
                self.client.log_artifact(self.stage, str(folder / name))
        if (folder / CURVES).exists():
            self.client.log_figure(self.stage, curves_figure(folder / CURVES), "curves.png")
        if (folder / "model").is_dir():
            self.client.log_artifacts(self.stage, str(folder / "model"), "model")
        if (folder / "data_docs").is_dir():
            self.client.log_artifacts(self.stage, str(folder / "data_docs"), "data_docs")

    def was_notified(self, output: StageOutput) -> bool:
        """Return whether an event about this output was already sent."""
        return _TOLD in self.client.get_run(output.run).data.tags

    def mark_notified(self, output: StageOutput) -> None:
        """Record that an event about this output was sent."""
        self.client.set_tag(output.run, _TOLD, "true")

    def mark_complete(self, data_hash: str) -> None:
        """Record with the parent run that all stages are complete, and the version of the data."""
        self.client.set_tag(self.run, WHOLE, data_hash)

    def register(
        self,
        aligned: StageOutput,
        verdict: StageOutput,
        question: ApprovalRequest | None = None,
        preset: str = "",
        unscored_reason: str = "",
        beyond_chance: bool = False,
    ) -> Registered:
        """Register the aligned model as a version; see `Registry.register`."""
        source = f"{self.client.get_run(aligned.run).info.artifact_uri}/model"
        asked = (question, preset, unscored_reason, beyond_chance)
        return self.registry.register(aligned, verdict, source, *asked)

    def version_folder(self, scratch: str, address: str = CHAMPION) -> Path:
        """Return the folder of a registered version's model, which is fetched if the store is not local.

        Args:
            scratch: The folder for files fetched from a server. The caller removes it.
            address: champion, a number, NAME/champion or NAME/NUMBER.

        Raises:
            UserError: There is no such version, several products have models and no name is given, or a
                file of the model was changed.
        """
        product, number = split_address(address)
        if number == CHAMPION:
            # This also ends the change of a killed process, which may name another champion.
            self.registry_of(find_product(list_products(self.client), product)).champion()
        return download_model(find_version(self.client, address), self.uri, scratch)

    def check_files(self, version: Any) -> None:
        """Raise DamagedModel unless MLflow has the files of a version as they were registered."""
        with TemporaryDirectory() as scratch:
            download_model(version, self.uri, scratch)


def _is_whole(run: Run) -> bool:
    """Return whether a stage's run finished and still has all its files."""
    return run.info.status == "FINISHED" and CLEANED not in run.data.tags
