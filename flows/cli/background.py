"""`chatmill up --detach`: run the same command in a background process."""

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
    """Run `chatmill` in the background, and print its output until its services are ready.

    Args:
        root: The project's folder.
        words: The arguments of the command line, as in `sys.argv[1:]`.

    Raises:
        typer.Exit: The process failed; its reason was printed.
        OSError: The disk is full.
    """
    console = Console(highlight=False, soft_wrap=True)
    log = root / LOGS / "up.log"
    prepare_records(root)
    log.parent.mkdir(exist_ok=True)
    begins = log.stat().st_size if log.exists() else 0
    # The child must not detach once more.
    kept = [word for word in words if word not in ("--detach", "-d")]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.main", *kept], stdin=subprocess.DEVNULL, stdout=file,
            stderr=file, start_new_session=True, env={**os.environ, DETACHED: "1"},
        )  # fmt: skip
    # The log is appended to, so only what this process writes after `begins` is shown.
    deadline = time.monotonic() + DETACHED_SECONDS
    begun, last = b"", ""
    with log.open("rb") as said:
        said.seek(begins)
        while True:
            # Look for the end before reading: output that is written just before the end is then read once
            # more.
            over = process.poll() is not None or _is_ready(root, process.pid)
            # The last piece may be half a line; it waits for its end.
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
            # With a full disk the process could not write its reason to the log.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log))
        # The last line of a failed command names the reason and the log.
        last = last or f"it ended with code {code}; see {log}"
        Console(stderr=True, highlight=False, soft_wrap=True).print(escape(last), style="red")
        raise typer.Exit(code)
    if code is None:
        # Another `up` may have held the lock; then no login link of this process may be printed.
        if (served := read_served(root)) and _is_ready(root, process.pid):
            print_login_link(root, served, console)
        console.print(f"[dim]`chatmill down` stops it. Log: {log}[/dim]")


def _is_ready(root: Path, pid: int) -> bool:
    """Return whether process `pid` serves this project and all its services have answered."""
    served = read_served(root)
    return served is not None and served.pid == pid and served.ready
