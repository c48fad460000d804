"""A judge behind an address on loopback, for tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[str], str]


def prefer_good(text: str) -> str:
    """Reply as a judge that prefers answers with the word good, and is sure of nothing else."""
    a, b = (part.splitlines()[0] for part in text.partition("# Answer A\n")[2].split("\n\n# Answer B\n"))
    return "TIE" if ("good" in a) == ("good" in b) else "**A**." if "good" in a else "Answer B"


@contextmanager
def endpoint(reply: Reply, statuses: list[int] | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve an OpenAI-style API on loopback; yield its address and the requests that it got."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
            status = statuses.pop(0) if statuses else 200
            text = reply(body["messages"][0]["content"]) if status == 200 else ""
            content = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            server.shutdown()
