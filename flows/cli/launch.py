"""Run a flow from a command, with a Prefect server of its own if none is running."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

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
