"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import gc
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.cli.approve import approve
from flows.cli.backup import backup, restore
from flows.cli.compare import compare
from flows.cli.config import config
from flows.cli.cost import cost
from flows.cli.current_preset import DEMO, ChangesOption, PresetOption, preset_to_run
from flows.cli.data import data
from flows.cli.explain import explain
from flows.cli.gc import collect_garbage
from flows.cli.guarded_run import report_lost_output, run_guarded
from flows.cli.join import join
from flows.cli.label import label
from flows.cli.label_batch import make_label_batch
from flows.cli.label_exchange import pull_judgements, push_batch
from flows.cli.launch import load_ingestion, load_pipeline, run_preset
from flows.cli.lineage import lineage
from flows.cli.models import models, rollback
from flows.cli.notify import notify
from flows.cli.old_names import OldNamesGroup
from flows.cli.people import people
from flows.cli.quarantine import quarantine
from flows.cli.reproduce import reproduce
from flows.cli.typed_text import refuse_other_encodings
from flows.cli.up import dashboards, down, up
from flows.cli.withdraw import withdraw
from flows.common.garbage_collection import collect_rarely
from flows.common.project_folder import (
    check_records,
    current_folder,
    refuse_nested_project,
    require_access,
    require_project,
    secure_records,
)
from flows.common.standard_streams import (
    end_on_hangup,
    keep_colorama_silent,
    open_standard_streams,
    use_utf8,
)
from flows.common.terminal import Console, escape_controls, note_typed_words
from flows.orchestration.tracker import open_tracker
from model.file_guard import refuse_special_files
from tasks.backup.restore import finish_restore
from tasks.common.link_check import is_present
from tasks.project.dry_run import forbid_writes
from tasks.project.layout_migration import move_to_cache, moved_notice
from tasks.project.paths import RECORDS
from tasks.project.private_folder import make_private_folder

HELP = """Train a chat model from your own text and your team's judgements, reproducibly.

`chatmill run` runs the pipeline and recomputes only what changed; `chatmill chat` talks to the result.
"""
# The title of the commands of this module in `--help`.
_TRAIN = "Train"
app = typer.Typer(
    cls=OldNamesGroup, help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown",
    # Commands below it take these settings over.
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


# Commands that use the records of a project, so that one must be there.
_WITH_PROJECT = frozenset((
    "approve", "backup", "compare", "cost", "data", "explain", "gc", "label", "lineage", "models",
    "people", "quarantine", "reproduce", "rollback", "withdraw",
))  # fmt: skip


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"chatmill {version('chatmill')}")
        raise typer.Exit


@app.callback()
def prepare_project(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Move the project's folder to the present layout before any command reads it."""
    if "--dry-run" in sys.argv:
        context.with_resource(forbid_writes())
    records = is_present(Path.cwd() / RECORDS, f"{RECORDS}/")
    if not {"--help", "-h"} & {*sys.argv}:
        needed = context.invoked_subcommand in _WITH_PROJECT
        (require_project if needed else refuse_nested_project)(Path.cwd())
    if records:
        require_access(Path.cwd())
        if context.invoked_subcommand != "restore":
            # `restore` replaces these files, so it must run even if one of them is wrong.
            check_records(Path.cwd())
        secure_records(Path.cwd())
        if not {"--help", "-h"} & {*sys.argv} and (completed := finish_restore(Path.cwd())):
            _print_note(completed)
    if moved := move_to_cache(Path.cwd()):
        _print_note(moved_notice(moved))


def _print_note(text: str) -> None:
    Console(stderr=True, highlight=False).print(f"[dim]{text}[/dim]", soft_wrap=True)


@app.command(rich_help_panel=_TRAIN)
def run(
    config: PresetOption = None,
    changes: ChangesOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show which stages would be computed and why, and whether the data would stop the run; "
            "write nothing.",
        ),
    ] = False,
) -> None:
    """Run the pipeline of a preset. Unchanged stages come from the cache.

    Interrupted at any moment, the same command resumes from the last checkpoint.
    """
    preset = _preset_to_run(config)
    if dry_run:
        _dry_run(preset, changes, whole=True)
        return
    run_preset(load_pipeline, preset, changes)


@app.command(rich_help_panel=_TRAIN)
def ingest(
    config: PresetOption = None,
    changes: ChangesOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what a run would find and whether it would stop; write nothing."
        ),
    ] = False,
) -> None:
    """Read the sources, check the rows, and create a new data version if they changed."""
    preset = _preset_to_run(config)
    if dry_run:
        _dry_run(preset, changes, whole=False)
        return
    run_preset(load_ingestion, preset, changes)


def _preset_to_run(config: Path | None) -> Path:
    return preset_to_run(config, Path.cwd(), Console(highlight=False)) or DEMO


def _dry_run(config: Path, changes: list[str] | None, whole: bool) -> None:
    from flows.cli.ingest_preview import print_preview
    from flows.config import read_preset

    # The exit status is that of `chatmill run`, also where ingestion alone would succeed: scripts ask by it
    # whether a preset can run.
    if print_preview(read_preset(config, changes or []), Path.cwd(), whole=whole):
        raise typer.Exit(2)


@app.command(rich_help_panel=_TRAIN)
def init(
    folder: Annotated[Path, typer.Argument(help="The folder with your text, pairs and labels.")],
    name: Annotated[
        str, typer.Option("--name", "-n", help="The preset's name (default: the folder's name).")
    ] = "",
    minutes: Annotated[
        float, typer.Option(help="Target duration of a run on this machine, in minutes.", min=1)
    ] = 60,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    base: Annotated[
        str,
        typer.Option(
            help="Start from an open model: a folder, a GGUF file, hub:ORG/NAME, model:PRODUCT@VERSION, or "
            "ARCHIVE!FILE with an archive of a preset in configs/."
        ),
    ] = "",
    skip_unknown: Annotated[
        bool,
        typer.Option(
            "--skip-unknown",
            help="Skip columns whose names chatmill does not know, as none says that a row is wrong.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Overwrite an existing preset. Columns and fields of its sources are kept."
        ),
    ] = False,
) -> None:
    """Scan a folder and write a commented preset for it, sized to the data and this machine.

    With `--base` a run starts from an open model, which needs no text.
    """
    from flows.cli.init import PartialRun, propose_preset
    from flows.common.terminal import terminal_text

    try:
        propose_preset(folder, name, minutes, device, force, base=base, skip_unknown=skip_unknown)
    except PartialRun as said:
        # The preset is written, so this is no error; the exit code is that of such a run.
        Console(highlight=False).print(f"[yellow]{terminal_text(str(said))}[/yellow]", soft_wrap=True)
        raise typer.Exit(2) from None


@app.command(rich_help_panel=_TRAIN)
def chat(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="base, sft, aligned, champion, a version number, NAME/champion, NAME/NUMBER, or a model "
            "folder (default: the last run's last one).",
        ),
    ] = "",
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="Answer this prompt and exit.")] = "",
    temperature: Annotated[
        float, typer.Option(help="Sampling temperature; 0 always takes the most likely token.", min=0.0)
    ] = 0.8,
    top_k: Annotated[int, typer.Option(help="Sample from this many most likely tokens (0: all).", min=0)] = 0,
    top_p: Annotated[
        float,
        typer.Option(
            help="Sample from the most likely tokens up to this total probability.", min=0.01, max=1
        ),
    ] = 0.95,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum tokens in an answer.", min=1)] = 96,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same answers.")] = 0,
    system: Annotated[str, typer.Option(help="A system prompt for all answers.")] = "",
) -> None:
    """Chat with a model. It remembers the conversation, and answers are streamed.

    The line `/new` starts a new conversation; an empty one, or Ctrl-D, ends it.
    """
    from flows.cli.chat import run_chat
    from tasks.serving import chat as serving

    model = model or serving.newest_model(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="chatmill-champion-") as scratch:
        if serving.names_version(model):
            folder = open_tracker().version_folder(scratch, model)
        else:
            folder = serving.resolve_model(model, Path.cwd())
        talker = serving.ChatModel(folder, continues=serving.continues_text(model))
        conversation = serving.Conversation(talker, system)
    manner = serving.SamplingParams(max_new_tokens, temperature, top_k, top_p, seed)
    notes = Console(stderr=True, highlight=False)
    if sys.stdin.isatty() and not prompt:
        notes.print(
            f"[dim]{escape(f'{model} from {folder}')}. /new starts a new conversation; an empty line or "
            "Ctrl-D ends it.[/dim]",
            soft_wrap=True,
        )
    if talker.continues:
        notes.print(
            "[dim]the base model continues a text; it has not learned to answer[/dim]", soft_wrap=True
        )
    run_chat(
        conversation,
        manner,
        [prompt] if prompt else _read_lines(),
        lambda piece: print(escape_controls(piece), end="", flush=True),
        lambda text: notes.print(f"[dim]{escape(text)}[/dim]", soft_wrap=True),
    )


def _read_lines() -> Iterator[str]:
    """Yield the lines that are typed or piped in."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    console = Console(highlight=False)
    try:
        while True:
            yield console.input("[bold]> [/bold]")
    except (EOFError, KeyboardInterrupt) as end:
        # The shell's prompt must not follow on the line of ours.
        console.print()
        if isinstance(end, KeyboardInterrupt):
            raise


# The commands of other modules below each title of `--help`.
_COMMANDS: dict[str, dict[str, Callable[..., object] | typer.Typer]] = {
    _TRAIN: {"config": config},
    "Label": {"label": label, "people": people, "approve": approve},
    "Models": {
        "models": models, "rollback": rollback, "compare": compare, "lineage": lineage, "explain": explain,
        "reproduce": reproduce, "cost": cost,
    },
    "Data": {"data": data, "quarantine": quarantine, "withdraw": withdraw},
    "Servers": {"up": up, "down": down, "dashboards": dashboards, "notify": notify, "join": join},
    "Records and disk": {"backup": backup, "restore": restore, "gc": collect_garbage},
}  # fmt: skip


def register_commands() -> None:
    """Add the commands of the other modules to the app, in the order of `--help`.

    Decorators would need each of these modules to import the app.
    """
    label.command("batch")(make_label_batch)
    label.command("push")(push_batch)
    label.command("pull")(pull_judgements)
    for title, commands in _COMMANDS.items():
        for name, command in commands.items():
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name, rich_help_panel=title)
            else:
                app.command(name, rich_help_panel=title)(command)
    refuse_other_encodings(app)


def main() -> None:
    """Run the program. Exit codes: 0 done, 2 the user's or the machine's fault, 1 ours, 130 interrupted."""
    use_utf8()
    open_standard_streams()
    refuse_special_files()
    # SIGTERM ends the program as Ctrl-C does: trainings write a checkpoint, runs are closed, servers
    # stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # `flows/cli/__main__.py` sets the system's action while this module is imported.
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    end_on_hangup()
    collect_rarely()
    register_commands()
    note_typed_words(sys.argv[1:])
    code = run_guarded(_run_privately)
    # A second Ctrl-C would show tracebacks of what Python does at its end, which takes a few seconds at most.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = report_lost_output(error)
    keep_colorama_silent()
    # The collection at exit would search all of MLflow's objects once more.
    gc.freeze()
    sys.exit(code)


def _run_privately() -> object:
    """Run the command, and make var/ accessible to its owner alone."""
    root = current_folder()
    existed = (root / RECORDS).exists()
    try:
        return app(standalone_mode=False)
    finally:
        # Some commands write to var/ without preparing the environment, which would have made it private.
        if not existed and (root / RECORDS).is_dir():
            make_private_folder(root / RECORDS)


if __name__ == "__main__":
    main()
