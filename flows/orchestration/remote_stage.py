"""Stages on other hosts, the flow's side: a stage that needs the device is given to a worker of the pool.

The two sides share Prefect's server, which carries the request, MLflow's server, which carries messages, and
the remote, which carries inputs and outputs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed

from flows.config import Preset, dump_preset
from flows.orchestration.stage_request import InputReference, StageRequest
from flows.servers.environment import Settings
from model.errors import UserError
from model.events import EventCallback, Message, from_json
from tasks.common.stage_status import CACHED, read_status
from tasks.engine.cache_key import code_digest, lock_digest, plain_parameters
from tasks.engine.output import StageOutput
from tasks.engine.remote_cache import Store
from tasks.engine.stage import Stage, StageContext, fetch_output

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEPLOYMENT = "stage/stage"
# Tags of a stage's run in MLflow: the output's key, made or reused, the worker's messages, its refusal.
KEY_TAG, STATUS, PROGRESS, REFUSED_TAG = (
    "chatmill.key",
    "chatmill.status",
    "chatmill.progress",
    "chatmill.refused",
)
POLL_SECONDS = 1.0
# After so long without a start, the user is told that no worker may be running.
TAKEN_SECONDS = 10.0
# The worker sends a heartbeat every two seconds; after this long it counts as lost.
SILENT_SECONDS = 180.0


def open_remote_cache(preset: Preset, root: Path) -> Store | None:
    """Return the store of shared outputs; None if outputs are not shared."""
    if not (preset.data.remote and preset.remote_cache.enabled):
        return None
    return Store(root, preset.data.remote, preset.data.endpoint, needed=bool(preset.execution.gpu_work_pool))


@dataclass
class Watched:
    """The state of the run on the worker: how many messages were passed on, its last heartbeat and when."""

    said: int = 0
    beat: int = -1
    since: float = 0.0
    warned: bool = False


@dataclass(frozen=True)
class RemoteStageRunner:
    """A runner of stages on the workers of a preset's pool; called with the arguments of `Stage.run`."""

    preset: Preset
    settings: Settings
    client: MlflowClient
    context: StageContext

    @property
    def pool(self) -> str:
        """Return the pool's name."""
        return self.preset.execution.gpu_work_pool

    def __call__(
        self,
        stage: Stage,
        parameters: Any,
        inputs: Mapping[str, StageOutput],
        on_event: EventCallback,
        run: str,
    ) -> StageOutput:
        """Make a stage on a worker and return its output, fetched to this host.

        Metrics go from the worker to the stage's `run` in MLflow, all other events to `on_event`. On any
        other end, such as Ctrl-C, the run there is cancelled and writes its checkpoint.

        Raises:
            UserError: The user can correct it, such as a missing pool or different code on the worker.
            RuntimeError: The worker was lost.
        """
        # A reused stage costs no worker, which may be busy for hours.
        if found := self._find_known_output(stage, parameters, inputs, on_event):
            return found
        flow_run = self._start_flow_run(stage, parameters, inputs, run)
        try:
            state = self._wait_for_run(flow_run, run, on_event)
        except BaseException:
            self._cancel_run(flow_run)
            raise
        tags = self.client.get_run(run).data.tags
        if refused := tags.get(REFUSED_TAG):
            raise UserError(refused)
        if not state.is_completed():
            raise RuntimeError(
                f"{stage.name} ended {state.name.lower()} on a worker of pool {self.pool} "
                f"({state.message or 'it gave no reason'}); the next start resumes from its last checkpoint"
            )
        output = fetch_output(stage.name, tags[KEY_TAG], self.context, on_event)
        if output is None:
            raise UserError(
                f"the output of {stage.name} is no longer at {self.preset.data.remote}; run again"
            )
        return replace(output, reused=read_status(tags[STATUS]) == CACHED)

    def _find_known_output(
        self, stage: Stage, parameters: Any, inputs: Mapping[str, StageOutput], on_event: EventCallback
    ) -> StageOutput | None:
        """Return a known output for a device that the pool has had; then no worker needs to be asked."""
        assert self.context.store is not None
        for device in self.context.store.devices(self.pool, on_event):
            here = replace(self.context, device_description=device)
            if found := stage.find_output(parameters, inputs, here, on_event):
                return found
        return None

    def _start_flow_run(
        self, stage: Stage, parameters: Any, inputs: Mapping[str, StageOutput], run: str
    ) -> UUID:
        if not self.settings.mlflow.startswith("http"):
            raise UserError(
                f"execution.gpu_work_pool is {self.pool}, but MLflow's store is a file on this "
                "host; set MLFLOW_TRACKING_URI or tracking.mlflow to a server that all hosts reach, as in http://HOST:5000"
            )
        request = StageRequest(
            preset=dump_preset(self.preset),
            name=stage.name,
            parameters=plain_parameters(parameters),
            inputs={
                name: InputReference(found.key, found.digest, found.run)
                for name, found in inputs.items()
                if name in stage.inputs
            },
            run=run,
            # The worker compares both, as other code or packages there would give another key.
            code=code_digest(stage.function),
            lock=lock_digest(),
        )
        self._check_pool()
        name = f"{self.preset.name} · {stage.name}"
        # timeout=0: run_deployment would otherwise wait for the end without passing on messages.
        started = run_deployment(
            DEPLOYMENT, parameters={"request": request.to_json()}, timeout=0, flow_run_name=name
        )
        return cast(FlowRun, started).id

    def _check_pool(self) -> None:
        """Raise UserError if the deployment is missing, is for another pool, or is of another version."""
        with get_client(sync_client=True) as client:
            try:
                deployment = client.read_deployment_by_name(DEPLOYMENT)
            except ObjectNotFound:
                raise UserError(
                    f"Prefect's server has no deployment {DEPLOYMENT}; create it with `chatmill up` "
                    "on its host, or `prefect --no-prompt deploy --all`"
                ) from None
        if deployment.work_pool_name != self.pool:
            raise UserError(
                f"execution.gpu_work_pool is {self.pool}, but the deployment {DEPLOYMENT} uses pool "
                f"{deployment.work_pool_name}; use that pool, or change prefect.yaml and deploy again"
            )
        schema = deployment.parameter_openapi_schema or {}
        if "request" not in schema.get("properties", {}):
            raise UserError(
                f"the deployment {DEPLOYMENT} was created by another version of chatmill; create it again "
                "with `chatmill up` on its host, or `prefect --no-prompt deploy --all`"
            )

    def _wait_for_run(self, flow_run: UUID, run: str, on_event: EventCallback) -> Any:
        """Wait until the run has ended; return its state."""
        watched = Watched(since=time.monotonic())
        while True:
            time.sleep(POLL_SECONDS)
            try:
                with get_client(sync_client=True) as client:
                    state = client.read_flow_run(flow_run).state
            except httpx.HTTPError:
                # If Prefect's server is away for a while, the stage runs on without it.
                continue
            self._forward_events(run, watched, on_event)
            if state is None or state.is_final():
                return state
            quiet = time.monotonic() - watched.since
            if not state.is_running() and quiet > TAKEN_SECONDS and not watched.warned:
                watched.warned = True
                self._warn_once(on_event)
            if state.is_running() and watched.beat >= 0 and quiet > SILENT_SECONDS:
                return self._give_up(flow_run, quiet)

    def _forward_events(self, run: str, watched: Watched, on_event: EventCallback) -> None:
        """Pass on new events of the worker. If MLflow is unreachable, the next call tries again."""
        from mlflow.exceptions import MlflowException

        try:
            told = self.client.get_run(run).data.tags.get(PROGRESS)
        except (MlflowException, OSError):
            # The silence may be MLflow's own, so it must not count against the worker.
            watched.since = time.monotonic()
            return
        if not told:
            return
        found = json.loads(told)
        if found["beat"] != watched.beat:
            watched.beat, watched.since = found["beat"], time.monotonic()
        for text in found["said"][watched.said :]:
            on_event(Message(text))
        watched.said = len(found["said"])
        if step := from_json(found["step"]):
            on_event(step)

    def _warn_once(self, on_event: EventCallback) -> None:
        with get_client(sync_client=True) as client:
            workers = client.read_workers_for_work_pool(self.pool)
        if any(worker.status.value == "ONLINE" for worker in workers):
            text = f"the workers of pool {self.pool} are busy; waiting for one"
        else:
            text = (
                f"no worker of pool {self.pool} is online; start one with `prefect worker start "
                f"--pool {self.pool}` on a host with the device. Waiting"
            )
        on_event(Message(text))

    def _give_up(self, flow_run: UUID, quiet: float) -> Any:
        state: Any = Crashed(message=f"its host has sent nothing for {quiet:.0f} s")
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run, state, force=True)
        return state

    def _cancel_run(self, flow_run: UUID) -> None:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run).state
            if state is None or not state.is_final():
                client.set_flow_run_state(flow_run, Cancelling())
