"""`chatmill people`: who may label, and their one-time links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from flows.cli.label import opened_labels
from flows.common.terminal import Console, one_line
from flows.servers.address_check import check_web_address
from flows.servers.commands import LABEL_PAGE, LABEL_PORT
from flows.servers.environment import LOOPBACK
from flows.servers.state_file import last_addresses, read_served
from model.errors import UserError

people = typer.Typer(help="The people of the label page: add, list and remove them.", no_args_is_help=True)
# Signs that end the path of a link, or that no path has.
_NO_PLACE = re.compile(r"[\s\\?#<>\"^`{|}\x00-\x1f\x7f]")
PersonName = Annotated[str, typer.Argument(help="The person's name, as their judgements will have it.")]


@people.command("add")
def add_label_person(
    name: PersonName,
    reviewer: Annotated[
        bool | None,
        typer.Option(
            "--reviewer/--labeller",
            help="A reviewer also decides disputed items, and sees the overview. Default: the role that they "
            "have, or labeller.",
        ),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            help="The page's address as the person reaches it, as in https://labels.example. Default: that "
            "of the running page."
        ),
    ] = "",
) -> None:
    """Add a person to the label page and print a link that signs them in once, within 7 days.

    For somebody who is there, it prints a new link. Example: `chatmill people add Anna --reviewer`.
    """
    from tasks.labelling.people import Role, add_person, check_person_name, create_login_code, find_person

    root, console = Path.cwd(), Console(highlight=False, soft_wrap=True)
    where, runs = _page_address(root, address)
    with opened_labels(root) as store:
        known = find_person(store, check_person_name(name))
        role: Role = "reviewer" if reviewer else "labeller"
        if reviewer is None and known:
            role = known.role
        person, is_new = add_person(store, name, role)
        code = create_login_code(store, person.name)
    state = "added" if is_new else "is there already; a new link"
    console.print(f"{one_line(person.name)}, {person.role}: {state}")
    console.print(f"[bold]link[/bold]  {one_line(where)}/sign-in#{code}")
    console.print("[dim]it signs them in once, within 7 days; they may then choose a password[/dim]")
    if not runs:
        console.print(
            "[dim]the page is not running here; the link works once `chatmill label` or `chatmill up` serves "
            f"it at port {urlsplit(where).port}. `--address http://HOST:PORT` gives another address[/dim]"
        )


@people.command("list")
def list_label_people() -> None:
    """List the people of the label page with their roles."""
    from rich.table import Table

    from flows.common.narrow_tables import print_table
    from tasks.labelling.people import list_people

    console = Console(highlight=False)
    with opened_labels(Path.cwd()) as store:
        found = list_people(store)
    if not found:
        console.print("there is nobody; `chatmill people add NAME` adds somebody", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "role", "signs in with", "since"):
        table.add_column(column)
    for person in found:
        way = ("password or link" if person.has_password else "link") if person.active else "removed"
        table.add_row(one_line(person.name), person.role, way, person.created[:10])
    print_table(console, table)
    console.print("[dim]`chatmill people add NAME` prints a new link for one of them[/dim]", soft_wrap=True)


@people.command("remove")
def remove_label_person(name: PersonName) -> None:
    """End a person's sessions and let them sign in no more. Their judgements stay.

    `chatmill withdraw` also takes their judgements out of the data. Example: `chatmill people remove Anna`.
    """
    from tasks.labelling.people import remove_person

    with opened_labels(Path.cwd()) as store:
        remove_person(store, name)
    Console(highlight=False).print(
        f"{one_line(name)} can sign in no more; their judgements stay. [dim]`chatmill people add` adds them "
        "again[/dim]",
        soft_wrap=True,
    )


def _page_address(root: Path, address: str) -> tuple[str, bool]:
    """Return the page's address, and whether it is known to answer there."""
    if address:
        _check_page_address(address)
        return address.rstrip("/"), True
    served = read_served(root)
    running = {one.name: one.address for one in served.processes} if served else {}
    if LABEL_PAGE in running:
        return running[LABEL_PAGE], True
    return last_addresses(root).get(LABEL_PAGE, f"http://{LOOPBACK}:{LABEL_PORT}"), False


def _check_page_address(address: str) -> None:
    """Raise UserError if `/sign-in#CODE` behind an address makes no link."""
    example = "http://HOST:PORT or https://HOST"
    check_web_address(address, "--address", example)
    if "@" in urlsplit(address).netloc or _NO_PLACE.search(address) or "[" in urlsplit(address).path:
        raise UserError(
            f"--address is {address!a}; expected {example}, without a user, a query or special characters"
        )
