"""A real browser for tests: Chromium, driven by ChromeDriver over the WebDriver protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from flows.servers.environment import reserve_port

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "no browser: install Debian's packages chromium and chromium-driver"
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)
WAIT_SECONDS = 20.0
# The last group keeps Chromium from asking hosts of its maker.
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


class Browser:
    """A window of a browser with a profile of its own."""

    def __init__(self, driver: str, profile: Path) -> None:
        self._client = httpx.Client(base_url=driver, timeout=60)
        options = {"binary": CHROMIUM, "args": [*_OPTIONS, f"--user-data-dir={profile}"]}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        found = self._client.post("/session", json={"capabilities": capabilities}).json()["value"]
        self._path = f"/session/{found['sessionId']}"
        self._address = found["capabilities"]["goog:chromeOptions"]["debuggerAddress"]
        self._first_window, self._context = self._ask("/window"), ""

    def open_window(self) -> None:
        """Open a window that shares no cookie, storage or cache with those of before.

        That takes a tenth of the time of another browser.
        """
        self._context = self._control("Target.createBrowserContext")["browserContextId"]
        made = self._control("Target.createTarget", url="about:blank", browserContextId=self._context)
        self._ask("/window", {"handle": made["targetId"]})

    def close_window(self) -> None:
        """Close the window that `open_window` opened, with all that it stored."""
        self._ask("/window", {"handle": self._first_window})
        self._control("Target.disposeBrowserContext", browserContextId=self._context)

    def _control(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol to the browser itself, not to a page."""
        found = httpx.get(f"http://{self._address}/json/version").json()
        with connect(found["webSocketDebuggerUrl"]) as socket:
            socket.send(json.dumps({"id": 1, "method": command, "params": parameters}))
            while (answer := json.loads(socket.recv(WAIT_SECONDS))).get("id") != 1:
                pass
        return answer["result"]

    def _ask(self, command: str, body: dict[str, Any] | None = None) -> Any:
        address = f"{self._path}{command}"
        answer = self._client.get(address) if body is None else self._client.post(address, json=body)
        found = answer.json()["value"]
        if answer.status_code != 200:
            raise RuntimeError(f"{command}: {found['error']}: {found['message']}")
        return found

    def open(self, address: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._ask("/url", {"url": address})

    @property
    def address(self) -> str:
        """Return the page's address."""
        return str(self._ask("/url"))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page; return what it returns."""
        return self._ask("/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """Return an element's text as the page has it; empty if there is none or it is hidden."""
        script = (
            "const found = document.querySelector(arguments[0]);"
            "return found && found.checkVisibility() ? found.innerText : '';"
        )
        return str(self.run(script, selector))

    def wait(self, script: str, *arguments: Any, seconds: float = WAIT_SECONDS) -> Any:
        """Wait until a function's body returns something true; return that."""
        deadline = time.monotonic() + seconds
        while not (found := self.run(script, *arguments)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not true after {seconds:.0f} s: {script}\n{self.text('body')}")
            time.sleep(0.02)
        return found

    def press(self, keys: str) -> None:
        """Press keys one after the other, as a person does, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        element = self._ask("/element", {"using": "css selector", "value": selector})
        self._ask(f"/element/{next(iter(element.values()))}/click", {})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Set the size of the page and its colours."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Write a picture of the window."""
        path.write_bytes(base64.b64decode(self._ask("/screenshot")))

    def logs(self) -> list[str]:
        """Return the errors on the page's console since the last call."""
        return [entry["message"] for entry in self._ask("/se/log", {"type": "browser"})]

    def close(self) -> None:
        """Close the window and end its browser."""
        self._client.delete(self._path)
        self._client.close()


@contextmanager
def chromedriver(log: Path) -> Iterator[str]:
    """Run ChromeDriver; yield its address."""
    with reserve_port() as reserved:
        port = reserved.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=output, stderr=output)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                if httpx.get(f"{address}/status").json()["value"]["ready"]:
                    break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()
