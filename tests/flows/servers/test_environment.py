"""The environment of a run: its servers, their passwords, and the variables of other checkouts."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.servers.credentials import SECRET_VARIABLES, read_login
from flows.servers.environment import (
    LOOPBACK,
    checkout_environment,
    find_running_services,
    health_problem,
    prepare_environment,
    query_status,
    reserve_port,
)
from flows.servers.state_file import Process, Served, open_state_file
from model.errors import UserError
from tasks.tracking.tracker import Tracker


class Healthy(http.server.BaseHTTPRequestHandler):
    wants = ""

    def do_GET(self) -> None:
        asked = self.path.endswith(("/admin/version", "/get?experiment_id=0"))
        code = 200 if self.path.endswith("/health") else 404
        if self.wants and asked:
            code = 200 if self.headers["Authorization"] == self.wants else 401
        self.send_response(code)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", *SECRET_VARIABLES):
        os.environ.pop(name, None)


def test_prepare_environment_defaults_are_under_var(tmp_path: Path) -> None:
    settings = prepare_environment(tmp_path)
    assert settings.mlflow == f"sqlite:///{tmp_path}/var/mlflow.db" and settings.prefect == ""
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "var" / "prefect")
    assert os.environ["DO_NOT_TRACK"] and os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_find_running_services_returns_own_server_while_it_answers(
    tmp_path: Path, server: http.server.HTTPServer
) -> None:
    api = f"http://127.0.0.1:{server.server_port}/api"
    with open_state_file(tmp_path) as record:
        assert record is not None
        record.write_state(Served(1, 0.0, "chatmill up", api))
        assert (
            find_running_services(tmp_path) == record.read_last()
            and prepare_environment(tmp_path).prefect == api
        )
        record.write_state(Served(1, 0.0, "chatmill up", "http://127.0.0.1:9/api"))
        assert find_running_services(tmp_path) is None
        with open_state_file(tmp_path) as second:
            assert second is None
    # The lock ends with the process. The file stays, but without a lock it is not used.
    assert find_running_services(tmp_path) is None and (tmp_path / "var" / "up.json").read_text()


def test_prepare_environment_own_password_goes_only_to_own_servers(
    tmp_path: Path, server: http.server.HTTPServer
) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    prepare_environment(tmp_path, mlflow=address)
    assert not set(SECRET_VARIABLES) & set(os.environ)
    # The password is not sent to a server that the environment names without a password.
    os.environ |= {"PREFECT_API_URL": f"{address}/api", "MLFLOW_TRACKING_URI": address}
    prepare_environment(tmp_path)
    assert not set(SECRET_VARIABLES) & set(os.environ)
    del os.environ["PREFECT_API_URL"], os.environ["MLFLOW_TRACKING_URI"]
    with open_state_file(tmp_path) as record:
        assert record is not None
        one = Process("MLflow", 1, address, "")
        record.write_state(Served(1, 0.0, "chatmill up", f"{address}/api", processes=(one,)))
        settings = prepare_environment(tmp_path, mlflow=address)
        assert os.environ["PREFECT_API_AUTH_STRING"] == settings.login.text
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == settings.login.password
        # A preset that names another server afterwards does not get the password.
        prepare_environment(tmp_path, mlflow=f"http://localhost:{server.server_port}")
        assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_prepare_environment_set_password_goes_only_to_set_server(
    tmp_path: Path, server: http.server.HTTPServer
) -> None:
    address, other = (f"http://{name}:{server.server_port}" for name in ("127.0.0.1", "localhost"))
    os.environ["CHATMILL_PASSWORD"] = "ann:a long password"
    prepare_environment(tmp_path, mlflow=address)
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ
    # The same holds for the variables that MLflow reads itself.
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        os.environ[name] = "for another server"
    os.environ["MLFLOW_TRACKING_URI"] = other
    prepare_environment(tmp_path, mlflow=address)
    assert not {"MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"} & set(os.environ)
    os.environ["MLFLOW_TRACKING_URI"] = address
    prepare_environment(tmp_path, mlflow=address)
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "a long password"
    # `up` allows these servers for its workers.
    os.environ["CHATMILL_SERVERS"] = f"{other} http://elsewhere:5000"
    prepare_environment(tmp_path, mlflow=other)
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "a long password"
    os.environ["MLFLOW_TRACKING_URI"] = ""
    prepare_environment(tmp_path, mlflow=address)
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_prepare_environment_mlflow_credentials_file_blocks_preset_server(
    tmp_path: Path, server: http.server.HTTPServer
) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    os.environ["HOME"] = str(tmp_path)
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text("[mlflow]\nmlflow_tracking_username = ann\n")
    with pytest.raises(
        UserError,
        match="contains a password that MLflow would send there; if it is meant for that server, "
        "set MLFLOW_TRACKING_URI",
    ):
        prepare_environment(tmp_path, mlflow=address)
    os.environ["MLFLOW_TRACKING_URI"] = address
    prepare_environment(tmp_path, mlflow=address)


def test_query_status_redirect_is_not_followed(server: http.server.HTTPServer) -> None:
    came: list[str] = []

    class Elsewhere(Healthy):
        def do_GET(self) -> None:
            came.append(self.headers["Authorization"])
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{server.server_port}{self.path}")
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as first:
        threading.Thread(target=first.serve_forever, args=(0.02,), daemon=True).start()
        assert query_status(f"http://127.0.0.1:{first.server_port}", read_login("ann:a long password")) == 302
        first.shutdown()
    assert len(came) == 1


def test_prepare_environment_unreachable_server_is_refused(
    tmp_path: Path, server: http.server.HTTPServer
) -> None:
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{server.server_port}/api"
    assert prepare_environment(tmp_path).prefect == os.environ["PREFECT_API_URL"]
    with pytest.raises(UserError, match=r"MLflow's server at http://127\.0\.0\.1:9 is unreachable"):
        prepare_environment(tmp_path, mlflow="http://someone:secret@127.0.0.1:9")
    assert "Connection refused" in health_problem("http://someone:secret@127.0.0.1:9")


def test_prepare_environment_server_with_login_needs_right_password(
    tmp_path: Path, server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Healthy, "wants", read_login("someone:a long password").header)
    address = f"http://127.0.0.1:{server.server_port}"
    os.environ |= {"PREFECT_API_URL": f"{address}/api", "MLFLOW_TRACKING_URI": address}
    with pytest.raises(
        UserError, match=r"Prefect's server at .* asks for a password; set CHATMILL_PASSWORD="
    ):
        prepare_environment(tmp_path)
    del os.environ["PREFECT_API_URL"]
    with pytest.raises(UserError, match=r"MLflow's server at .* asks for a password; set CHATMILL_PASSWORD="):
        prepare_environment(tmp_path)
    os.environ["CHATMILL_PASSWORD"] = "someone:another password"
    with pytest.raises(UserError, match=r"MLflow's server at .* rejects the user and password") as refused:
        prepare_environment(tmp_path, mlflow=address)
    assert "another" not in str(refused.value)
    os.environ |= {"PREFECT_API_URL": f"{address}/api", "CHATMILL_PASSWORD": "someone:a long password"}
    settings = prepare_environment(tmp_path, mlflow=address)
    assert settings.prefect and os.environ["MLFLOW_TRACKING_USERNAME"] == "someone"
    assert "a long password" not in repr(settings)
    # A password in the address is sent alone.
    os.environ["CHATMILL_PASSWORD"] = "someone:another password"
    assert query_status(f"http://someone:a%20long%20password@127.0.0.1:{server.server_port}", None) == 401
    del os.environ["PREFECT_API_URL"]
    os.environ["MLFLOW_TRACKING_URI"] = address.replace("//", "//someone:a%20long%20password@")
    prepare_environment(tmp_path)


def test_checkout_environment_drops_servers(tmp_path: Path) -> None:
    os.environ |= {"MLFLOW_TRACKING_URI": "http://a", "PREFECT_API_URL": "http://b", "AWS_PROFILE": "c"}
    os.environ["OMP_NUM_THREADS"] = "3"
    found = checkout_environment(tmp_path, "1")
    assert found["PYTHONPATH"] == str(tmp_path) and found["OMP_NUM_THREADS"] == "1"
    assert found["AWS_PROFILE"] == "c" and not any(name.startswith(("MLFLOW", "PREFECT")) for name in found)
    del os.environ["OMP_NUM_THREADS"]
    assert "OMP_NUM_THREADS" not in checkout_environment(tmp_path)


def test_reserve_port_is_given_to_no_other_program_and_a_server_can_use_it() -> None:
    with reserve_port() as reserved:
        port = reserved.getsockname()[1]
        assert reserved.getsockname()[0] == LOOPBACK
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((LOOPBACK, port))
        # Two servers, one after the other, as after a restart.
        for _ in range(2):
            with http.server.ThreadingHTTPServer((LOOPBACK, port), http.server.BaseHTTPRequestHandler):
                assert port in {each.laddr.port for each in psutil.Process().net_connections()}
                with socket.create_connection((LOOPBACK, port), timeout=5):
                    pass


@pytest.mark.parametrize("name", ["qu'o\"te", "a :b", 'x":y', "per%cent#", "new\nline", "-dash"])
def test_prepare_environment_mlflow_store_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = tmp_path / name
    root.mkdir()
    monkeypatch.chdir(root)
    settings = prepare_environment(root)
    tracker = Tracker(settings.mlflow, "demo", root / "var" / "mlflow")
    default = tracker.client.get_experiment("0")
    assert default.artifact_location == "mlflow-artifacts:/0"
    assert (root / "var" / "mlflow.db").is_file()


@pytest.mark.parametrize("logger", ["concurrency", "schemas", "retries"])
def test_prepare_environment_internal_errors_of_prefect_are_not_printed(tmp_path: Path, logger: str) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom flows.servers.environment import prepare_environment\n"
        "prepare_environment(Path(sys.argv[1]))\nfrom prefect.logging import get_logger\n"
        "from prefect.logging.configuration import setup_logging\nsetup_logging()\n"
        "get_logger(sys.argv[2]).error('a screenful')\nprint('done')"
    )
    words = [sys.executable, "-c", code, str(tmp_path), f"prefect._internal.{logger}"]
    done = subprocess.run(words, env=dict(os.environ), capture_output=True, text=True, check=True)
    assert done.stdout == "done\n" and "a screenful" not in done.stderr
