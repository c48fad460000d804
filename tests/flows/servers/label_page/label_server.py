"""A real server of the label page over a project of its own, and the people who use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from sqlalchemy import select

from flows.servers.environment import GUARD, GUARD_SECRETS, checkout_environment, free_port
from flows.servers.request_guard import GuardSettings
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.people import Role, add_person, create_login_code
from tasks.labelling.schema import JUDGEMENT_TABLE, LabelStore, open_label_store

REPOSITORY = Path(__file__).parents[4]
START_SECONDS = 60.0


class LabelServer:
    """A project's label page in a process of its own, which can be killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.store: LabelStore = open_label_store(root)
        self.start()

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        words = (
            "-m", "uvicorn", "--factory", "flows.servers.guarded_apps:label_app", "--host", "127.0.0.1",
            "--port", str(self.port), "--log-level", "warning", "--no-access-log",
        )  # fmt: skip
        environment = {
            **checkout_environment(REPOSITORY),
            GUARD: GuardSettings(("127.0.0.1", "localhost")).dump(),
            GUARD_SECRETS: str(self.root / "var" / "secrets"),
        }
        with (self.root / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *words], cwd=self.root, env=environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"{self.address}/health").status_code == 200:
                    return
            except httpx.TransportError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
            time.sleep(0.05)

    def kill(self) -> None:
        """End the process as a power cut would."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End the process, and close the store."""
        if self.process.poll() is None:
            self.kill()
        self.store.close()

    def link(self, name: str, role: Role = "labeller") -> str:
        """Return a link that signs a person in; they are added if they are new."""
        add_person(self.store, name, role)
        return f"{self.address}/sign-in#{create_login_code(self.store, name)}"

    def judgements(self) -> list[dict[str, object]]:
        """Return all rows of judgements, the oldest first."""
        with self.store.read() as connection:
            query = select(JUDGEMENT_TABLE).order_by(JUDGEMENT_TABLE.c.number)
            return [dict(row) for row in connection.execute(query).mappings()]

    def add(self, *items: LabelItem, name: str = "first", **settings: object) -> None:
        """Add a batch."""
        add_batch(self.store, BatchSettings(name, **settings), items)  # type: ignore[arg-type]


def question_items(count: int) -> list[LabelItem]:
    """Return items that tell their answers apart: `good 3` is `a`, `poor 3` is `b`."""
    return [LabelItem(f"Question {number}?", f"good {number}", f"poor {number}") for number in range(count)]
