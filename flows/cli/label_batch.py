"""`chatmill label batch`: make a batch of items from the models of the last run, for people to judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.current_preset import DEMO, ChangesOption, PresetOption, preset_to_run
from flows.cli.label import print_label_steps
from flows.cli.launch import launch_flow
from flows.common.project_folder import require_place
from flows.common.terminal import Console
from model.errors import UserError
from tasks.common.names import yaml_quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.config import Preset
    from flows.pipeline_run import Outcome


def make_label_batch(
    config: PresetOption = None,
    changes: ChangesOption = None,
    name: Annotated[
        str, typer.Option("--name", "-n", help="The batch's name (default: label_batch.name).")
    ] = "",
    size: Annotated[
        int | None,
        typer.Option(help="Items to judge, besides known items (default: label_batch.size).", min=1),
    ] = None,
    add_another: Annotated[
        bool,
        typer.Option(
            "--add-another", help="Add a batch although an open one of the preset still needs judgements."
        ),
    ] = False,
) -> None:
    """Make a batch for the label page: pairs of answers by the models of the preset's last run.

    Nothing is trained. Some pairs are drawn at random, and the others are those of which the reward model is
    least certain. The same models give the same batch; `--set label_batch.round=2` makes another one. No
    batch is added while an open one of the preset needs judgements.
    """
    preset = preset_to_run(config, Path.cwd(), Console(highlight=False)) or DEMO
    wanted = [*(changes or [])]
    if name:
        wanted.append(f"label_batch.name={yaml_quoted(name)}")
    if size:
        wanted.append(f"label_batch.size={size}")
    _make_batch(preset, wanted, add_another)
    print_label_steps(Path.cwd(), Console(highlight=False))


def _make_batch(config: Path, changes: list[str], add_another: bool) -> None:
    """Run the flow that makes a batch and adds it to the store. Raise UserError for a wrong preset."""
    from tasks.engine.source_snapshot import take_snapshot

    require_place(Path.cwd())
    # Before the stages are imported: the run then uses one state of the code to its end.
    snapshot = take_snapshot(Path.cwd())

    def read_preset_file() -> Preset:
        from flows.config import read_preset

        try:
            return read_preset(config, changes)
        except UserError:
            if snapshot:
                snapshot.discard()
            raise

    if not config.is_file():
        # The error must come before anything is created for the run.
        read_preset_file()
    launch_flow(_load_labelling, read_preset_file, add_another=add_another)


def _load_labelling() -> Callable[..., Outcome]:
    from flows.pipeline import labelling

    return labelling
