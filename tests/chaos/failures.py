"""Show and keep the logs and the folder of a chain with a fault."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

# A folder with a fault has this file, with the faults.
MARK = "faults.txt"
SHOWN_LINES = 20
_LINE = 400


def show_failure(root: Path, faults: Sequence[str]) -> None:
    """Print the faults of a chain and the last lines of its logs, and mark its folder to be kept."""
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).write_text("".join(f"{fault}\n" for fault in faults), encoding="utf-8")
    for fault in faults:
        print(f"  fault: {fault}")
    for log in failure_logs(root):
        print(f"  the end of {log}:")
        for line in last_lines(log):
            print(f"    {line[:_LINE]}")
    print(f"  {root} is kept", flush=True)


def failure_logs(root: Path) -> list[Path]:
    """Return the logs of a chain's commands and servers, then the tracebacks that its commands wrote."""
    return [*sorted(root.glob("*.log")), *sorted((root / "var" / "logs").glob("*.log"))]


def last_lines(log: Path) -> list[str]:
    """Return the last lines of a log."""
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LINES:]


def remove_faultless(folder: Path, unbroken: Path) -> None:
    """Remove the chains without a fault; if there is one with a fault, keep the `unbroken` one too."""
    marked = [path.parent for path in folder.glob(f"*/{MARK}")]
    for path in sorted(folder.iterdir()):
        if path not in marked and not (marked and path == unbroken):
            shutil.rmtree(path, ignore_errors=True)
    if not marked:
        shutil.rmtree(folder, ignore_errors=True)
