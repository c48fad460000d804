"""`chatmill up --detach`: the same command in a process that stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import typer
from rich.markup import escape

from flows.cli.up_output import print_login_link
from flows.common.disk_space import is_disk_full
from flows.common.project_folder import prepare_records
from flows.common.terminal import Console
from flows.servers.state_file import read_served
from tasks.project.paths import LOGS

DETACHED_SECONDS = 400.0
# Set for the process in the background, whose log must hold no login link.
DETACHED = "CHATMILL_DETACHED"


def start_in_background(root: Path, words: list[str]) -> None:
    """Run `chatmill` with these words in the background, and print what it says until all answers.

    Raises:
        typer.Exit: It ended with a code that says that it failed; its reason was printed.
        OSError: The disk is full.
    """
    console = Console(highlight=False, soft_wrap=True)
    log = root / LOGS / "up.log"
    prepare_records(root)
    log.parent.mkdir(exist_ok=True)
    begins = log.stat().st_size if log.exists() else 0
    kept = [word for word in words if word not in ("--detach", "-d")]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.main", *kept], stdin=subprocess.DEVNULL, stdout=file,
            stderr=file, start_new_session=True, env={**os.environ, DETACHED: "1"},
        )  # fmt: skip
    deadline = time.monotonic() + DETACHED_SECONDS
    begun, last = b"", ""
    with log.open("rb") as said:
        said.seek(begins)
        while True:
            # What it said last is read after its end.
            over = process.poll() is not None or _is_ready(root, process.pid)
            *lines, begun = (begun + said.read()).split(b"\n")
            for line in [one.decode(errors="replace") for one in lines if one.strip()]:
                last = line
                # The reason of a failure follows once, in red.
                if not line.startswith(("Ctrl-C", "error:", "chatmill failed:")):
                    console.print(escape(line))
            if over or time.monotonic() > deadline:
                break
            time.sleep(0.2)
    code = process.poll()
    if code:
        if not last.startswith("error:") and is_disk_full(log, begins):
            # It could not write down why it ended.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log))
        # It has said why, and where more stands.
        last = last or f"it ended (code {code}); {log} may say why"
        Console(stderr=True, highlight=False, soft_wrap=True).print(escape(last), style="red")
        raise typer.Exit(code)
    if code is None:
        # The lock names whoever runs: this one, or the one that was there before.
        if (served := read_served(root)) and _is_ready(root, process.pid):
            print_login_link(root, served, console)
        console.print(f"[dim]`chatmill down` stops it. What it says goes to {log}.[/dim]")


def _is_ready(root: Path, pid: int) -> bool:
    """Whether that process serves here and all that it started has answered."""
    served = read_served(root)
    return served is not None and served.pid == pid and served.ready
