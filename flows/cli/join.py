"""`chatmill join`: take part in the trainings of another machine."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from flows.common.terminal import Console
from model.training.nodes import NODES, Nodes, join_trainings


def join(
    nodes: Annotated[
        str,
        typer.Argument(
            envvar=NODES,
            help="Number of machines, and address of the first one, as in 2@10.0.0.5:29500.",
            show_default=False,
        ),
    ],
) -> None:
    """Take part in the trainings of another machine, until Ctrl-C.

    Example: `chatmill join 2@10.0.0.5:29500` on the second machine, and on the first one
    `CHATMILL_NODES=2@10.0.0.5:29500 chatmill run`. Next: `chatmill run` on the first machine.
    """
    machines, console = Nodes.read(nodes), Console()
    console.print(f"waiting for trainings at {escape(f'{machines.host}:{machines.port}')}; Ctrl-C ends it")
    join_trainings(machines, lambda text: console.print(escape(text)))
