"""Stages on other hosts, the worker's side: makes one stage on the host that has the device.

A worker of the pool runs it from the repository that its chatmill is installed from. The flow is in
`remote_flow.py`, the side that waits in `remote_stage.py`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from prefect import get_run_logger
from pydantic import TypeAdapter

from flows.config import load_preset
from flows.orchestration.progress import keep_table
from flows.orchestration.remote_stage import KEY_TAG, PROGRESS, REFUSED_TAG, STATUS, open_remote_cache
from flows.orchestration.stage_request import InputReference, StageRequest
from flows.servers.environment import prepare_environment
from model.errors import UserError
from model.events import Event, MarkdownTable, Message, Step, to_json
from model.training.devices import check_processes, describe_device, find_device
from tasks.common.stage_status import status_of
from tasks.data.base_models.base_model import parse_registered
from tasks.engine.cache_key import code_digest, lock_digest
from tasks.engine.catalog import load_stages
from tasks.engine.output import StageOutput
from tasks.engine.stage import Stage, StageContext, fetch_output
from tasks.project.paths import MLFLOW_FOLDER

if TYPE_CHECKING:
    from tasks.tracking.tracker import Tracker

BEAT_SECONDS = 2.0
# An MLflow tag holds at most 8,000 characters, so messages are limited in number and length.
SAID, _LONGEST = 20, 300


def make_stage(root: Path, request: StageRequest) -> None:
    """Make the requested stage in the project at `root`, and send its output to the store."""
    preset = load_preset(dict(request.preset))
    settings = prepare_environment(root, preset.tracking.mlflow)
    # MLflow reads its settings when it is imported, so the environment must be set first.
    from tasks.tracking.tracker import Tracker

    tracker = Tracker(settings.mlflow, preset.tracking.experiment, settings.root / MLFLOW_FOLDER)
    telling = ProgressReporter(tracker, request.run)
    with tracker.resume_run(request.run), telling.send_heartbeats():
        try:
            wanted = _find_stage(request)
            store = open_remote_cache(preset, root)
            device = find_device(preset.device)
            check_processes(device, preset.num_processes)
            context = StageContext(root, preset.seed, device, preset.training_processes(device), store=store)
            found = {
                name: _fetch_input(name, reference, context, telling)
                for name, reference in request.inputs.items()
            }
            kind = get_type_hints(wanted.function)["parameters"]
            # Parameters arrive as JSON; the stage's annotation gives their dataclass.
            asked = TypeAdapter(kind).validate_python(request.parameters)
            if base := parse_registered(str(getattr(asked, "base_model", ""))):
                # Fetched on the flow's host so far; this host has a folder of its own.
                from tasks.tracking.registered_base import pin_registered_base

                pin_registered_base(base, tracker.client, root, telling)
            output = wanted.run(asked, found, context, telling, request.run, tracker.begin_stage)
            assert store is not None
            store.send_output(output, telling)
            store.record_device(preset.execution.gpu_work_pool, describe_device(device), telling)
        except UserError as error:
            telling.set_tag(REFUSED_TAG, str(error))
            raise
        # After the output is in the store: the flow fetches it by this tag.
        telling.set_tag(KEY_TAG, output.key)
        telling.set_tag(STATUS, status_of(output.reused))


def _find_stage(request: StageRequest) -> Stage:
    """Return the requested stage. Raise UserError if its code or packages here differ from the flow's."""
    name, found = request.name, load_stages().get(request.name)
    if found is None or not found.has_parameter("device"):
        raise UserError(f"the worker's chatmill has no stage {name}; check out the flow's commit there")
    if code_digest(found.function) != request.code:
        raise UserError(
            f"the worker's code of {name} differs from the flow's; check out the same commit there "
            "(`git pull`)"
        )
    if lock_digest() != request.lock:
        raise UserError(
            "the worker's requirements.txt differs from the flow's; `git pull` and `make install` there"
        )
    return found


def _fetch_input(
    stage: str, reference: InputReference, context: StageContext, telling: ProgressReporter
) -> StageOutput:
    found = fetch_output(stage, reference.key, context, telling)
    if found is None or found.digest != reference.digest:
        raise UserError(
            f"the worker cannot find {stage} {reference.key} at data.remote; check that both hosts use "
            "the same remote"
        )
    return replace(found, run=reference.run)


class ProgressReporter:
    """An event callback that keeps messages and progress in a tag of the stage's MLflow run.

    The waiting flow reads the tag.
    """

    def __init__(self, tracker: Tracker, run: str) -> None:
        self.tracker, self.run = tracker, run
        self.step: Step | None = None
        self.said: list[str] = []
        self.beat = 0
        self.over = threading.Event()

    def __call__(self, event: Event) -> None:
        self.tracker.log_event(event)
        if isinstance(event, Step):
            self.step = event
        elif isinstance(event, Message) and len(self.said) < SAID:
            self.said.append(event.text[:_LONGEST])
            get_run_logger().info(event.text)
        elif isinstance(event, MarkdownTable):
            keep_table(event, self.tracker)

    @contextmanager
    def send_heartbeats(self) -> Iterator[None]:
        """Write the tag every two seconds while the context lasts; its count shows that this side lives."""
        # A thread of its own: the stage may compute for minutes without an event.
        thread = threading.Thread(target=self._send_heartbeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join()

    def _send_heartbeat(self) -> None:
        while True:
            self.beat += 1
            self._tell_progress()
            if self.over.wait(BEAT_SECONDS):
                self._tell_progress()
                return

    def _tell_progress(self) -> None:
        step = to_json(self.step) if self.step else None
        self.set_tag(PROGRESS, json.dumps({"beat": self.beat, "step": step, "said": self.said}))

    def set_tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        self.tracker.client.set_tag(self.run, name, value)
