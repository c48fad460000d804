"""`chatmill up` and `down`: real servers and workers, started, killed, started again and stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from subprocess import PIPE
from urllib.parse import urlsplit

import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from flows.cli.up import ServerRequest, serve_until_stopped
from flows.servers.credentials import SECRET_VARIABLES, Credentials, stored_login
from flows.servers.environment import (
    bind_problem,
    checkout_environment,
    free_port,
    health_problem,
    query_status,
)
from flows.servers.state_file import Served, last_addresses, read_served
from flows.servers.supervisor import MARK
from model.errors import UserError
from tests.integration.two_hosts import own_address
from tests.waiting import PATIENCE, until

REPOSITORY = Path(__file__).parents[3]
PASSWORD = "nobody-guesses-this"
HOST = own_address()


def chatmill(root: Path, *words: str, code: int = 0, **settings: str) -> str:
    command = [sys.executable, "-m", "flows.cli.main", *words]
    environment = {**checkout_environment(REPOSITORY), "COLUMNS": "120", **settings}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def free_ports() -> tuple[str, ...]:
    names = ("--prefect-port", "--mlflow-port", "--label-port")
    return tuple(word for name in names for word in (name, str(free_port())))


def running(root: Path) -> Served:
    found = read_served(root)
    assert found is not None
    return found


def of(root: Path) -> list[psutil.Process]:
    """Return every process that serves from a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(root):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("served")
    yield place
    chatmill(place, "down")


def files_of_runs(root: Path, mlflow: str, login: Credentials) -> None:
    """Check that files logged through the server are found without it, and the reverse."""
    from mlflow import MlflowClient

    from tasks.tracking.tracker import Tracker

    folder = root / "var" / "mlflow"
    local = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", folder)
    before = local.client.create_experiment("before", (folder / "artifacts").as_uri())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in login.client_environment.items():
            patch.setenv(name, value)
        client = MlflowClient(mlflow, mlflow)
        for experiment in (local.experiment, before, client.create_experiment("by the server")):
            run = client.create_run(experiment)
            client.log_text(run.info.run_id, "said through the server", "first.txt")
            local.client.log_text(run.info.run_id, "said to the store", "second.txt")
            names = {file.path for file in client.list_artifacts(run.info.run_id)}
            assert names == {"first.txt", "second.txt"}
            [kept] = folder.glob(f"artifacts/**/{run.info.run_id}/artifacts")
            assert {path.name for path in kept.iterdir()} == names
            read = Path(client.download_artifacts(run.info.run_id, "second.txt")).read_text()
            assert read == "said to the store"
            scheme = run.info.artifact_uri.partition(":")[0]
            assert scheme == ("file" if experiment == before else "mlflow-artifacts")


def status(address: str, body: bytes | None, **headers: str) -> int:
    """Return the HTTP status of a request. A body has no content type unless a header gives one."""
    parts = urlsplit(address)
    connection = HTTPConnection(parts.netloc, timeout=PATIENCE)
    connection.request("POST" if body else "GET", parts.path, body, headers)
    return connection.getresponse().status


def talk(address: str, token: str, **headers: str) -> str:
    """Return the answer of Prefect's event WebSocket to a password."""
    try:
        with connect(address, subprotocols=[Subprotocol("prefect")], additional_headers=headers) as socket:
            socket.send(json.dumps({"type": "auth", "token": token}))
            return str(json.loads(socket.recv(PATIENCE))["type"])
    except (InvalidStatus, ConnectionClosed) as refused:
        return type(refused).__name__


def refuse_foreign_pages(prefect: str, mlflow: str, login: Credentials) -> None:
    """Check that no request from a page of another origin reaches a server, even with the password."""
    flow = b'{"name": "foreign"}'
    known = {"Authorization": login.header}
    own = urlsplit(prefect).netloc
    socket = prefect.replace("http:", "ws:") + "/events/in"
    foreign: list[dict[str, str]] = [
        {"Origin": "http://localhost:9998"}, {"Origin": "null"}, {"Host": "evil.example"},
        {"Host": "evil.example:4200", "Origin": "http://evil.example:4200"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    ]  # fmt: skip
    for headers in foreign:
        for kind in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}):
            more = {**known, **headers, **kind}
            assert status(f"{prefect}/flows/", flow, **more) == 403
            assert status(f"{mlflow}/api/2.0/mlflow/experiments/create", flow, **more) == 403
        assert status(f"{prefect}/admin/version", None, **known, **headers) == 403
        assert talk(socket, login.text, **headers) == "InvalidStatus"
    # Requests without an origin need the password too.
    assert status(f"{prefect}/flows/", flow) == status(f"{mlflow}/", None) == 401
    assert talk(socket, "guessed") == "ConnectionClosedError"
    assert talk(socket, login.text) == talk(socket, login.text, Origin=f"http://{own}") == "auth_success"
    assert status(f"{prefect}/flows/filter", b"{}", **known, Origin=f"http://{own}") == 200
    request = urllib.request.Request(
        f"{prefect}/flows/filter", b"{}", {**known, "Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert not [one for one in json.load(answer) if one["name"] == "foreign"]


def log_in(link: str) -> str:
    """Follow a login link as its page does, check that the session works, and return the next link."""
    address, _, code = link.partition("#")
    server = address.removesuffix("/chatmill-login")
    request = urllib.request.Request(
        address, json.dumps({"code": code}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        session = json.load(answer)
    login = Credentials(session["user"], session["password"])
    question = f"{server}/api/admin/version" if session["stored"] else f"{server}/"
    assert status(question, None) == 401 and status(question, None, Authorization=login.header) == 200
    return str(session["next"])


def guarded(root: Path, said: str) -> None:
    """Check that both servers require the password, and that no file or process shows it."""
    login, served = Credentials("ann", PASSWORD), running(root)
    prefect, mlflow = served.prefect, served.processes[1].address
    for address in (prefect, mlflow):
        assert address.startswith(f"http://{HOST}:") and health_problem(address) == ""
        assert (
            query_status(address, None)
            == query_status(address, Credentials("ann", "another password"))
            == 401
        )
        assert query_status(address, login) == 200
    refuse_foreign_pages(prefect, mlflow, login)
    files_of_runs(root, mlflow, login)

    # A command sends the password; a command without it names the setting.
    assert "No model is registered" in chatmill(root, "models", CHATMILL_PASSWORD=login.text)
    assert "set CHATMILL_PASSWORD=" in chatmill(root, "models", code=2)

    shown = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()]
    assert not any(PASSWORD in word for word in (*shown, said))
    written = [path for path in root.rglob("*") if path.is_file()]
    assert written and not any(PASSWORD.encode() in path.read_bytes() for path in written)


# The steps of a run before its first stage.
BEGIN_RUN = """
from pathlib import Path
from flows.servers.ephemeral_prefect import EphemeralPrefectServer
from flows.servers.environment import prepare_environment

settings = prepare_environment(Path.cwd())
server = EphemeralPrefectServer(settings)
from tasks.tracking.tracker import Tracker

Tracker(settings.mlflow, "chatmill", settings.root / "var" / "mlflow")
server.wait_until_ready()
print(server.process is not None, server.api)
"""


@contextmanager
def begun_run(root: Path) -> Iterator[list[str]]:
    """Begin a run in another process; the list then has whether it started a server, and its address."""
    words = [sys.executable, "-c", BEGIN_RUN]
    found: list[str] = []
    with subprocess.Popen(
        words, cwd=root, env=checkout_environment(REPOSITORY), stdout=PIPE, stderr=PIPE, text=True
    ) as run:
        yield found
        said, failed = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0 and "Traceback" not in failed, failed
    found += said.split()


def test_up_starts_all_servers_and_down_stops_them(root: Path) -> None:
    ports = free_ports()
    # Both processes create the databases at the same time.
    with begun_run(root) as beside:
        said = chatmill(root, "up", "--detach", *ports)
    served = running(root)
    assert len(beside) == 2 and "MLflow's database" in said and "starting Prefect and MLflow" in said
    with begun_run(root) as later:
        pass
    assert later == ["False", served.prefect]
    assert served.ready
    assert [one.name for one in served.processes] == ["Prefect", "MLflow", "cpu", "gpu", "Label"]
    assert health_problem(served.processes[4].address) == ""
    assert all(one.address in said for one in served.processes)
    for one in served.processes[:2]:
        assert one.address.startswith("http://127.0.0.1:")
        assert health_problem(f"{one.address}/api" if one.name == "Prefect" else one.address) == ""
    own = stored_login(root)
    for one in served.processes[:2]:
        address = f"{one.address}/api" if one.name == "Prefect" else one.address
        assert query_status(address, None) == 401 and query_status(address, own) == 200
    # The hint names the file beside the link.
    assert "user and password: var/secrets/password" in said
    links = re.findall(r"http\S+/chatmill-login#\S+", said)
    assert len(links) == 1 and log_in(log_in(links[0])) == ""
    # Commands find the password, and no log has it or a link.
    assert "No model is registered" in chatmill(
        root, "models", MLFLOW_TRACKING_URI=served.processes[1].address
    )
    written = b"".join(path.read_bytes() for path in (root / "var" / "logs").iterdir())
    assert own.password.encode() not in written and b"chatmill-login#" not in written
    assert own.password not in said
    again = chatmill(root, "up", *ports)
    assert re.findall(r"http\S+/chatmill-login#\S+", again) not in ([], links)
    assert f"process {served.pid}" in again and "is running here since" in again
    assert running(root) == served

    # A killed server is started again on its port, and `up.json` has the new process.
    os.kill(served.processes[1].pid, signal.SIGKILL)
    until(lambda: running(root).processes[1].pid != served.processes[1].pid, "another start")
    until(lambda: health_problem(served.processes[1].address) == "", "an answer")
    assert "MLflow was killed (signal 9)" in (root / "var" / "logs" / "up.log").read_text()

    # If `up` is killed, its processes end too, and so do theirs.
    for one in (running(root).processes[1], served):
        os.kill(one.pid, signal.SIGKILL)
    until(lambda: not of(root), "their end")
    assert read_served(root) is None
    assert "nothing is running here" in chatmill(root, "down")

    guarded(
        root, chatmill(root, "up", "--detach", "--host", HOST, *ports, CHATMILL_PASSWORD=f"ann:{PASSWORD}")
    )
    assert "stopped" in chatmill(root, "down")
    assert read_served(root) is None and of(root) == []
    # The links of later runs lead to the same ports.
    assert [*last_addresses(root)] == ["Prefect", "MLflow", "Label"]
    assert HOST in last_addresses(root)["MLflow"]


def test_up_failed_start_reports_reason_once(tmp_path: Path) -> None:
    said = chatmill(tmp_path, "up", "--detach", "--host", "no-such-name", code=2)
    assert said.count("error:") == said.count("no-such-name is not an address or name of this machine") == 1
    (tmp_path / "var" / "mlflow").write_text("in the way")
    for words in (("dashboards",), ("up", "--detach")):
        said = chatmill(tmp_path, *words, code=2, CHATMILL_PASSWORD=f"ann:{PASSWORD}")
        assert said.count("error:") == said.count("var/mlflow is a file") == 1 and PASSWORD not in said
    # For an unexplained failure the message names the log.
    (tmp_path / "var" / "mlflow").unlink()
    broken = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "none", "CHATMILL_PASSWORD": f"ann:{PASSWORD}"}
    ports = free_ports()
    said = chatmill(tmp_path, "up", "--detach", *ports, code=1, **broken)
    assert said.count("details:") == said.count("chatmill failed:") == 1 and PASSWORD not in said


def test_down_removes_processes_left_by_killed_up(tmp_path: Path) -> None:
    left = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: str(tmp_path)}, start_new_session=True)
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        processes = [
            {"name": name, "pid": one.pid, "address": "", "shows": ""}
            for name, one in (("MLflow", left), ("cpu", other))
        ]
        (tmp_path / "var").mkdir()
        record = {"pid": 1, "since": 0.0, "command": "chatmill up", "processes": processes}
        (tmp_path / "var" / "up.json").write_text(json.dumps(record))
        # An ended process disappears only after its parent, this process, has waited for it.
        parent = threading.Thread(target=left.wait)
        parent.start()
        assert "of a killed `chatmill up`: MLflow" in chatmill(tmp_path, "down")
        parent.join(PATIENCE)
        assert left.poll() == -signal.SIGTERM
        # A recorded process id may now belong to another program.
        assert other.poll() is None
    finally:
        left.kill()
        other.kill()
        left.wait()
        other.wait()


@pytest.fixture
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", *SECRET_VARIABLES):
        os.environ.pop(name, None)


@pytest.mark.usefixtures("_own_environment")
def test_serve_until_stopped_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} is in use; `chatmill up --prefect-port"):
            serve_until_stopped(tmp_path, ServerRequest("chatmill up", "127.0.0.1", port, 1))
        assert "not an address of this machine" in bind_problem("192.0.2.1", port)


@pytest.mark.usefixtures("_own_environment")
def test_serve_until_stopped_unknown_host_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-name is not an address or name of this machine"):
        serve_until_stopped(tmp_path, ServerRequest("chatmill up", "no-such-name", 1, 1))
    assert {path.name for path in (tmp_path / "var").iterdir()} == {".gitignore", "up.json"}
