"""Test that the password of MLflow's server is sent to that server alone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mlflow.artifacts import download_artifacts, list_artifacts

from flows.servers.environment import QUIET
from model.errors import UserError
from tasks.common.url_secrets import conceal_secrets, reveal_secrets
from tasks.data.sources.download import parse_address
from tasks.tracking.artifact_hosts import check_artifact_host, trust_servers
from tests.tasks.tracking.mlflow_store import open_tracker
from tests.waiting import PATIENCE

OWN = "http://mill.example:5000"


class Listener(BaseHTTPRequestHandler):
    """Server that records requests; a path that begins with /to/ redirects to another port."""

    # WebSockets need HTTP/1.1.
    protocol_version = "HTTP/1.1"
    came: ClassVar[list[tuple[int, str, str]]] = []

    def do_GET(self) -> None:
        port: int = self.server.server_address[1]  # type: ignore[index,assignment]
        self.came.append((port, self.path, self.headers.get("Authorization", "")))
        if self.path.startswith("/to/"):
            _, _, other, rest = self.path.split("/", 3)
            self.send_response(307)
            scheme = "ws" if self.headers.get("Upgrade") else "http"
            self.send_header("Location", f"{scheme}://127.0.0.1:{other}/{rest}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_PUT = do_GET

    def log_message(self, *words: object) -> None:
        """Log nothing."""


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Start two servers; the environment holds the password of another one."""
    Listener.came.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "nobody-guesses-this")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Listener) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield servers[0].server_port, servers[1].server_port
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "found",
    [
        "http://127.0.0.1:9997/x", "https://mill.example:5000/x", "http://mill.example:5001/x",
        "HTTP://other.example/x", "mlflow-artifacts://other.example:5000/x", "http:/x", "http:///x", "http:x",
        "http://mill.example:5000@other.example/x", "http://other.example\\@mill.example:5000/x",
        "http://ann:word@mill.example:5000/x", "http://mill.example:5000.other.example/x",
        "mlflow-artifacts://mill.example:5000\t.other.example/x", "http://mill.example:port/x",
    ],
)  # fmt: skip
def test_check_artifact_host_foreign_host_is_refused(found: str) -> None:
    with pytest.raises(UserError, match="is not MLflow's server; nothing was sent there") as refused:
        check_artifact_host(found, OWN)
    assert "word" not in str(refused.value)


def test_check_artifact_host_own_server_or_folder_passes() -> None:
    for found in (
        "mlflow-artifacts:/1/run/artifacts", f"{OWN}/api/2.0/mlflow-artifacts/artifacts/1", "/srv/files",
        "mlflow-artifacts://mill.example:5000/1", "file:///srv/files", "s3://bucket/runs", "runs:/1/model",
        "HTTP://Mill.Example:5000/x",
    ):  # fmt: skip
        check_artifact_host(found, OWN)
    trust_servers([OWN, "https://files.example"])
    try:
        check_artifact_host("https://files.example:443/x", OWN)
        with pytest.raises(UserError):
            check_artifact_host("http://files.example/x", OWN)
    finally:
        trust_servers([])


@pytest.mark.parametrize("scheme", ["http", "mlflow-artifacts"])
def test_mlflow_client_foreign_host_gets_no_request(
    tmp_path: Path, ports: tuple[int, int], scheme: str
) -> None:
    place = f"{scheme}://127.0.0.1:{ports[0]}/files"
    tracker = open_tracker(tmp_path)
    run = tracker.client.create_run(tracker.client.create_experiment("foreign", place)).info
    if scheme == "http":
        for ask in (
            lambda: tracker.client.log_text(run.run_id, "a", "a.txt"),
            lambda: tracker.client.list_artifacts(run.run_id),
            lambda: tracker.client.download_artifacts(run.run_id, "a.txt", str(tmp_path)),
        ):
            with pytest.raises(UserError, match="is not MLflow's server"):
                ask()
    server = f"http://127.0.0.1:{ports[1]}"
    wanted: list[Any] = [download_artifacts, list_artifacts]
    for read in wanted:
        with pytest.raises(UserError, match="is not MLflow's server"):
            read(artifact_uri=f"{place}/model", tracking_uri=server)
    assert Listener.came == []


# Each client asks a server that redirects to another one.
REDIRECTED = {
    "MLflow": """
from mlflow import MlflowClient
try: MlflowClient(f"http://127.0.0.1:{first}/to/{second}").get_experiment("1")
except Exception as error: print(type(error).__name__)
""",
    "Prefect": """
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    try: client._client.get("/flows/filter")
    except Exception as error: print(type(error).__name__)
""",
    "Prefect's events": """
import asyncio
from prefect.events.clients import get_events_client
async def main():
    try:
        async with get_events_client(): pass
    except Exception as error: print(type(error).__name__)
asyncio.run(main())
""",
}


@pytest.mark.parametrize("client", REDIRECTED)
def test_clients_redirection_gets_no_password(
    tmp_path: Path, ports: tuple[int, int], client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ports
    program = f"first, second = {first}, {second}\n{REDIRECTED[client]}"
    for name, value in {
        **QUIET, "PREFECT_HOME": str(tmp_path), "PREFECT_API_AUTH_STRING": "ann:nobody-guesses-this",
        "PREFECT_API_URL": f"http://127.0.0.1:{first}/to/{second}/api", "PREFECT_CLIENT_MAX_RETRIES": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    asked = {port: [says for at, _, says in Listener.came if at == port] for port in ports}
    assert asked[first], done.stdout + done.stderr
    assert not any(asked[second]), Listener.came
    if client == "Prefect's events":
        # Here the password is the first message and not a header.
        assert not asked[second]
    else:
        assert all(asked[first]) and asked[second]


@pytest.mark.parametrize("name", ["CHATMILL_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"])
def test_parse_address_server_password_in_url_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"the address at files\.example asks for {name}, which belongs to"):
        parse_address(f"https://files.example/rows.jsonl?key=${{{name}}}")
    # A variable inside a longer value is recorded as a digest.
    recorded = conceal_secrets(f"https://files.example/rows.jsonl?key=a${{{name}}}")
    assert parse_address(recorded).name == "rows.jsonl"
    with pytest.raises(UserError, match=f"asks for {name}, which belongs to"):
        reveal_secrets(recorded)
