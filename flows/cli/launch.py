"""Run a flow from a command, with a Prefect server of its own if none is running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.common.project_folder import require_place
from flows.common.terminal import Console
from model.errors import UserError
from tasks.project.paths import MLFLOW_FOLDER

if TYPE_CHECKING:
    from flows.config import Preset
    from flows.pipeline_run import Outcome

INTERRUPTED = 130


def load_pipeline() -> Callable[..., Outcome]:
    """Import and return the flow that runs the whole chain."""
    from flows.pipeline import pipeline

    return pipeline


def load_ingestion() -> Callable[..., Outcome]:
    """Import and return the flow that makes a new version of the data."""
    from flows.pipeline import ingestion

    return ingestion


def run_preset(
    load_flow: Callable[[], Callable[..., Outcome]], config: Path, changes: Sequence[str] | None
) -> None:
    """Run a flow with a preset file, and print its outcome.

    Args:
        load_flow: `load_pipeline` or `load_ingestion`.
        config: The preset file.
        changes: Overrides of its keys, as KEY=VALUE.

    Raises:
        UserError: The preset, or a path in it, is wrong.
    """
    from tasks.engine.source_snapshot import take_snapshot

    root = Path.cwd()
    require_place(root)
    # The snapshot is taken before the stages are imported: the run then uses one state of the code to its
    # end.
    snapshot = take_snapshot(root)

    def load_preset() -> Preset:
        from flows.config import read_preset
        from flows.orchestration.memory_check import MemoryCheck
        from tasks.data.sources.source_reading import own_files

        try:
            preset = read_preset(config, list(changes or []))
            # A wrong path is reported before the server has started and before the stages are imported.
            for source in () if preset.data.pinned_version else preset.data.sources:
                own_files(source, root)
            # The shape of an open model is known once the run has fetched it.
            if load_flow is load_pipeline and not preset.base_model:
                # While the server starts: the run itself finds the estimates made.
                MemoryCheck(preset, root, preset.find_device()).find_shortages(labels=False)
            return preset
        except UserError:
            if snapshot:
                snapshot.discard()
            raise

    if not config.is_file():
        # The error must come before anything is created for the run.
        load_preset()
    outcome = launch_flow(load_flow, load_preset)
    from flows.orchestration.outcome_output import show_outcome

    show_outcome(outcome)


def launch_flow(
    load_flow: Callable[[], Callable[..., Outcome]], load_preset: Callable[[], Preset], **options: bool
) -> Outcome:
    """Run a flow to its end.

    Args:
        load_flow: Imports and returns the flow; it is called while Prefect's server starts.
        load_preset: Reads and returns the preset that the flow runs; it is called while the server starts.
        options: Further arguments of the flow.

    Returns:
        The flow's outcome.

    Raises:
        typer.Exit: Ctrl-C was pressed; the code is 130.
    """
    from flows.servers.environment import prepare_mlflow, prepare_prefect
    from flows.servers.ephemeral_prefect import EphemeralPrefectServer

    settings = prepare_prefect(Path.cwd())
    server = EphemeralPrefectServer(settings)
    try:
        # The server takes seconds to start. The preset is read, modules are imported, and MLflow's store is
        # opened meanwhile.
        try:
            preset = load_preset()
        except UserError:
            server.stop_server()
            raise
        settings = prepare_mlflow(settings, preset.tracking.mlflow)
        flow = load_flow()
        from flows.orchestration.crash_recovery import mark_process_alive
        from flows.servers.interruption import short_waits_after_interrupt
        from tasks.tracking.tracker import Tracker

        Tracker(settings.mlflow, preset.tracking.experiment, settings.root / MLFLOW_FOLDER)
        server.wait_until_ready()
        with mark_process_alive(settings), short_waits_after_interrupt():
            outcome: Outcome = flow(preset, **options)
        # The server must not end before it has recorded the tasks' last states.
        server.wait_for_tasks(outcome.prefect_run_id, len(outcome.stages))
    except KeyboardInterrupt:
        # The terminal may be gone: closing it sends the signal.
        with suppress(OSError):
            Console(stderr=True).print("stopped; the same command resumes from here")
        raise typer.Exit(INTERRUPTED) from None
    return outcome
