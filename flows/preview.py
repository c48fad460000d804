"""`chatmill ingest --dry-run`: what each source holds, on the screen; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.configuration import Preset
from flows.display import number
from model.errors import UserError
from tasks.preview import LOOKED, Preview, preview
from tasks.records import canonical
from tasks.rules import Rules
from tasks.withdrawal import WITHDRAWN

WIDTH = 110


def show(preset: Preset, root: Path, console: Console | None = None) -> None:
    """Look at every source of a preset. Raises UserError where ingestion would stop at one."""
    console = console or Console(highlight=False)
    asked = preset.validation
    rules = Rules(asked.limits, asked.scripts, asked.personal == "quarantine", asked.rules)
    found = []
    for source in preset.data.sources:
        found.append(preview(source, preset.data, rules, root))
        for line in described(found[-1]):
            console.print(line, soft_wrap=True)
    console.print("Nothing was written.")
    if faults := [one.name for one in found if one.fault]:
        raise UserError(f"ingestion would stop at {', '.join(faults)}; why is said above")


def described(found: Preview) -> Sequence[str]:
    """The lines about one source, as rich's markup."""
    lines = [f"[bold]{escape(found.name)}[/bold]"]
    if found.lacking:
        return [*lines, *(f"  would be fetched: {escape(what)}" for what in found.lacking), ""]
    if found.files:
        what = f"{found.format or 'no format'}, {number(found.files)} files, {number(found.bytes)} bytes"
        lines.append(f"  {what}{f', of which {found.part}' if found.part else ''}")
    if found.fault:
        return [*lines, f"  [red]stops:[/red] {escape(found.fault)}", ""]
    counts = ", ".join(f"{number(count)} {kind}" for kind, count in found.rows.items() if count)
    lines.append(f"  {counts or 'no row'}")
    lines += [f"  [dim]{escape(_cut(canonical(row)))}[/dim]" for row in found.first]
    if found.withdrawn:
        lines.append(
            f"  would be left out, or lose scores, as withdrawn: {number(found.withdrawn)} rows ({WITHDRAWN})"
        )
    for one in found.aside:
        lines.append(
            f"  would be set aside: {number(one.count)} of {_looked(found, one.kind)}: {escape(one.rule)}, "
            f"first {escape(one.where)}"
        )
    if not found.aside and any(found.looked.values()):
        said = ", ".join(_looked(found, kind) for kind, count in found.looked.items() if count)
        lines.append(f"  none would be set aside of {said}")
    return [*lines, ""]


def _looked(found: Preview, kind: str) -> str:
    looked, all_of = found.looked[kind], found.rows[kind]
    return f"the first {number(LOOKED)} {kind}" if looked < all_of else f"{number(looked)} {kind}"


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
