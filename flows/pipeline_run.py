"""One run of a flow: each stage as a Prefect task, on the terminal, and in MLflow."""

from __future__ import annotations

import json
import platform
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psutil
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, State

from flows.config import Preset, dump_preset
from flows.orchestration.base_version import base_tags, pin_base_version
from flows.orchestration.crash_recovery import recover_crashed_runs, without_run_tag
from flows.orchestration.dask_runner import DaskRunner
from flows.orchestration.drift_reference import fetch_drift_reference
from flows.orchestration.events import (
    CHAMPION_MADE,
    DATA,
    DRIFT,
    GATE_REFUSED,
    MAKE_BATCH,
    emit_run_event,
)
from flows.orchestration.judge_check import JudgeCheck
from flows.orchestration.label_announcement import announce_labels
from flows.orchestration.memory_check import MemoryCheck
from flows.orchestration.new_product import describe_new_product
from flows.orchestration.progress import ProgressDisplay, keep_table
from flows.orchestration.remote_stage import RemoteStageRunner, open_remote_cache
from flows.orchestration.run_links import (
    deployed_preset_path,
    find_pages,
    name_flow_run,
    page_links,
    show_outcome_links,
    show_tracked_run,
    tracked_run_name,
)
from flows.orchestration.slow_stage_alert import alert_when_slow
from flows.servers.environment import prepare_environment
from flows.servers.process_settings import thread_count
from model.atomic_file import replace_text
from model.errors import UserError
from model.events import Event, MarkdownTable
from model.training.devices import describe_processor
from tasks.common.git_checkout import UNKNOWN
from tasks.common.stage_status import status_of
from tasks.deletion.learned_rows import refuse_withdrawn_base, refuse_withdrawn_rows
from tasks.drift import DriftParameters, read_drift
from tasks.engine.cache_key import lock_digest
from tasks.engine.catalog import read_declaration
from tasks.engine.output import StageOutput, check_output
from tasks.engine.parallel import ProcessPool, process_pool
from tasks.engine.source_snapshot import current_snapshot, running_code
from tasks.engine.stage import Stage, StageContext
from tasks.evaluate import CHAMPION
from tasks.project.paths import DASK, MLFLOW_FOLDER, REPORT, SUMMARY
from tasks.reporting.template import add_run_links
from tasks.reproduction.known_code import remember_code
from tasks.tracking.approval import ApprovalRequest
from tasks.validate import ValidationFailed
from tasks.validation.training_preflight import check_trainings, describe_end, missing_rows

if TYPE_CHECKING:
    from tasks.tracking.registry import Registered


@dataclass(frozen=True)
class Outcome:
    """The content of var/summary.json.

    Attributes:
        pending_version: The model version that waits for approval; empty for none.
    """

    stages: list[dict[str, Any]]
    seconds: float
    prefect_run_id: str
    mlflow_run_id: str
    data_hash: str
    git_commit: str
    pending_version: str = ""


class PipelineRun:
    """A callable that runs stages. Events go to the display and to MLflow, outputs to later stages."""

    def __init__(self, preset: Preset, trains: bool = True) -> None:
        """Prepare a run of a preset; one that `trains` needs the base model."""
        self.settings = prepare_environment(Path.cwd(), preset.tracking.mlflow)
        # MLflow reads its settings when it is imported, so the environment must be set first.
        from tasks.tracking.tracker import Tracker

        folder = self.settings.root / MLFLOW_FOLDER
        self.tracker = Tracker(self.settings.mlflow, preset.tracking.experiment, folder, preset.product)
        # A registry that cannot be used must fail the run at its start, not at its end.
        self.tracker.registry.check()
        self.preset = pin_base_version(preset, self.tracker, self.settings.root) if trains else preset
        device = preset.find_device()
        self.parallel_map, self.store = (
            self._open_parallel_map(),
            open_remote_cache(preset, self.settings.root),
        )
        processes = preset.training_processes(device)
        self.context = StageContext(
            self.settings.root, preset.seed, device, processes, self.parallel_map, self.store
        )
        self.display = ProgressDisplay(preset.name, device, get_run_logger().info)
        self.judge_check = JudgeCheck(preset, self.display.show_note, trains)
        snapshot = current_snapshot()
        self.code = snapshot.code if snapshot else running_code(self.settings.root)
        self.stages: list[dict[str, Any]] = []
        self.references: dict[str, StageOutput] = {}
        self.states: dict[str, Any] = {}
        self.pages, self.flow_run, self.pending_version = find_pages(self.settings), str(flow_run.id), ""
        self.version = self.model_says = self.champion_missing_reason = ""
        self.open = ExitStack()

    def _open_parallel_map(self) -> ProcessPool | DaskRunner:
        if not self.preset.parallel.dask_address:
            return process_pool(self.preset.parallel.workers)
        return DaskRunner(self.preset.parallel.dask_address, self.settings.root / DASK)

    def __enter__(self) -> PipelineRun:
        tags = {
            "prefect.flow_run_id": self.flow_run,
            **self.code.tags(),
            "lock.digest": lock_digest(),
            "device": self.context.device,
            "threads": thread_count(self.context.processes),
            "processor": describe_processor(),
            "python": platform.python_version(),
            **base_tags(self.preset),
        }
        values = dump_preset(self.preset)
        files = {"preset.json": json.dumps(values, indent=1)}
        if self.code.diff:
            files["git.diff"] = self.code.diff
        # Before this run is opened, so that it cannot be taken for an abandoned one.
        notes = recover_crashed_runs(self.settings, self.tracker)
        remember_code(self.settings.root, self.code, files["preset.json"])
        name = tracked_run_name(self.preset.name)
        self.open.enter_context(
            self.tracker.open_run(self.preset.name, files, tags, note=self.flow_run, run_name=name)
        )
        name_flow_run(self.preset.name)
        show_tracked_run(self.preset.name, self._tracked_page)
        # The order matters: contexts are left in reverse, so the display ends first and the MLflow run is
        # closed last.
        self.open.enter_context(without_run_tag())
        self.open.enter_context(self.parallel_map)
        self.open.enter_context(self.display)
        if self.code.problem:
            says = "the code of this run could not be recorded, so the run cannot be reproduced"
            self.display.show_note(f"{says}: {self.code.problem}")
        self.show_notes(describe_new_product(self.tracker, self.preset, self.settings.root), *notes)
        if notes:
            self.tracker.log_text("swept.txt", "".join(f"{note}\n" for note in notes))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ValidationFailed):
            says = str(error).partition("\n")[0]
            emit_run_event(DATA, self.preset.name, says, "`chatmill quarantine list` lists them by rule")
        self.open.__exit__(kind, error, trace)

    def __call__(self, stage: Stage, parameters: Any, *inputs: StageOutput) -> StageOutput:
        """Make or reuse one stage's output."""

        @task(
            name=stage.name, cache_policy=NO_CACHE, persist_result=False, description=stage.function.__doc__
        )
        def made(references: list[StageOutput]) -> State[StageOutput]:
            found = self._make_stage(stage, parameters, {each.stage: each for each in references})
            self.references[stage.name] = found
            # The state's name shows on Prefect's page that nothing was computed.
            how = ("Cached", "the output of an earlier run is used") if found.reused else ("Completed", None)
            return Completed(name=how[0], message=how[1], data=found)

        # Prefect draws a run's graph from the states that are passed to its tasks, so states are passed, not
        # outputs.
        known = [
            self.states[each.stage] if self.references.get(each.stage) is each else each for each in inputs
        ]
        # Prefect's task has no cache of its own here: the stage's cache key decides about reuse.
        self.states[stage.name] = made(known)
        return self.references[stage.name]

    def _make_stage(self, stage: Stage, parameters: Any, inputs: dict[str, StageOutput]) -> StageOutput:
        began = time.monotonic()
        self.display.start_stage(stage.name)
        parents = [found.run for found in inputs.values()]
        with self.tracker.open_stage(stage.name, parameters, parents, stage.declaration) as run:
            try:
                with alert_when_slow(stage.name, self.preset.name, partial(self._past_durations, stage.name)):
                    reference = self._run_stage(stage, parameters, inputs, run)
            finally:
                # The worker processes end here, so that a training has the machine to itself.
                self.parallel_map.close()
            whose = self.references.get("ingest", reference)
            holder = self.tracker.close_stage(
                reference, str(whose.metrics["data_hash"]), self.display.show_note
            )
            reference = replace(reference, run=holder)
        seconds = time.monotonic() - began
        self.display.finish_stage(reference, seconds)
        self.stages.append(
            {
                "name": stage.name,
                "status": status_of(reference.reused),
                "key": reference.key,
                "seconds": round(seconds, 2),
                "folder": reference.path,
                "metrics": reference.metrics,
                "cost": reference.cost,
            }
        )
        return reference

    def _run_stage(
        self, stage: Stage, parameters: Any, inputs: dict[str, StageOutput], run: str
    ) -> StageOutput:
        """Run a stage here, or where the device is, and share its output."""
        if self.preset.execution.gpu_work_pool and stage.has_parameter("device"):
            if self.store is not None and CHAMPION in inputs:
                # The champion comes from the registry, so no stage has shared it yet.
                self.store.send_output(inputs[CHAMPION], self._report_event)
            elsewhere = RemoteStageRunner(self.preset, self.settings, self.tracker.client, self.context)
            return elsewhere(stage, parameters, inputs, self.display.show_event, run)
        begin = self.judge_check.before(stage, self.tracker.begin_stage)
        reference = stage.run(parameters, inputs, self.context, self._report_event, run, begin)
        if self.store is not None:
            self.store.send_output(reference, self._report_event)
        return reference

    def _past_durations(self, stage: str) -> list[float]:
        from tasks.tracking.queries import made_seconds

        return made_seconds(self.tracker.client, self.preset.name, stage)

    def _report_event(self, event: Event) -> None:
        self.display.show_event(event)
        self.tracker.log_event(event)
        if told := self.tracker.sender.status_message():
            self.display.show_note(told)
        if isinstance(event, MarkdownTable):
            keep_table(event, self.tracker)

    def run_drift(self, stage: Stage, parameters: DriftParameters, *inputs: StageOutput) -> StageOutput:
        """Run the stage drift against the champion that learned from other data, if there is one.

        If a distance is past its threshold, the event `chatmill.drift` is sent, once.
        """
        champion = fetch_drift_reference(
            parameters.reference_output, str(self.references["ingest"].metrics["data_hash"]), self.tracker,
            self.settings.root, self._report_event, self.display.show_note,
        )  # fmt: skip
        given = (*inputs, champion) if champion else inputs
        reference = self(stage, replace(parameters, reference_output=""), *given)
        found = read_drift(Path(reference.path))
        if found.past:
            self.display.show_note(found.says)
            then = (
                "`chatmill data diff` shows added and removed rows; the full table is in MLflow, stage drift"
            )
            data = str(self.references["ingest"].metrics["data_hash"])
            self.tell_once(reference, DRIFT, then=then, data_hash=data, **asdict(found))
        return reference

    def fetch_champion_model(self, aligned: StageOutput) -> tuple[StageOutput, ...]:
        """Return the champion's model as a further input of evaluate: a tuple of one output, or an empty one.

        It is empty if there is no champion yet, or if MLflow does not have the files that were registered.
        The reason is kept for `register_model`.
        """
        from tasks.tracking.reference_version import find_by_key

        if wanted := self.preset.registration.compare_with:
            return (find_by_key(wanted, self.settings.root, "registry.compare_with"),)
        from tasks.tracking.champion_input import fetch_champion_model
        from tasks.tracking.registered_model import DamagedModel, MissingModel

        version = self.tracker.registry.opponent(aligned.digest)
        if version is None:
            return ()
        try:
            return (fetch_champion_model(version, self.tracker.uri, self.settings.root, self._report_event),)
        except DamagedModel as error:
            gone = isinstance(error, MissingModel)
            what = "is missing in MLflow" if gone else "differs from the registered one"
            self.champion_missing_reason = f"the model of version {version.version} {what}"
            self.display.show_note(f"{error}; it cannot be compared with the new model")
            return ()

    def check_base(self) -> None:
        """Raise UserError if the preset's base model cannot be used, or a training has too little memory."""
        self.show_notes(self.preset.check_base(self.settings.root, self.display.show_event))
        self.memory = MemoryCheck(self.preset, self.settings.root, self.context.device)
        self.show_notes(self.memory.describe(), *self.memory.find_shortages(labels=False))

    def show_notes(self, *sentences: str) -> None:
        for sentence in filter(None, sentences):
            self.display.show_note(sentence)

    def check_trainings(self, parts: StageOutput, tokens: StageOutput) -> None:
        """Check that the data suffices for every training, before the first of them starts.

        Raises:
            UserError: A later stage would stop.
        """
        asked = self.preset.training_requirements(self.settings.root)
        self.show_notes(*check_trainings(asked, Path(parts.path), Path(tokens.path)))
        if not missing_rows(Path(parts.path)):
            self.show_notes(*self.memory.find_shortages(labels=True))
        self.show_notes(self.preset.explain_loose_bounds())

    def end_without(self, kind: str, parts: StageOutput, made: StageOutput) -> None:
        """Raise UserError if the later stages have no pairs or no labels, with the model that is ready."""
        model = read_declaration(made.stage, None).model
        if ends := describe_end(Path(parts.path), kind, model):
            # `chatmill chat` must answer from this run, and not from an earlier one that was complete.
            self._write_summary(self.collect_outcome())
            raise UserError(ends)

    def register_model(self, aligned: StageOutput, verdict: StageOutput) -> Registered:
        """Register the aligned model; make it champion if it passed and beats the current champion."""
        from tasks.tracking.model_card import write_model_card

        for output in (aligned, verdict):
            # Compared once more: hours may have passed since the stage, and this version may become champion.
            check_output(output, self.settings.root)
        if split := self.references.get("split"):
            refuse_withdrawn_rows(self.settings.root, Path(split.path))
        refuse_withdrawn_base(self.tracker, self.settings.root, self.preset.base_model)
        registered = self.tracker.register(
            aligned, verdict, self._approval_request(), self.preset.name, self.champion_missing_reason,
            self.preset.promote.beyond_chance,
        )  # fmt: skip
        self.pending_version = registered.version if registered.pending_approval else ""
        self.version, self.model_says = registered.version, registered.says
        write_model_card(self.tracker.registry, registered.version, self.tracker.run, self.settings.root)
        # The gate's reasons stand in the table at the end, once.
        self.display.show_note(registered.says.removesuffix(f": {verdict.metrics['reason']}"))
        if registered.pending_approval and self.preset.promote.approval == "people":
            from flows.orchestration.people_approval import ask_about_version

            answers = Path(self.references["evaluate"].path)
            self.display.show_note(
                ask_about_version(self.settings.root, self.tracker.registry, registered.version, answers)
            )
        if registered.champion:
            config = deployed_preset_path(self.preset.name)
            self.tell_once(verdict, CHAMPION_MADE, registered.says, MAKE_BATCH, config=config)
        if not verdict.metrics["passed"]:
            beside = " beside the champion" if self.tracker.registry.champion() else ""
            then = f"`chatmill models` shows version {registered.version}{beside}"
            self.tell_once(
                verdict, GATE_REFUSED, f"the gate rejected the model: {verdict.metrics['reason']}", then
            )
        return registered

    def tell_once(self, output: StageOutput, event: str, says: str, then: str, **payload: Any) -> None:
        """Send an event about an output unless that was done; a kill may have prevented it before."""
        if self.tracker.was_notified(output):
            return
        if emit_run_event(event, self.preset.name, says, then, **payload):
            self.tracker.mark_notified(output)
        else:
            self.display.show_note("Prefect's server is unreachable; the next run sends it this")

    def _approval_request(self) -> ApprovalRequest | None:
        """Return the request to a person about a model that passed; None if nobody is asked."""
        if self.preset.promote.approval == "gate":
            return None
        # Prefect can suspend only runs of deployments.
        flow, name = (self.flow_run, str(flow_run.name)) if deployment.id else ("", "")
        promote = self.preset.promote
        by_people = promote.approval == "people"
        return ApprovalRequest(promote.approval_timeout_hours, self.tracker.run, flow, name, by_people)

    def announce_labels(self, good: StageOutput) -> None:
        """Send `labels.ingested` if accepted labels were not announced yet; the event starts `align`."""
        data = str(self.references["ingest"].metrics["data_hash"])
        announce_labels(
            self.settings.root, self.preset.name, Path(good.path) / "rows", good.digest, data,
            deployed_preset_path(self.preset.name), self.display.show_event, self.preset.labels.min_new,
        )  # fmt: skip

    def collect_outcome(self) -> Outcome:
        """Return the outcome of the stages so far."""
        return Outcome(
            self.stages,
            # Counted from the program's start: a person also waits for imports and for Prefect's start.
            round(time.time() - psutil.Process().create_time(), 2),
            self.flow_run,
            self.tracker.run,
            str(self.references["ingest"].metrics["data_hash"]),
            self.code.commit or UNKNOWN,
            self.pending_version,
        )

    def publish_report(self, report: StageOutput) -> Outcome:
        """Write the report to var/report.html and the outcome to var/summary.json; return the outcome."""
        check_output(report, self.settings.root)
        page = (Path(report.path) / "report.html").read_text(encoding="utf-8")
        # Found again: servers with other ports may have been started since the run began.
        self.pages = find_pages(self.settings)
        model, shown = self.tracker.registry.model, self.settings.root / REPORT
        links = page_links(self.pages, self.flow_run, self._tracked_page, model, self.version)
        note = "These pages open while `chatmill dashboards` or `chatmill up` runs with these ports."
        replace_text(shown, add_run_links(page, links, note))
        show_outcome_links(self.preset.name, links, shown, self.model_says)
        whole = self.collect_outcome()
        self.tracker.mark_complete(whole.data_hash)
        self._write_summary(whole)
        return whole

    def _write_summary(self, outcome: Outcome) -> None:
        replace_text(self.settings.root / SUMMARY, json.dumps(asdict(outcome), indent=1))

    @property
    def _tracked_page(self) -> str:
        return self.pages.tracked_run(self.tracker.experiment, self.tracker.run)
