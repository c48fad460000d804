"""The output of `chatmill up`: its services and the login link."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from rich.markup import escape

from flows.cli.current_preset import DEMO
from flows.common.terminal import Console
from flows.servers.commands import LABEL_PAGE, LABEL_PORT
from flows.servers.credentials import PASSWORD_FILE, PASSWORD_SETTING
from flows.servers.environment import read_credentials
from flows.servers.login_links import LINK_SECONDS, LoginLinks
from flows.servers.state_file import Served, read_served
from model.errors import UserError
from tasks.project.paths import SECRETS

# The commands that serve a part of the pages, as the state file names them.
_LABEL, _DASHBOARDS = "chatmill label", "chatmill dashboards"
LINK_MINUTES = round(LINK_SECONDS / 60)


def print_running(root: Path, command: str, console: Console) -> None:
    """Print the services that run here already; `command` is the command that was typed.

    Raises:
        UserError: Another `up` is starting or stopping, or the label page runs without the typed command's
            pages, or the other way round.
    """
    served = read_served(root)
    if served is None:
        raise UserError("another `chatmill up` is starting or stopping; try again in a moment")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(served.since))
    state = "is running" if served.ready else "is starting"
    console.print(f"{escape(served.command)} {state} here since {since} (process {served.pid}):")
    for one in served.processes:
        console.print(service_line(one.name, one.address, one.shows, one.pid))
    if served.ready:
        print_login_link(root, served, console)
    if {command, served.command} == {_LABEL, _DASHBOARDS}:
        raise UserError(_explain_both_pages(served))
    then = f", then `{escape(command)}` starts the requested services" if command != served.command else ""
    console.print(f"[dim]`chatmill down` stops it{then}.[/dim]")


def _explain_both_pages(served: Served) -> str:
    """Return how to serve the label page beside Prefect's and MLflow's: one process serves all pages."""
    without = "Prefect's and MLflow's pages" if served.command == _LABEL else "the label page"
    label = next((urlsplit(one.address).port for one in served.processes if one.name == LABEL_PAGE), None)
    # The links of people who judge hold the port.
    port = f" --label-port {label}" if label not in (None, LABEL_PORT) else ""
    return (
        f"`{served.command}` runs here, without {without}. `chatmill down`, then `chatmill up "
        f"--no-deploy{port}` serves all three, and no run starts by itself; add --host, if "
        f"`{served.command}` has it. The judgements stay, and people reload the page"
    )


def describe_schedule(presets: Sequence[str], scheduled: bool, command: str) -> list[str]:
    """Return the sentences about what runs by itself and how to choose another preset, or none.

    Args:
        presets: The presets of the deployments.
        scheduled: Whether they run by themselves.
        command: The command that was typed.
    """
    if not presets:
        return []
    if not scheduled:
        return [
            "scheduled: nothing, as there is no data/ yet",
            f"to schedule your preset: `{command} --config FILE`; `chatmill init FOLDER` writes one",
            f"to schedule the demo: `{command} --config {DEMO}`",
        ]
    demo = " (the demo)" if [str(DEMO)] == list(presets) else ""
    return [
        f"scheduled: {', '.join(presets)}{demo}, every night; new labels start it too",
        f"to schedule another preset: `{command} --config FILE`; none: `{command} --no-deploy`",
    ]


def print_login_link(root: Path, served: Served, console: Console) -> None:
    """Print a link that logs a browser in, once, at the servers that run here."""
    # A link, not the password: the terminal's scrollback keeps what is printed.
    login, _ = read_credentials(root)
    links = LoginLinks(root / SECRETS, login)
    # The label page has links of its own, one for each person.
    first = next((one.address for one in served.processes if one.address and one.name != LABEL_PAGE), "")
    if first:
        console.print(f"[bold]log in  [/bold] {escape(links.create_link(first))}")
        console.print(
            f"[dim]         opens both pages in a browser, once, within {LINK_MINUTES} minutes[/dim]"
        )
        for line in _describe_password():
            console.print(f"[dim]         {escape(line)}[/dim]")


def _describe_password() -> list[str]:
    """Return where the user and password are that the pages ask for; never the password itself."""
    where = f"the variable {PASSWORD_SETTING}" if os.environ.get(PASSWORD_SETTING) else str(PASSWORD_FILE)
    return [
        f"without it, a page asks for user and password: {where} has them",
        "as USER:PASSWORD. Prefect's page takes that whole line, MLflow's each part",
    ]


def service_line(name: str, address: str, shows: str, pid: int) -> str:
    """Return the line about a service as rich markup: its name, its address or process, and its purpose."""
    # Padded first: the signs that escape a bracket take no room.
    place = f"{address or f'process {pid}':<22}"
    return f"[bold]{name:<8}[/bold] {escape(place)} {escape(shows)}"
