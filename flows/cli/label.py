"""`chatmill label`: serve the label page, and add, list, close and open batches of items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from flows.common.terminal import Console, one_line
from flows.servers.commands import LABEL_PORT
from flows.servers.environment import LOOPBACK, configure_database
from tasks.common.counts import counted

if TYPE_CHECKING:
    from tasks.labelling.schema import LabelStore

label = typer.Typer(invoke_without_command=True)
BatchName = Annotated[str, typer.Argument(help="The batch's name.")]


@contextmanager
def opened_labels(root: Path) -> Iterator[LabelStore]:
    """Yield the store of the project's label page, and close it."""
    from tasks.backup.restore import finish_restore
    from tasks.labelling.schema import open_label_store

    # A killed `chatmill restore` may have left the judgements half restored.
    finish_restore(root)
    configure_database(root)
    with open_label_store(root) as store:
        yield store


@label.callback()
def serve_labels(
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(
            help=f"The address to listen on, so that other hosts can open the page. Default: {LOOPBACK}, "
            "this machine alone."
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = LABEL_PORT,
) -> None:
    """Serve the label page until Ctrl-C: people compare two answers, reviewers decide. `up` includes it.

    People sign in with a link that `chatmill people add NAME` prints. Example: `chatmill label --port 4301`.
    """
    if context.invoked_subcommand:
        return
    from flows.cli.up import ServerRequest, serve_until_stopped
    from tasks.labelling.people import list_people

    root, console = Path.cwd(), Console(highlight=False, soft_wrap=True)
    with opened_labels(root) as store:
        if not any(person.active for person in list_people(store)):
            console.print(
                "nobody can sign in yet; in another terminal, `chatmill people add NAME` prints a link"
            )
    serve_until_stopped(
        root, ServerRequest("chatmill label", host, 0, 0, (), False, label_port=port, pages=False)
    )


def print_label_steps(root: Path, console: Console) -> None:
    """Print what comes after a new batch: a person, if nobody can sign in yet, and the page."""
    from tasks.labelling.people import list_people

    with opened_labels(root) as store:
        is_somebody_there = any(person.active for person in list_people(store))
    add = "[bold]chatmill people add NAME[/bold] adds"
    if is_somebody_there:
        steps = ("[bold]chatmill label[/bold] serves the page", f"{add} somebody else, or prints a new link")
    else:
        steps = (
            f"{add} somebody who judges them, and prints their link",
            "[bold]chatmill label[/bold] serves the page",
        )
    console.print(f"next: {'; '.join(steps)}", soft_wrap=True)


@label.command("import")
def import_items(
    file: Annotated[Path, typer.Argument(help="A JSONL file with prompt, a and b on each line.")],
    name: Annotated[str, typer.Option("--name", "-n", help="The new batch's name.")],
    guide: Annotated[
        Path | None, typer.Option(help="The guide, a Markdown file. Default: a general one.")
    ] = None,
    aspect: Annotated[
        list[str] | None,
        typer.Option(help="An aspect to compare after the choice, as in --aspect helpfulness. Repeatable."),
    ] = None,
    needed: Annotated[int, typer.Option(help="How many people judge each item, at most 1000.", min=1)] = 2,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Show Markdown as formatted text. Default: as it was written.")
    ] = False,
    product: Annotated[
        str, typer.Option(help="The product whose runs read the judgements. Default: those of all products.")
    ] = "",
) -> None:
    """Add a batch of items from a file. Lines may also have history, a_model, b_model and known_choice.

    An item with a known_choice (a, b or tie) shows how often each person is right. Items of earlier batches
    are left out. Example: `chatmill label import pairs.jsonl --name first --aspect truthfulness`.
    """
    from tasks.labelling.batch_products import PRODUCT_KEY, check_product_name
    from tasks.labelling.batches import DEFAULT_GUIDE, BatchSettings, add_batch_once
    from tasks.labelling.guide_file import read_guide_file
    from tasks.labelling.item_file import read_items

    text = read_guide_file(guide) if guide else DEFAULT_GUIDE
    items = read_items(file)
    origin = {"file": str(file)}
    if product:
        check_product_name(product)
        origin[PRODUCT_KEY] = product
    settings = BatchSettings(name, text, tuple(aspect or ()), needed, markdown, origin)
    with opened_labels(Path.cwd()) as store:
        added = add_batch_once(store, settings, items)
    console = Console(highlight=False, soft_wrap=True)
    present = " was added before, from the same items" if added.present else ""
    console.print(
        f"batch {one_line(name)}{present}: {counted(added.added, 'items')}, each for {needed} "
        f"{'person' if needed == 1 else 'people'}"
    )
    if added.repeated:
        console.print(f"{counted(added.repeated, 'items')} left out, as the file has them twice")
    if added.earlier:
        console.print(f"{counted(added.earlier, 'items')} left out, as an earlier batch has them")
    print_label_steps(Path.cwd(), console)


@label.command("batches")
def list_label_batches() -> None:
    """List the batches with their items, judgements so far, how many items have all, and their state."""
    from rich.table import Table

    from flows.common.narrow_tables import print_table
    from tasks.labelling.batch_products import batch_product
    from tasks.labelling.batches import list_batches
    from tasks.labelling.review import count_reviews
    from tasks.labelling.schema import VOTE_KIND
    from tasks.labelling.waiting_champions import list_waiting

    console = Console(highlight=False)
    with opened_labels(Path.cwd()) as store:
        found, reviews, waiting = list_batches(store), count_reviews(store), list_waiting(store)
    if not found:
        console.print(
            "there is no batch; `chatmill label batch` makes one from the models of the last run, "
            "`chatmill label import FILE --name NAME` adds one of your own pairs",
            soft_wrap=True,
        )
        return
    table = Table(box=None, pad_edge=False)
    for column in ("batch", "product", "created"):
        table.add_column(column)
    for column in ("items", "needed", "judgements", "complete"):
        table.add_column(column, justify="right")
    table.add_column("state")
    for each in found:
        judged = f"{each.judged:,} of {each.items * each.needed:,}"
        numbers = (f"{each.items:,}", f"{each.needed}", judged, f"{each.complete:,}")
        state = "open" if each.open else "closed"
        product = one_line(batch_product(each.origin)) or (
            "" if each.origin.get("kind") == VOTE_KIND else "all"
        )
        table.add_row(one_line(each.name), product, each.created[:10], *numbers, state)
    print_table(console, table)
    console.print(
        "[dim]needed: how many people judge each item; complete: the items that have them all[/dim]",
        soft_wrap=True,
    )
    if reviews:
        console.print(f"{counted(reviews, 'items')} for a reviewer to decide")
    for one in waiting:
        command = f"chatmill label batch --config {one_line(quote(one.config))}"
        state = (
            f"has no batch, as {one.attempts} runs of label-batch ended without one; `{command}` says why"
            if one.has_failed
            else "waits for a batch until the one before it ends; `chatmill up` makes it then, and so does "
            f"`{command}`"
        )
        console.print(f"the champion {one_line(one.champion)} {state}", soft_wrap=True)
    console.print("[dim]`chatmill label close NAME` ends a batch; its judgements stay[/dim]", soft_wrap=True)


@label.command("guide")
def change_batch_guide(
    name: BatchName, file: Annotated[Path, typer.Argument(help="The new guide, a Markdown file.")]
) -> None:
    """Give a batch a new guide. Each judgement keeps the version of its time.

    Example: `chatmill label guide first guide.md`.
    """
    from tasks.labelling.batches import change_guide
    from tasks.labelling.guide_file import read_guide_file

    text = read_guide_file(file)
    with opened_labels(Path.cwd()) as store:
        digest = change_guide(store, name, text)
    Console(highlight=False).print(
        f"{one_line(name)} has the guide {digest}; judgements from now on follow it. [dim]The page shows it "
        "within the next items[/dim]",
        soft_wrap=True,
    )


@label.command("product")
def change_batch_product(
    name: BatchName, product: Annotated[str, typer.Argument(help="The product, as in a preset's name.")]
) -> None:
    """Record the product of a batch: runs of other products leave its judgements out from now on.

    Example: `chatmill label product first team`.
    """
    from tasks.labelling.batch_products import set_batch_product

    with opened_labels(Path.cwd()) as store:
        set_batch_product(store, name, product)
    Console(highlight=False).print(
        f"{one_line(name)} is of the product {one_line(product)}; [dim]the next run of each product follows "
        "it[/dim]",
        soft_wrap=True,
    )


@label.command("close")
def close_batch(name: BatchName) -> None:
    """Give nobody items of a batch any more. Its judgements stay. Example: `chatmill label close first`."""
    _set_open(name, False)
    Console(highlight=False).print(
        f"closed {one_line(name)}; [dim]`chatmill label reopen {one_line(quote(name))}` opens it again[/dim]",
        soft_wrap=True,
    )


@label.command("reopen")
def reopen_batch(name: BatchName) -> None:
    """Give people items of a closed batch again. Example: `chatmill label reopen first`."""
    _set_open(name, True)
    Console(highlight=False).print(
        f"opened {one_line(name)}; [dim]`chatmill label batches` shows what is left[/dim]", soft_wrap=True
    )


def _set_open(name: str, is_open: bool) -> None:
    from tasks.labelling.batches import open_batch

    with opened_labels(Path.cwd()) as store:
        open_batch(store, name, is_open)
