"""`chatmill init`: a preset for a folder of one's own, from a look at its files and a try of this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from model.errors import UserError

if TYPE_CHECKING:
    from tasks.sizing import Machine

TRIED_SECONDS = 2.5  # of training steps for each shape that is tried; rarely more than three are


def propose(folder: Path, name: str, minutes: float, device: str, force: bool) -> Path:
    """Write configs/NAME.yaml for a folder, show what was found and how long a run will take; its path.

    Raises UserError for a folder without text or one that chatmill writes to, and for a preset that is there
    already, unless `force`.
    """
    from tasks.names import slug
    from tasks.survey import check_place, survey

    root = Path.cwd()
    check_place(folder, root)
    name = name or slug(folder.resolve().name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"--name is {name!r}; letters, digits, dots and dashes are right, as in my-texts")
    path = root / "configs" / f"{name}.yaml"
    if path.exists() and not force:
        raise UserError(
            f"configs/{path.name} is there already; choose another --name, or write over it with --force"
        )

    from flows.configuration import check_preset
    from flows.display import terminal_text
    from model.device import find_device
    from tasks import proposal, sizing

    console = Console(highlight=False)
    kind = find_device(device)
    found = survey(folder, root)
    for source in found.sources:
        holds = ", ".join(f"{source.count(k):,} {k}" for k in proposal.TYPES if source.count(k))
        about = "" if source.share == 1 else "about "
        console.print(f"[bold]{escape(source.name)}[/bold] {source.format}: {about}{holds}")
    for other, why in found.others:
        said = f"not read: {terminal_text(other)}: {terminal_text(why)}"
        console.print(f"[dim]{said}[/dim]", soft_wrap=True)
    measured = proposal.measure(found)
    console.print("[dim]trying how fast this machine trains[/dim]")
    machine = _machine(kind)
    plan = sizing.plan(measured.amount, machine, minutes)
    described = f"{kind}, {plan.tokens_per_second:,.0f} tokens/s{proposal.device_memory(machine)}"
    text = proposal.preset(name, device, found, measured, plan, described)

    import yaml

    check_preset(yaml.safe_load(text))
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    console.print(
        f"{plan.architecture.parameters:,} weights (bounded by {plan.bound}), "
        f"{plan.sections['pretrain']['steps']:,} steps of pretraining; the whole run takes about "
        f"{proposal.duration(plan.minutes * 60)} here",
        soft_wrap=True,
    )
    for lack in proposal.missing(found, measured):
        console.print(f"[yellow]{escape(lack)}[/yellow]", soft_wrap=True)
    runs = f"`chatmill run --config configs/{path.name}` runs it"
    console.print(f"written: configs/{path.name}; {runs}", soft_wrap=True)
    return path


def _machine(device: str) -> Machine:
    from model import pace
    from tasks.sizing import Machine as Tried

    return Tried(
        device,
        pace.memory(device),
        lambda shape, batch: pace.measure(shape, batch, device, TRIED_SECONDS).tokens_per_second,
    )
