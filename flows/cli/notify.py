"""`chatmill notify`: have Prefect's server send messages when a person should act."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from flows.common.terminal import Console
from model.errors import UserError


def notify(
    test: Annotated[bool, typer.Option("--test", help="Also send a test message now.")] = False,
) -> None:
    """Let Prefect's server send messages to the address in CHATMILL_WEBHOOK.

    It sends one when a run fails, crashes or is far slower than before. Others are about refused models,
    rejected data, drift, and models that wait for approval. The address is a secret: it is read from the
    environment, and Prefect keeps it encrypted. A second call changes only what differs.
    """
    from flows.servers.environment import prepare_environment, webhook_url

    address = webhook_url()
    # A temporary server ends with the command, and no automation of it would ever run.
    if not prepare_environment(Path.cwd()).prefect:
        raise UserError("no Prefect server is running; start it with `chatmill up`, then repeat this command")
    # Imported after the environment is set: Prefect reads its settings when it is imported.
    from prefect.client.orchestration import get_client

    from flows.orchestration.notifications import NOTICES, make_automation, make_block, send_message

    # At exit these services of Prefect log what they did not send, which matters to no user of this
    # command.
    for service in ("EventsWorker", "APILogWorker"):
        logging.getLogger(service).setLevel(logging.ERROR)
    console = Console(highlight=False, soft_wrap=True)
    block, written = make_block(address)
    console.print(f"[bold]{'where to':<28}[/bold] {'set' if written else 'is set'}: CHATMILL_WEBHOOK")
    with get_client(sync_client=True) as client:
        for notice in NOTICES:
            console.print(f"[bold]{notice.name:<28}[/bold] {make_automation(client, notice, block)}")
    if test:
        send_message("chatmill: a test", "Messages arrive here.")
        console.print("the test message was sent and accepted")
    else:
        console.print("[dim]`chatmill notify --test` sends one message[/dim]")
    console.print("[dim]To disable a message, open Automations on Prefect's page.[/dim]")
