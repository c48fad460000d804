"""Functions for the launcher's tests that need no torch: a process that imports it takes seconds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.events import EventCallback, Step


def counting(steps: int, on_event: EventCallback) -> dict[str, Any]:
    for step in range(steps):
        on_event(Step(step, steps))
    print("a library's chatter")
    return {"steps": steps, "rank": os.environ.get("RANK", "alone")}


def refusing(on_event: EventCallback) -> dict[str, Any]:
    raise UserError("rlhf.steps is wrong; 3 would be right")


def crashing(on_event: EventCallback) -> dict[str, Any]:
    raise ZeroDivisionError("by nothing")


def dying(on_event: EventCallback) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def sleeping(path: str, on_event: EventCallback) -> dict[str, Any]:
    Path(path).write_text(str(os.getpid()))
    time.sleep(120)
    return {}


def looking(prompts: list[str], on_event: EventCallback) -> dict[str, Any]:
    """Return what other users of the machine see of this process and its parents."""
    pid, seen = os.getpid(), []
    for _ in range(3):
        seen.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"))
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    order = Path(seen[0][-2])
    return {"prompts": len(prompts), "seen": seen[:2], "order": str(order), "mode": oct(order.stat().st_mode)}
