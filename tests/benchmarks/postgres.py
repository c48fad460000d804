"""Run many tasks at once while both servers keep their records in a real PostgreSQL; count lost states.

Run it with `make postgres`, or `python -m tests.benchmarks.postgres --tasks 1000`. It starts a PostgreSQL in
a temporary folder and stops it at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.servers.environment import checkout_environment, free_port

REPOSITORY = Path(__file__).parents[2]
USER, PASSWORD, NAME = "chatmill", "not-to-be-written-anywhere", "mill"
# Debian keeps the programs of a server out of the path.
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
SIDE_BY_SIDE = 8


def programs() -> Path | None:
    """Return the folder with PostgreSQL's programs; None if it is not installed."""
    found = shutil.which("initdb")
    return Path(found).parent if found else next(iter(DEBIAN), None)


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL server while the context lasts; yield its address for CHATMILL_DATABASE."""
    where = programs()
    assert where is not None
    # It refuses to run as root.
    other = pwd.getpwnam("postgres") if os.getuid() == 0 else None
    as_user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []} if other else {}
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    password = folder / "password"
    password.write_text(PASSWORD)
    for path in (folder, password):
        if other:
            os.chown(path, other.pw_uid, other.pw_gid)

    def call(program: str, *words: str) -> None:
        subprocess.run(
            [where / program, *words], check=True, cwd=folder, stdout=subprocess.DEVNULL, **as_user
        )

    data = str(folder / "data")
    # What a machine without power loses is not asked here.
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        call("initdb", "-D", data, "-U", USER, "--pwfile", str(password), "-A", "scram-sha-256")
        call("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/{NAME}"
        finally:
            call("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def crowd(root: Path, address: str, tasks: int) -> dict[str, Any]:
    """Run so many tasks of a flow in `root`; return the states in the databases, and the seconds."""
    settings = {"CHATMILL_DATABASE": address, "CHATMILL_PASSWORD": f"{USER}:{PASSWORD}"}
    environment = {**checkout_environment(REPOSITORY), **settings}
    words = [sys.executable, "-m", "tests.benchmarks.postgres", "--tasks", str(tasks), "--inside"]
    done = subprocess.run(words, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {
        **found,
        "prefect": _count(address, "prefect", "select state_type, count(*) from task_run group by 1"),
        "mlflow": _count(address, "mlflow", "select status, count(*) from runs group by 1"),
        "metrics": _count(address, "mlflow", "select key, sum(value) from metrics group by 1"),
    }


def _inside(tasks: int) -> dict[str, Any]:
    from flows.servers.environment import prepare_environment, query_status
    from flows.servers.ephemeral_prefect import EphemeralPrefectServer

    settings = prepare_environment(Path.cwd())
    server = EphemeralPrefectServer(settings)
    server.wait_until_ready()
    from prefect import flow, task
    from prefect.runtime import flow_run
    from prefect.task_runners import ThreadPoolTaskRunner

    from tasks.tracking.tracker import Tracker

    tracker = Tracker(settings.mlflow, "crowd", settings.var / "mlflow")

    @task
    def one(number: int) -> int:
        run = tracker.client.create_run(tracker.experiment, run_name=str(number))
        tracker.client.log_metric(run.info.run_id, "number", number)
        tracker.client.set_terminated(run.info.run_id)
        return number

    @flow(name="crowd", task_runner=ThreadPoolTaskRunner(max_workers=SIDE_BY_SIDE))  # type: ignore[arg-type]
    def crowd() -> tuple[str, int]:
        return str(flow_run.id), sum(future.result() for future in one.map(range(tasks)))

    began = time.monotonic()
    run, total = crowd()
    server.wait_for_tasks(run, tasks)
    seconds = time.monotonic() - began
    return {"seconds": seconds, "total": total, "stranger": query_status(server.api, None)}


def _count(address: str, owner: str, query: str) -> dict[str, int]:
    import psycopg2

    connection = psycopg2.connect(f"{address}_{owner}")
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return {str(name): int(count) for name, count in cursor.fetchall()}
    finally:
        connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(_inside(given.tasks)))
        return 0
    if programs() is None:
        print("PostgreSQL is not installed: Debian's package postgresql has it", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as root, postgresql() as address:
        found = crowd(Path(root), address, given.tasks)
    whole = {"COMPLETED": given.tasks}, {"FINISHED": given.tasks}
    lost = (found["prefect"], found["mlflow"]) != whole or found["metrics"] != {"number": found["total"]}
    print(f"{given.tasks} tasks, {SIDE_BY_SIDE} at a time, in {found['seconds']:.1f} s")
    print(f"Prefect: {found['prefect']}, MLflow: {found['mlflow']}")
    print("states are lost" if lost else "no state is lost")
    return int(lost)


if __name__ == "__main__":
    sys.exit(main())
