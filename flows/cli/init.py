"""`chatmill init`: write a preset for a user's folder, from a scan of its files and a test of the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli.preset_draft import PresetDraft
from flows.common.shared_products import describe_shared_product
from flows.common.terminal import Console
from model.errors import UserError, one_line_path
from tasks.common.names import yaml_quoted

if TYPE_CHECKING:
    from flows.config import Preset
    from flows.orchestration.open_base import OpenBase
    from tasks.data.sources.source_types import Source
    from tasks.onboarding.folder_scan import FolderScan
    from tasks.validation.summary import Findings

# A key of a source, and none in a comment.
_MAPPED = re.compile(r"^[^#\n]*\b(?:columns|fields)\b[\"']?\s*:", re.M)
_SKIPS = (
    "If no column that chatmill does not know says that a row is wrong, init with --force --skip-unknown "
    "writes the line that skips them"
)
_NAMED = 5  # files that a message names
CHECKED = 64 << 20  # bytes of sources that are checked whole; a dry run checks more


class PartialRun(UserError):
    """A preset is written, and a run with it ends early, as the folder lacks pairs or labels."""


def propose_preset(
    folder: Path,
    name: str,
    minutes: float,
    device: str,
    force: bool,
    checked: bool = True,
    base: str = "",
    skip_unknown: bool = False,
) -> Path:
    """Write configs/NAME.yaml for a folder; print what was found and how long a run will take.

    Args:
        folder: The folder with text, pairs and labels.
        name: The preset's name; empty: the folder's.
        minutes: The longest time that a run may take.
        device: The device of the run: cpu, cuda or auto.
        force: Whether to overwrite a preset of that name.
        checked: Whether to check the rows as a run does.
        base: The open model that a run starts from, as in `base_model`; empty: a new model is trained.
        skip_unknown: Whether the preset ignores the columns that no rule knows.

    Returns:
        The path of the preset.

    Raises:
        UserError: The folder has no text, or chatmill writes to it, or the preset exists, or the open model
            cannot be used. Also, after the preset is written, if a run with it would be refused.
        PartialRun: The preset is written, and a run with it makes the first models alone.
    """
    from tasks.common.names import slugify_name
    from tasks.onboarding.folder_scan import scan_folder
    from tasks.onboarding.own_folders import check_place
    from tasks.project import preset_file

    root = Path.cwd()
    check_place(folder, root)
    name = name or slugify_name(folder.resolve().name)
    # The name becomes a file name, a product and part of deployments' names.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"--name is {name!r}; expected letters, digits, dots and dashes, as in my-texts")
    path = root / "configs" / f"{name}.yaml"
    # lexists: writing through a link to nothing would create a file elsewhere.
    if os.path.lexists(path) and not force:
        raise UserError(f"configs/{path.name} exists; choose another --name, or overwrite it with --force")

    preset_file.remove_leftover_parts(path.parent, preset_file.begins_as_written_by_init)
    # A scan and a check of all rows take minutes.
    place = path if path.exists() else path.parent if path.parent.exists() else root
    if not os.access(place, os.W_OK):
        raise UserError(f"{place} cannot be written by your user; run chatmill in a folder that you own")

    from flows.common.terminal import terminal_text
    from flows.orchestration.memory_check import FULL_ROWS
    from model.training.devices import find_device
    from tasks.onboarding import preset_writer, size_notes
    from tasks.onboarding.folder_measure import measure_folder

    console = Console(highlight=False)
    kind = find_device(device)
    told = _earlier_sources(path) if path.exists() else ()
    with _show_activity(console, "scanning the files"):
        found = scan_folder(folder, root, told, skip_unknown)
    whole = checked and found.size <= CHECKED
    # If all rows are checked, that check prints the notes, with the counts of all rows instead of a sample.
    _print_scan(found, console, notes=not whole)
    if not found.sources:
        raise UserError(_describe_nothing(folder, found, path))
    opened = _open_base(base, root, console) if base else None
    # A source with an open question, such as the meaning of a verdict, stops a run; the preset holds the
    # question.
    asked = "\n".join(source.stop for source in found.sources if source.stop)
    try:
        with _show_activity(console, "counting words"):
            measured = measure_folder(found, opened.tokenizer if opened else None)
    except UserError as error:
        if whole:
            _show_notes(found, console)
        lacking = [
            f"{name} cannot be read: {dict(found.others)[name]}{_show_columns(path, found, name)}"
            for name in found.unreadable[:1]
        ]
        # Rows that wait for an answer may be the text that is missing. If not, the answer helps nothing yet.
        waiting = any(source.stop and not source.rows for source in found.sources)
        also = f"no preset is written yet; a later one must answer this too:\n{asked}"
        lines = [asked] if waiting else [str(error), *([also] if asked else [])]
        raise UserError("\n".join([*lines, *lacking])) from error
    draft = PresetDraft(name, device, found, measured, opened)
    with _show_activity(console, "measuring training speed on this machine"):
        plan = draft.plan_run(kind, minutes, root, console)
    notes = [*filter(None, [_describe_unreadable(found)]), *size_notes.time_notes(plan, minutes)]
    if opened is None:
        notes += size_notes.text_notes(measured.amount)
    # What is written is read back: a preset that init writes must be one that `run` accepts.
    text = draft.write(notes)
    preset = draft.parse(text)
    stop, allowed, early = "", None, ""
    if whole:
        stop, allowed, later, early = _check_rows(preset, root, console)
        if allowed:
            # Written once more: the check found the share of bad rows to allow.
            text = draft.write(notes, allowed)
            draft.parse(text)
        notes = [*notes, *later]
    # The preset is written even if a run would be refused, so that the user can correct it.
    stop = stop or asked
    path.parent.mkdir(exist_ok=True)
    preset_file.replace_preset(path, text)
    console.print(
        f"{draft.describe()}; the whole run takes about "
        f"{size_notes.describe_duration(plan.minutes * 60)} here",
        soft_wrap=True,
    )
    missing = preset_writer.missing_parts(found, measured, base=opened is not None)
    # Without pairs a run ends before SFT, and without labels after it.
    reached = (FULL_ROWS if found.count("pairs") else FULL_ROWS[:1]) if missing else None
    too_large = _state_memory(preset, root, kind, console, reached)
    stop = stop or too_large
    # The error at the end names the files that cannot be read.
    for note in [*notes[bool(found.unreadable) :], *missing]:
        console.print(f"[yellow]{terminal_text(note)}[/yellow]", soft_wrap=True)
    if said := describe_shared_product(root, name):
        console.print(f"[yellow]{terminal_text(said)}[/yellow]", soft_wrap=True)
    if allowed:
        console.print(
            f"[yellow]validate.max_bad_fraction is {allowed.share:g}, so that a run continues "
            "without these rows: "
            f"{terminal_text('; '.join(allowed.reasons))}[/yellow]",
            soft_wrap=True,
        )
    if checked and not whole:
        part = "" if found.whole else f"{_describe_part(found)}. "
        console.print(
            f"{part}To check all rows: `chatmill ingest --config configs/{path.name} --dry-run`",
            soft_wrap=True,
        )
    if early and not stop and not found.unreadable:
        raise PartialRun(
            f"written: configs/{path.name}, for a part of a run: {early}. `chatmill run --config "
            f"configs/{path.name}` runs that part"
        )
    stop = stop or early
    if stop and not found.unreadable:
        skips = any(source.unknown for source in found.sources)
        stop += f"\n{_SKIPS}" if skips else ""
        raise UserError(f"configs/{path.name} is written, but a run with it would stop: {stop}")
    if found.unreadable:
        # A file that nobody reads must not go unnoticed in a script: the exit code is that of a refusal.
        name = found.unreadable[0]
        count = len(found.unreadable)
        more = f"; {count - 1:,} more cannot be read either" if count > 1 else ""
        runs = f"`chatmill run --config configs/{path.name}` runs without it"
        raise UserError(
            f"configs/{path.name} is written without {name}, which cannot be read: {dict(found.others)[name]}"
            f"{more}; fix the file, move it out of {one_line_path(folder)}, or add it to data.sources of the "
            "preset; then run init again with --force, which keeps columns and fields of the sources. "
            f"{f'A run without it would stop: {stop}' if stop else runs}"
        )
    runs = f"`chatmill run --config configs/{path.name}` runs it"
    console.print(f"written: configs/{path.name}; {runs}", soft_wrap=True)
    return path


def _earlier_sources(path: Path) -> Sequence[Source]:
    """Return the sources of the preset that is overwritten, whose columns and fields are kept.

    Raises:
        UserError: The preset cannot be read, so that what it says about the files would be lost.
    """
    from flows.config import read_preset

    try:
        return read_preset(path).data.sources
    except UserError as error:
        if not _MAPPED.search(path.read_text(encoding="utf-8", errors="replace")):
            return ()
        raise UserError(
            f"configs/{path.name} cannot be read, so its columns and fields would be lost: {error}; correct "
            "it, or remove it to write it anew"
        ) from error


def _state_memory(
    preset: Preset, root: Path, device: str, console: Console, reached: Collection[str] | None
) -> str:
    """Print the memory that the trainings need, and return why a run would stop; empty: it would not.

    Args:
        preset: The preset.
        root: The project's folder.
        device: The kind of device: cpu or cuda.
        console: The console to print to.
        reached: The trainings that a run reaches with the folder's rows; None: all.
    """
    from flows.cli.ingest_preview import print_shortages
    from flows.orchestration.memory_check import MemoryCheck

    memory = MemoryCheck(preset, root, device)
    console.print(memory.describe(reached), soft_wrap=True)
    try:
        print_shortages(memory, console, labels=False)
        if reached is None:
            print_shortages(memory, console, labels=True)
    except UserError as error:
        return str(error)
    return ""


def _show_notes(found: FolderScan, console: Console) -> None:
    from flows.common.terminal import terminal_text

    for source in found.sources:
        for note in source.notes:
            line = f"source {source.name}: {note}"
            console.print(f"[yellow]{terminal_text(line)}[/yellow]", soft_wrap=True)


def _print_scan(found: FolderScan, console: Console, notes: bool) -> None:
    from flows.common.terminal import terminal_text
    from tasks.data.records import TYPES
    from tasks.data.values.column_names import yaml_meaning
    from tasks.data.versions.row_counts import describe_rows

    for source in found.sources:
        holds = describe_rows(
            {kind: source.count(kind) for kind in TYPES}, round(source.faults / source.share)
        )
        about = "" if source.share == 1 else "about "
        format = "" if source.name == source.format else f" {source.format}"
        told = ", if its keys mean what the preset proposes" if source.proposed else ""
        line = f"[bold]{terminal_text(source.name)}[/bold]{format}: {about}{holds}{told}"
        console.print(line, soft_wrap=True)
        scores = [(yaml_meaning(meaning), own) for own, meaning in source.fields.items()]
        # The reasons say by what the others were found.
        said_by = "as in the preset before" if source.told else "matched by name"
        named = [
            *((name, own) for name, own in source.columns.items() if name not in source.reasons),
            *scores,
        ]
        if named:
            said = ", ".join(f"{own} as {name}" for name, own in named)
            console.print(f"  [yellow]columns {said_by}: {terminal_text(said)}[/yellow]", soft_wrap=True)
        for reason in source.reasons.values():
            console.print(f"  [yellow]{terminal_text(reason)}[/yellow]", soft_wrap=True)
    if notes:
        _show_notes(found, console)
    for other, reason in found.others:
        broken = other in found.unreadable
        # The error at the end says why the first of them cannot be read.
        why = "the reason is at the end" if other in found.unreadable[:1] else reason
        said = f"{'cannot be' if broken else 'not'} read: {terminal_text(other)}: {terminal_text(why)}"
        console.print(f"[{'yellow' if broken else 'dim'}]{said}[/]", soft_wrap=True)


def _describe_part(found: FolderScan) -> str:
    """Return a sentence that init read a part of the files, and that the rest may stop a run."""
    read = sum(source.share * source.size for source in found.sources)
    cut = [source.name for source in found.sources if source.share < 1]
    more = f" and {len(cut) - _NAMED} more sources" if len(cut) > _NAMED else ""
    return (
        f"init read {read / 2**20:,.1f} of {found.size / 2**20:,.1f} MB, and not all of "
        f"{', '.join(cut[:_NAMED])}{more}: a key or a row in the rest may still stop a run"
    )


def _describe_nothing(folder: Path, found: FolderScan, preset: Path) -> str:
    """Return a sentence that no file of a folder can be read, with the reason of the first and a way out."""
    names = found.unreadable or [name for name, _ in found.others]
    place, reason = one_line_path(folder), dict(found.others)[names[0]]
    if len(names) > 1:
        none = f"none of the {len(names)} files in {place} can be read"
        said = f"{none}, so no preset is written; the first: {names[0]}: {reason}"
    else:
        said = f"the only file in {place} cannot be read, so no preset is written: {names[0]}: {reason}"
    return f"{said}{_show_columns(preset, found, names[0])}"


def _show_columns(preset: Path, found: FolderScan, name: str) -> str:
    """Return where the columns of an unread table are written; empty for a file that has none to map."""
    if name not in found.unmapped:
        return ""
    return (
        f"\nWrite them into configs/{preset.name}, and type the command again with --force, which keeps them:"
        f"\nname: {yaml_quoted(preset.stem)}\ndata:\n  sources:\n    - {{name: mine, files: "
        f"{yaml_quoted(name)}, format: rows, columns: {{prompt: ..., completion: ...}}}}"
    )


def _describe_unreadable(found: FolderScan) -> str:
    """Return a sentence that names the unreadable files, which a run leaves out; empty if there are none."""
    names = found.unreadable
    if not names:
        return ""
    named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    what = "it cannot" if len(names) == 1 else "they cannot"
    them = "it" if len(names) == 1 else "them"
    listed = any(len(source.files) > 1 for source in found.sources)
    later = " A file that you add later may not be read until you run init again." if listed else ""
    return f"Not in the preset, as {what} be read: {named}. A run ignores {them}.{later}"


def _check_rows(preset: Preset, root: Path, console: Console) -> tuple[str, Any, list[str], str]:
    """Check the rows as a run does.

    Returns:
        Why a run would stop before its first training (empty: it would not), the share of bad rows to allow,
        further notes, and why it would end after one of its trainings.
    """
    from flows.cli.ingest_preview import check_all_rows, summarize_rows

    with check_all_rows(preset, root, console) as (found, find_end):
        for line in summarize_rows(found):
            console.print(f"[yellow]{line}[/yellow]" if found.findings.rules else line, soft_wrap=True)
        stop, allowed = str(found.stop or ""), None
        if stop and found.rows is not None:
            stop, allowed = _allow_bad_rows(preset, found.findings, stop)
        if stop:
            return stop, allowed, [], ""
        end = find_end()
    refused, early = (end.reason, "") if end.refused else ("", end.reason)
    return refused, allowed, list(end.notes), early


def _allow_bad_rows(preset: Preset, findings: Findings, stop: str) -> tuple[str, Any]:
    """Allow as many bad rows as there are, if they are all that stops a run.

    Returns:
        Why a run still stops (empty: it does not), and the share that is allowed.
    """
    from dataclasses import replace

    from tasks.onboarding import preset_writer
    from tasks.validate import stop_reasons

    allowed = preset_writer.allowed_share(findings)
    if allowed is None:
        return stop, None
    # Asked of validation itself: bad rows may not be all that stops the run.
    left = stop_reasons(replace(preset.validation_parameters(), max_bad_fraction=allowed.share), findings, {})
    return (stop, None) if left else ("", allowed)


def _open_base(base: str, root: Path, console: Console) -> OpenBase:
    """Return the open model that `--base` names; print what is fetched for it."""
    from flows.common.terminal import terminal_text
    from flows.orchestration.open_base import find_open_base
    from model.events import Event, Message

    def say(event: Event) -> None:
        if isinstance(event, Message):
            console.print(f"[dim]{terminal_text(event.text)}[/dim]", soft_wrap=True)

    with _show_activity(console, "looking at the open model"):
        return find_open_base(base, root, say)


@contextmanager
def _show_activity(console: Console, what: str) -> Iterator[None]:
    """Show that work is in progress: a spinner on a terminal, a line elsewhere."""
    if not console.is_terminal:
        console.print(f"[dim]{what}[/dim]")
    with console.status(what):
        yield
