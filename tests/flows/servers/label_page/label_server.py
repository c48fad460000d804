"""A real server of the label page over a project of its own, and the people who use it."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import httpx
import uvicorn
from sqlalchemy import select

from flows.servers.environment import GUARD, GUARD_SECRETS, checkout_environment, free_port
from flows.servers.request_guard import GuardSettings
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.people import Role, add_person, create_login_code
from tasks.labelling.schema import JUDGEMENT_TABLE, LabelStore, open_label_store

REPOSITORY = Path(__file__).parents[4]
START_SECONDS = 60.0
APPLICATION = "flows.servers.guarded_apps:label_app"
# Every server is forked from one process that has imported all that a server imports.
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    ["pytest", "uvicorn", "flows.servers.guarded_apps", "flows.servers.label_page.app"]
)


def _serve(root: Path, port: int, environment: dict[str, str]) -> None:
    os.chdir(root)
    os.environ.clear()
    os.environ.update(environment)
    log = os.open("server.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    uvicorn.run(APPLICATION, factory=True, host="127.0.0.1", port=port, log_level="warning", access_log=False)


class LabelServer:
    """A project's label page in a process of its own, which can be killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.store: LabelStore = open_label_store(root)
        self.start()

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        environment = {
            **checkout_environment(REPOSITORY),
            GUARD: GuardSettings(("127.0.0.1", "localhost")).dump(),
            GUARD_SECRETS: str(self.root / "var" / "secrets"),
        }
        words = (self.root.absolute(), self.port, environment)
        self.process = _FORKED.Process(target=_serve, args=words)
        self.process.start()
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"{self.address}/health").status_code == 200:
                    return
            except httpx.TransportError:
                if time.monotonic() > deadline or not self.process.is_alive():
                    raise
            time.sleep(0.02)

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.process.kill()
        self.process.join()

    def close(self) -> None:
        """End the process, and close the store."""
        if self.process.is_alive():
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
