"""Server of files on loopback, with faults that a test sets."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tasks.data.sources import download
from tests.tasks.data.source_reader import sha


@dataclass
class Served:
    """Files of a server on loopback, with the requests that it got and the faults that it has."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)  # bytes after which each next answer ends
    marks: bool = True
    ranges: bool = True
    length: bool = True
    status: int = 0
    url: str = ""


def handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            content = served.files.get(self.path.partition("?")[0])
            served.asked.append(wanted)
            if content is None or served.status:
                self.send_error(served.status or 404)
                return
            # Read before the answer: the client may hang up after the headers and ask again at once.
            end = served.breaks.pop(0) if served.breaks else None
            mark = f'"{sha(content)[:8]}"' if served.marks else ""
            start = 0
            if served.ranges and wanted and self.headers.get("If-Range", mark) == mark:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if mark:
                self.send_header("ETag", mark)
            if served.length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][:end])

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    return Handler


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    found = Served({"/texts/a.jsonl": b'{"text": "a"}\n' * 1000})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/texts/a.jsonl"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()
