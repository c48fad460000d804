"""Send batches to a real Label Studio, label through its API, fetch the judgements, and count them.

Run it with `make label-studio`, which installs Label Studio 1.23 into an environment of its own. The server
runs in a temporary folder and is stopped at the end. The exit code is 1 if a number is not as expected.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from flows.servers.environment import checkout_environment, free_port
from tasks.labelling.batches import list_batches
from tasks.labelling.judgements import newest_judgements
from tasks.labelling.queue import is_swapped
from tasks.labelling.schema import open_label_store

REPOSITORY = Path(__file__).parents[2]
PROGRAM = REPOSITORY / ".venv-label-studio" / "bin" / "label-studio"
ADMIN = "admin@example.org"
START_SECONDS, PUSH_SECONDS = 240.0, 120.0
ITEMS = 250


class Server:
    """A running Label Studio: its address, the tokens of its account, and a client."""

    def __init__(self, address: str, legacy: str) -> None:
        self.address, self.legacy = address, legacy
        self.client = httpx.Client(
            base_url=address, headers={"Authorization": f"Token {legacy}"}, timeout=120
        )

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return the answer to a request."""
        answer = self.client.request(method, path, json=body, params=query)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def personal_token(self) -> str:
        """Return a new personal access token, the kind that version 1.23 gives people."""
        return str(self.ask("POST", "/api/token/")["token"])

    def projects(self) -> list[dict[str, Any]]:
        """Return all projects, the oldest first."""
        found = self.ask("GET", "/api/projects", page=1, page_size=100)["results"]
        return sorted(found, key=lambda project: project["id"])

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """Return a project's tasks."""
        found: list[dict[str, Any]] = self.ask(
            "GET", "/api/tasks", project=project, fields="all", page=1, page_size=1000
        )["tasks"]
        return found

    def annotate(self, task: int, choice: str, **more: Any) -> int:
        """Label a task; return the annotation's number."""
        results = [result("choice", "choices", choice)] if choice else []
        body = {"result": results, "lead_time": 3.5, "was_cancelled": not choice, **more}
        return int(self.ask("POST", f"/api/tasks/{task}/annotations/", body)["id"])


def result(name: str, kind: str, value: str) -> dict[str, Any]:
    """Return an answer to a control, as Label Studio's page makes it."""
    key = "choices" if kind == "choices" else "text"
    return {"from_name": name, "to_name": "conversation", "type": kind, "value": {key: [value]}}


@contextmanager
def label_studio(folder: Path) -> Iterator[Server]:
    """Run Label Studio with a database of its own while the context lasts."""
    port, legacy = free_port(), secrets.token_hex(20)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO")},
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_USERNAME": ADMIN,
        "LABEL_STUDIO_PASSWORD": secrets.token_urlsafe(16),
        "LABEL_STUDIO_USER_TOKEN": legacy,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        # Nothing is told to anybody.
        "COLLECT_ANALYTICS": "0", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "0",
    }  # fmt: skip
    command = [
        PROGRAM, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port),
        "--log-level", "WARNING",
    ]  # fmt: skip
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    server = Server(f"http://127.0.0.1:{port}", legacy)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(server):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"Label Studio did not start:\n{(folder / 'server.log').read_text()[-3000:]}")
            time.sleep(0.5)
        yield server
    finally:
        # The program starts a child that serves.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_ready(server: Server) -> bool:
    try:
        return bool(server.ask("GET", "/api/users"))
    except httpx.HTTPError:
        return False


class Project:
    """A folder with a label page, in which commands are typed."""

    def __init__(self, root: Path, server: Server, token: str) -> None:
        self.root = root
        (root / "configs").mkdir()
        self._environment = {
            **checkout_environment(REPOSITORY),
            "LABEL_STUDIO_URL": server.address, "LABEL_STUDIO_API_KEY": token, "COLUMNS": "300",
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words], cwd=self.root, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def type(self, *words: str) -> str:
        """Run a command to its end; return what it prints."""
        process = self.start(*words)
        said = process.communicate(timeout=PUSH_SECONDS)[0]
        if process.returncode:
            sys.exit(f"chatmill {' '.join(words)} ended with {process.returncode}:\n{said}")
        return " ".join(said.split())

    def add_batch(self, name: str, needed: int, count: int) -> None:
        """Import a batch with one aspect."""
        rows = [
            {"prompt": f"{name} {n}?", "a": "right <b>", "b": "wrong", "a_model": "m@1"} for n in range(count)
        ]
        (self.root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ("--name", name, "--needed", str(needed), "--aspect", "truthfulness")
        self.type("label", "import", f"{name}.jsonl", *words)


class Checks:
    """Numbers against those that are expected."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, what: str, found: object, expected: object) -> None:
        """Print a line; count it if the two differ."""
        right = found == expected
        self.failed += not right
        print(f"{'ok    ' if right else 'FAILED'} {what}: {found}{'' if right else f', expected {expected}'}")


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> bool:
    """Kill a process as soon as something is reached; return whether it was alive then."""
    deadline = time.monotonic() + PUSH_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if reached():
            process.kill()
            process.communicate()
            return True
        time.sleep(0.01)
    process.communicate()
    return False


def check_two_people(server: Server, project: Project, checks: Checks) -> None:
    """Send a batch for two people, killed on the way; label all of it; fetch it twice."""
    project.add_batch("first", 2, ITEMS)
    for name in ("Ana", "Ben"):
        project.type("people", "add", name)
    push = ("label", "push", "first", "--to", "label-studio", "--person", "Ana", "--person", "Ben")
    killed = kill_when(project.start(*push), lambda: bool(server.projects()))
    there = sum(len(server.tasks(one["id"])) for one in server.projects())
    checks.check("push was killed on the way", (killed, 0 <= there < 2 * ITEMS), (True, True))
    print(f"       ({there} of {2 * ITEMS} items were there)")
    project.type(*push)
    projects = server.projects()
    tasks = [server.tasks(one["id"]) for one in projects]
    checks.check(
        "projects", [one["title"] for one in projects], ["chatmill first · Ana", "chatmill first · Ben"]
    )
    checks.check("items of each", [len(some) for some in tasks], [ITEMS, ITEMS])
    checks.check(
        "different ones", [len({one["data"]["chatmill_item"] for one in some}) for some in tasks], [ITEMS] * 2
    )
    checks.check("a second push adds", project.type(*push).count("0 items added"), 2)
    checks.check("models named", "m@1" in json.dumps([projects, tasks]), False)
    for some in tasks:
        for task in some[:40]:
            side = "answer1" if task["data"]["answer1"].startswith("right") else "answer2"
            step = "1" if side == "answer1" else "5"
            server.annotate(
                task["id"], side,
                result=[result("choice", "choices", side), result("aspect_1", "choices", step)],
            )  # fmt: skip
    skipped = server.annotate(tasks[0][40]["id"], "")
    said = project.type("label", "pull", "--from", "label-studio")
    checks.check("new judgements", "batch first: 81 new judgements by 2 people; 0 were known" in said, True)
    said = project.type("label", "pull", "first", "--from", "label-studio")
    checks.check("a second pull", "batch first: 0 new judgements; 81 were known" in said, True)
    changed = [result("choice", "choices", "tie"), result("comment", "textarea", "hm")]
    server.ask("PATCH", f"/api/annotations/{skipped}/", {"was_cancelled": False, "result": changed})
    said = project.type("label", "pull", "--from", "label-studio")
    checks.check("a changed annotation", "1 new judgement by 1 person; 80 were known" in said, True)
    # A person deletes an annotation, then judges the task again, then the task itself is deleted.
    taken = tasks[1][0]
    [there] = next(one for one in server.tasks(projects[1]["id"]) if one["id"] == taken["id"])["annotations"]
    server.ask("DELETE", f"/api/annotations/{there['id']}/")
    said = project.type("label", "pull", "--from", "label-studio")
    checks.check(
        "a deleted annotation", "80 were known; 1 withdrawn, as they are deleted there" in said, True
    )
    said = project.type("label", "pull", "--from", "label-studio")
    checks.check("… once", "0 new judgements; 80 were known" in said and "withdrawn" not in said, True)
    with open_label_store(project.root) as store:
        checks.check("judgements that count", len(list(newest_judgements(store))), 80)
    side = "answer1" if taken["data"]["answer1"].startswith("right") else "answer2"
    step = result("aspect_1", "choices", "1" if side == "answer1" else "5")
    server.annotate(taken["id"], side, result=[result("choice", "choices", side), step])
    said = project.type("label", "pull", "--from", "label-studio")
    checks.check("the same task judged again", "1 new judgement by 1 person; 80 were known" in said, True)
    server.ask("DELETE", f"/api/tasks/{taken['id']}/")
    said = project.type("label", "pull", "--from", "label-studio")
    checks.check("a deleted task", "1 of items that are not there any more still count" in said, True)
    with open_label_store(project.root) as store:
        rows = [dict(row) for row in newest_judgements(store)]
        [batch] = list_batches(store)
    checks.check("judgements in the store", (len(rows), batch.judged), (81, 81))
    tied = [row for row in rows if row["choice"] == "tie"]
    checks.check("its comment", [(row["person"], row["comment"]) for row in tied], [("Ana", "hm")])
    others = [row for row in rows if row["choice"] != "tie"]
    checks.check(
        "better answer by both", {(row["choice"], row["steps"]["truthfulness"]) for row in others}, {("a", 1)}
    )
    checks.check("seconds", {row["seconds"] for row in others}, {3.5})
    orders = {row["swapped"] == is_swapped(row["person"], row["item_digest"]) for row in rows}
    checks.check("blind order is each person's", (orders, len({row["swapped"] for row in rows})), ({True}, 2))


def check_one_each(server: Server, project: Project, checks: Checks) -> None:
    """Send a batch that needs one judgement an item: its annotations are by accounts of Label Studio."""
    project.add_batch("second", 1, 5)
    project.type("label", "push", "second", "--to", "label-studio")
    tasks = server.tasks(server.projects()[-1]["id"])
    for task in tasks:
        server.annotate(task["id"], "bad")
    # An annotation without an answer, as the page allows.
    server.annotate(tasks[0]["id"], "", was_cancelled=False)
    said = project.type("label", "pull", "second", "--from", "label-studio")
    checks.check("judgements of an account", "batch second: 5 new judgements by 1 person" in said, True)
    checks.check("one without a choice is named", "has no choice between the answers" in said, True)
    with open_label_store(project.root) as store:
        found = {row["person"] for row in newest_judgements(store) if row["batch_name"] == "second"}
    checks.check("its person", found, {ADMIN})


def main() -> int:
    """Run all checks; return the exit code."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    if not PROGRAM.is_file():
        sys.exit(f"{PROGRAM} is missing; `make label-studio` installs it")
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="label-studio-") as place:
        folders = [Path(place) / name for name in ("server", "project")]
        for folder in folders:
            folder.mkdir()
        with label_studio(folders[0]) as server:
            print(f"Label Studio {server.ask('GET', '/api/version')['release']}")
            token = server.personal_token()
            project = Project(folders[1], server, token)
            check_two_people(server, project, checks)
            legacy = Path(place) / "legacy"
            legacy.mkdir()
            check_one_each(server, Project(legacy, server, server.legacy), checks)
        secret = [
            path.name for path in folders[1].rglob("*")
            if path.is_file() and token.encode() in path.read_bytes()
        ]  # fmt: skip
        checks.check("files with the token", secret, [])
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
