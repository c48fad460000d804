"""Settings of the environment that other libraries read: proxies, threads, and a user without a name."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
import pytest
import requests

from flows.servers.environment import LOOPBACK, health_problem, prepare_environment
from flows.servers.process_settings import thread_count
from model.errors import UserError

ROOT = Path(__file__).parents[3]
NAMELESS = 2**31 - 9


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.mark.parametrize("kept", ["", "example.org", "example.org, 10.0.0.0/8", "*"])
def test_prepare_environment_proxy_is_not_used_for_servers_here(tmp_path: Path, kept: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        os.environ[name] = "http://127.0.0.1:9"
    for name in ("no_proxy", "NO_PROXY"):
        os.environ.pop(name, None)
    if kept:
        os.environ["NO_PROXY"] = kept
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        for host in (LOOPBACK, "localhost"):
            address = f"http://{host}:{server.server_port}/api"
            os.environ["PREFECT_API_URL"] = address
            prepare_environment(tmp_path)
            assert not health_problem(address)
            # What Prefect's and MLflow's clients choose by.
            assert requests.utils.should_bypass_proxies(address, no_proxy=None)
            assert httpx.get(f"{address}/health").status_code == 200
        server.shutdown()
    assert set(kept.replace(" ", "").split(",")) - {""} <= set(os.environ["NO_PROXY"].split(","))


@pytest.mark.parametrize("threads", ["0", "-1", "abc", "1.5", "4;2", "99999999", "2000", "1,0", "\u0662"])
def test_thread_count_invalid_setting_is_refused(threads: str) -> None:
    os.environ["OMP_NUM_THREADS"] = threads
    with pytest.raises(UserError, match=r"OMP_NUM_THREADS is .*expected a number of threads from 1 to 1,024"):
        thread_count()


@pytest.mark.parametrize(("threads", "count"), [("3", "3"), (" 2 ", "2"), ("4,2", "4,2"), ("1024", "1024")])
def test_thread_count_setting_is_used(threads: str, count: str) -> None:
    os.environ["OMP_NUM_THREADS"] = threads
    assert thread_count(7) == count
    os.environ["OMP_NUM_THREADS"] = " "
    assert thread_count(10_000) == "1"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="setpriv and root are needed")
@pytest.mark.parametrize("home", ["", "/", "/nonexistent"])
def test_data_diff_user_without_name_works(home: str) -> None:
    other = ("setpriv", f"--reuid={NAMELESS}", f"--regid={NAMELESS}", "--clear-groups")

    def run(folder: str, *words: str) -> subprocess.CompletedProcess[str]:
        # A number that no system gives to a user. The environment is that of a container.
        return subprocess.run(
            [*other, sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **({"HOME": home} if home else {})},
        )  # fmt: skip

    # Not tmp_path, whose parent only this user may enter.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NAMELESS, -1)
        try:
            run(folder, "-c", "import signal, dvc, flows").check_returncode()
        except subprocess.CalledProcessError:
            pytest.skip("other users of this machine cannot run this Python")
        (Path(folder) / "data").mkdir()
        os.chown(Path(folder) / "data", NAMELESS, -1)
        pointer = "outs: [{md5: 0123456789abcdef0123456789abcdef.dir}]"
        (Path(folder) / "data.dvc").write_text(pointer)
        done = run(folder, "-m", "flows.cli.main", "data", "diff", "working")
        assert done.returncode == 0, done.stderr
        assert "no row differs" in done.stdout
