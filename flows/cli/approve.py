"""`chatmill approve`: record a person's decision about a model that waits for it."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows.cli.models import current_user, print_files
from flows.common.terminal import Console
from flows.orchestration.tracker import open_tracker
from model.errors import UserError

if TYPE_CHECKING:
    from tasks.tracking.registry import Registry
    from tasks.tracking.tracker import Tracker


def approve(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A version (3 or NAME/3), or its run: name or id in Prefect, id in MLflow. "
            "Default: the pending version.",
        ),
    ] = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="The reason, kept in the history.")] = "",
    reject: Annotated[bool, typer.Option("--reject", help="Reject it; requires --reason.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show the evaluation without deciding.")] = False,
    people: Annotated[
        bool, typer.Option("--people", help="Decide as the people of the label page did, if they have.")
    ] = False,
) -> None:
    """Approve or reject a model that waits for approval (presets with `promote.approval: human` or `people`).

    The suspended run is resumed, or the deployments of `chatmill up` are told of the new champion; nothing is
    trained again. The model's metrics are compared with those of the present champion, and a model that is
    no better does not become champion. `--show` shows the evaluation and decides nothing.
    """
    if show and (reject or reason):
        raise UserError("--show cannot be combined with --reject or --reason")
    if people and (run or reject or reason or show):
        raise UserError("--people decides about all waiting models; it cannot be combined with others")
    if reject and not reason.strip():
        raise UserError("a rejection needs --reason TEXT, as in --reason 'answers are rude'")
    tracker = open_tracker()
    # After open_tracker, which prepares the environment: this module imports MLflow.
    from flows.orchestration.decision_effects import finish_decision
    from flows.orchestration.people_approval import vote_about
    from tasks.deletion.learned_rows import promotion_check
    from tasks.tracking.approval import describe_approval, find_version_asked
    from tasks.tracking.version_files import VersionFiles

    console = Console(highlight=False)
    if people:
        _decide_by_people(tracker, console)
        return
    # A run or version may belong to any product of the store, so all registries are searched.
    registries = {registry.model: registry for registry in tracker.registries()}
    found = find_version_asked([version for each in registries.values() for version in each.versions()], run)
    registry = registries[found.name]
    if show:
        _print_evaluation(registry, found, console)
        print_files(console, VersionFiles(tracker.client, Path.cwd()).look_at(found))
        if vote := vote_about(Path.cwd(), found):
            console.print(escape(f"people of the label page: {vote.words}"), soft_wrap=True)
        console.print(escape(describe_approval(found)), soft_wrap=True)
        return
    decided = registry.decide(
        str(found.version),
        not reject,
        author := current_user(),
        reason,
        check=promotion_check(tracker, Path.cwd()),
    )
    console.print(escape(decided.says), soft_wrap=True)
    for sentence in finish_decision(Path.cwd(), registry, found, decided, not reject, author, reason):
        console.print(escape(sentence), soft_wrap=True)
    if decided.champion:
        # `champion` alone is ambiguous as soon as there are several products.
        address = quote(f"{registry.model}/champion") if len(registries) > 1 else "champion"
        console.print(f"Chat with it: [bold]chatmill chat --model {escape(address)}[/bold]", soft_wrap=True)


def _decide_by_people(tracker: Tracker, console: Console) -> None:
    """Decide about the waiting models whose vote is decided, and print the votes of the others."""
    from flows.orchestration.people_approval import decide_by_votes, describe_other_vote, vote_about
    from tasks.tracking.approval import PENDING, approval_state
    from tasks.tracking.products import version_address

    said = decide_by_votes(tracker, Path.cwd())
    for registry in tracker.registries():
        for version in registry.versions():
            if approval_state(version.tags) != PENDING:
                continue
            if vote := vote_about(Path.cwd(), version):
                said.append(f"{version_address(version)} {vote.words}; {vote.next_step}")
            elif other := describe_other_vote(Path.cwd(), version):
                said.append(other)
            else:
                address = version_address(version)
                said.append(
                    f"{address} waits, but the label page asks nobody about it; `chatmill approve {address}` "
                    "decides"
                )
    for sentence in said or ["no model waits for the people of the label page"]:
        console.print(escape(sentence), soft_wrap=True)


def _print_evaluation(registry: Registry, version: Any, console: Console) -> None:
    """Print the metrics beside the champion's, and the answers of all three models to the same prompts."""
    from flows.orchestration.outcome_output import show_answers
    from tasks.common.metric_labels import reason_words
    from tasks.tracking.approval import compared_answers, evaluation_rows

    champion = registry.champion()
    against = f"champion, version {champion.version}" if champion else "no champion yet"
    table = Table(box=None, pad_edge=False)
    for column in ("figure", f"version {version.version}", against):
        table.add_column(column)
    for row in evaluation_rows(version, champion):
        table.add_row(*map(escape, row))
    console.print(table)
    console.print(escape(reason_words(version.tags.get("reason", ""))), soft_wrap=True)
    if rows := compared_answers(registry.client, version):
        show_answers(rows, console, lines=8)
