"""A small hub on loopback: the endpoints from which models are fetched, and a second host for large files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.common import url_secrets
from tasks.data.sources import download

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_aSecretOfAna"


@dataclass
class HubState:
    """The files of ORG/NAME at one commit, the faults of the server, and the requests that it got."""

    files: dict[str, bytes] = field(default_factory=dict)
    name: str = "org/name"
    commit: str = COMMIT
    large: tuple[str, ...] = (".safetensors",)  # endings of files that the second host serves
    breaks: list[int] = field(default_factory=list)  # bytes after which each next large file ends
    token: str = ""  # the token without which the model is hidden
    terms: bool = False  # whether the account has still to accept terms
    replaced: dict[str, bytes] = field(default_factory=dict)  # content sent in place of the listed one
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # host, path, Authorization
    address: str = ""
    other: str = ""

    def paths(self) -> list[str]:
        """Return the requested paths."""
        return [path for _, path, _ in self.asked]


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def listing(state: HubState) -> dict[str, Any]:
    siblings = []
    for name, content in state.files.items():
        entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_digest(content)}
        if name.endswith(state.large):
            digest = hashlib.sha256(content).hexdigest()
            entry |= {"blobId": "0" * 40, "lfs": {"sha256": digest, "size": len(content), "pointerSize": 134}}
        siblings.append(entry)
    return {"id": state.name, "sha": state.commit, "siblings": siblings}


def handler(state: HubState, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, token = self.path.partition("?")[0], self.headers.get("Authorization", "")
            state.asked.append((host, path, token))
            if host == "storage":
                self._send_file(path.strip("/"), state.breaks.pop(0) if state.breaks else None)
            elif state.token and token != f"Bearer {state.token}":
                self.send_error(401)
            elif state.terms:
                self.send_error(403)
            elif path == f"/api/models/{state.name}":
                self._send(json.dumps(listing(state)).encode())
            elif path.startswith(f"/api/models/{state.name}/revision/"):
                known = path.rpartition("/")[2] in (state.commit, COMMIT, "main")
                self._send(json.dumps(listing(state)).encode()) if known else self.send_error(404)
            elif path.startswith(f"/{state.name}/resolve/{COMMIT}/"):
                name = path.rpartition("/")[2]
                if name.endswith(state.large):
                    self._redirect(f"{state.other}/{name}")
                else:
                    # As the hub does for a model that was renamed.
                    self._redirect(f"/moved/{name}")
            elif path.startswith("/moved/"):
                self._send_file(path.rpartition("/")[2], None)
            else:
                self.send_error(404)

        def _redirect(self, target: str) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send_file(self, name: str, end: int | None) -> None:
            content = state.replaced.get(name, state.files[name])
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self._send(content, start, end)

        def _send(self, content: bytes, start: int = 0, end: int | None = None) -> None:
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][:end])

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    return Handler


def serve(state: HubState, host: str, name: str) -> tuple[ThreadingHTTPServer, threading.Thread, str]:
    server = ThreadingHTTPServer((host, 0), handler(state, name))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    return server, thread, f"http://{host}:{server.server_port}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubState]:
    """Run a hub and its storage, and point the environment to them."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    state = HubState()
    hub, hub_thread, state.address = serve(state, "127.0.0.1", "hub")
    storage, storage_thread, state.other = serve(state, "127.0.0.1", "storage")
    before = dict(url_secrets._environment)
    url_secrets.use_environment({"HF_ENDPOINT": state.address})
    yield state
    url_secrets._environment.clear()
    url_secrets._environment.update(before)
    for server, thread in ((hub, hub_thread), (storage, storage_thread)):
        server.shutdown()
        thread.join()
        server.server_close()


def put_model(state: HubState, folder: Path) -> None:
    """Serve the files of a model folder, beside files that are not fetched."""
    state.files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    state.files |= {
        "README.md": b"# A model", "pytorch_model.bin": b"\x80pickle", "consolidated.safetensors": b"twice",
    }  # fmt: skip
