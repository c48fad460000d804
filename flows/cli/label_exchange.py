"""`chatmill label push` and `chatmill label pull`: batches to other labelling tools, judgements from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from flows.cli.label import opened_labels
from flows.common.terminal import Console, one_line
from flows.orchestration.tracker import open_tracker
from flows.servers.address_check import check_web_address
from model.errors import UserError
from tasks.common.counts import counted
from tasks.common.url_secrets import secret_problem

if TYPE_CHECKING:
    from tasks.label_exchange.batch_items import PushedList
    from tasks.label_exchange.label_studio_client import LabelStudioClient
    from tasks.label_exchange.returned_judgements import PullResult
    from tasks.labelling.schema import LabelStore

_SHOWN_FAULTS = 5


class LabelTool(StrEnum):
    """A labelling tool that gets batches."""

    LABEL_STUDIO = "label-studio"
    MLFLOW = "mlflow"


def push_batch(
    name: Annotated[str, typer.Argument(help="The batch's name.")],
    to: Annotated[LabelTool, typer.Option("--to", help="The tool.")],
    person: Annotated[
        list[str] | None,
        typer.Option(
            "--person",
            "-p",
            help="A person of the label page who gets items. Repeatable. Required if the batch needs several "
            "people for each item.",
        ),
    ] = None,
) -> None:
    """Send a batch to another labelling tool, where people judge it blind.

    Type the same again after a kill: what is there already is not sent again. Label Studio's address is in
    LABEL_STUDIO_URL, and its token in LABEL_STUDIO_API_KEY. MLflow is the project's own. Example: `chatmill
    label push first --to label-studio --person Anna --person Ben`.
    """
    console = Console(highlight=False, soft_wrap=True)
    with opened_labels(Path.cwd()) as store, _open_tool(to) as tool:
        lists = tool.push(store, name, person or [])
    for pushed in lists:
        place = f": {one_line(pushed.place)}" if pushed.place else ""
        console.print(
            f"for {one_line(pushed.person or 'everybody')}: {counted(pushed.added, 'items')} added, "
            f"{pushed.items:,} in all{place}"
        )
        if pushed.reason:
            console.print(f"  [yellow]nothing to add: {one_line(pushed.reason)}[/yellow]")
    if any(pushed.items for pushed in lists):
        console.print(f"next: [bold]chatmill label pull --from {to}[/bold] fetches the judgements")


def pull_judgements(
    source: Annotated[LabelTool, typer.Option("--from", help="The tool.")],
    name: Annotated[str, typer.Argument(help="The batch's name. Default: all batches.")] = "",
) -> None:
    """Fetch the judgements that people gave in another labelling tool, each once.

    They are stored with those of the label page, with the person, the time and the guide. A judgement that
    is deleted there counts no more; it stays on record. Example: `chatmill
    label pull --from label-studio`.
    """
    with opened_labels(Path.cwd()) as store, _open_tool(source) as tool:
        results = tool.pull(store, name)
    console = Console(highlight=False, soft_wrap=True)
    if not results:
        console.print(f"no batch was sent there; `chatmill label push NAME --to {source}` sends one")
    for batch, result in results.items():
        _print_result(console, batch, result)


def _print_result(console: Console, batch: str, result: PullResult) -> None:
    by = f" by {counted(len(result.people), 'people')}" if result.people else ""
    says = (
        f"batch {one_line(batch)}: {counted(result.new, 'new judgements')}{by}; {result.known:,} were known"
    )
    if result.withdrawn:
        says += f"; {result.withdrawn:,} withdrawn, as they are deleted there"
    if result.kept:
        says += f"; {result.kept:,} of items that are not there any more still count"
    console.print(says)
    for fault in result.faults[:_SHOWN_FAULTS]:
        console.print(f"[yellow]left out:[/yellow] {one_line(fault)}")
    if len(result.faults) > _SHOWN_FAULTS:
        console.print(f"[yellow]left out:[/yellow] {len(result.faults) - _SHOWN_FAULTS:,} more")


class _Tool(Protocol):
    def push(self, store: LabelStore, name: str, people: Sequence[str]) -> list[PushedList]: ...

    def pull(self, store: LabelStore, name: str) -> dict[str, PullResult]: ...


@contextmanager
def _open_tool(tool: LabelTool) -> Iterator[_Tool]:
    """Yield what sends to a tool and fetches from it."""
    if tool is LabelTool.LABEL_STUDIO:
        from tasks.label_exchange.label_studio import LabelStudioProjects

        with _open_label_studio() as client:
            yield LabelStudioProjects(client)
        return
    # Each trace is in the store before the next one is sent, so that a kill leaves no gap.
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    uri = open_tracker().uri
    # After open_tracker, which prepares the environment: this module imports MLflow.
    from tasks.label_exchange.mlflow_queues import ReviewQueues

    yield ReviewQueues(uri)


def _open_label_studio() -> LabelStudioClient:
    """Return a client of the server in the environment. Raise UserError if a setting is missing or wrong."""
    from tasks.label_exchange.label_studio_client import (
        ADDRESS_VARIABLE,
        TOKEN_VARIABLE,
        LabelStudioClient,
    )

    address = os.environ.get(ADDRESS_VARIABLE, "").strip()
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not address:
        raise UserError(
            f"{ADDRESS_VARIABLE} is not set; set it to the address of Label Studio, as in http://127.0.0.1:8080"
        )
    check_web_address(address, ADDRESS_VARIABLE, "http://127.0.0.1:8080")
    if problem := secret_problem(address):
        raise UserError(f"{ADDRESS_VARIABLE} {problem}")
    if not token:
        raise UserError(
            f"{TOKEN_VARIABLE} is not set; set it to a token of your account in Label Studio (Account & "
            "Settings)"
        )
    return LabelStudioClient(address, token)
