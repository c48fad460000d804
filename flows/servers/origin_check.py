"""Which requests a server accepts, by the name that they are for and the page that they come from.

A browser sends a page's request to 127.0.0.1 as readily as to any other host. The checks look at the name
that the request is for, which prevents DNS rebinding, at the page that it comes from, and at the browser's
own headers about both.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

ASGIMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
App = Callable[[ASGIMessage, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON, HTML = b"application/json", b"text/html; charset=utf-8"
POLICY_VIOLATION = 1008


class OriginCheck:
    """The names that a server answers to, and the pages that may ask it."""

    def __init__(self, hosts: tuple[str, ...], origins: tuple[str, ...] = ()) -> None:
        """Set the names and pages.

        Args:
            hosts: The names that the server answers to, without a port; `*` in one stands for anything.
            origins: The origins of other pages that may ask it, such as https://mill.example.
        """
        self.hosts, self.origins = hosts, origins

    def refusal_reason(self, scope: ASGIMessage, headers: Headers) -> str:
        """Return why a request is refused; empty if it is accepted."""
        hosts = header_values(headers, b"host")
        # Two Host headers: a proxy and the server might each take another one.
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return "this server does not accept that host name"
        origins = header_values(headers, b"origin")
        if any(not self._is_allowed(origin, hosts[0]) for origin in origins):
            return "this server rejects requests from pages of other origins"
        if origins:
            return ""
        # Requests for images, scripts and frames have no Origin; browsers describe them in Sec-Fetch headers
        # instead.
        site = header_values(headers, b"sec-fetch-site")
        if any(value not in ("same-origin", "none") for value in site) and not _is_navigation(scope, headers):
            return "this server rejects requests from pages of other origins"
        return ""

    def _is_own(self, host: str) -> bool:
        """Return whether a Host header names this server. Its port is ignored, as a tunnel may change it."""
        name = host_name(host)
        return bool(name) and any(fnmatchcase(name, own) if "*" in own else name == own for own in self.hosts)

    def _is_allowed(self, origin: str, host: str) -> bool:
        """Return whether an Origin header names this server's own pages, or pages that are allowed."""
        if origin in self.origins:
            return True
        scheme, separator, place = origin.partition("://")
        if scheme not in ("http", "https") or not separator:
            return False
        own = _with_port(host.lower(), scheme)
        # The server itself has no TLS. A TLS proxy at the usual port passes on a Host header without a port;
        # the origin of one at another port must be allowed.
        return _with_port(place.lower(), scheme) == own and (scheme == "http" or own.endswith(":443"))


def header_values(headers: Headers, name: bytes) -> list[str]:
    """Return the values of all headers of a name."""
    return [value.decode("latin-1") for found, value in headers if found.lower() == name]


def host_name(host: str) -> str:
    """Return the name or address in a Host header, in lower case; empty if it is malformed."""
    if not host.isascii() or any(letter in host for letter in "@/\\?# \t,"):
        return ""
    try:
        found = urlsplit(f"//{host}")
        _ = found.port
        return found.hostname or ""
    except ValueError:
        return ""


def _with_port(place: str, scheme: str) -> str:
    bare = place.rpartition("]")[2] if place.startswith("[") else place
    return place if ":" in bare else f"{place}:{443 if scheme == 'https' else 80}"


def _is_navigation(scope: ASGIMessage, headers: Headers) -> bool:
    """Return whether a person follows a link. That is safe: only they see the page; GET changes nothing."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and header_values(headers, b"sec-fetch-mode") == ["navigate"]
        and header_values(headers, b"sec-fetch-dest") == ["document"]
    )


async def send_response(
    send: Send, status: int, body: bytes, kind: bytes, more: Headers | None = None
) -> None:
    """Send a whole answer, which no cache may keep."""
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        *(more or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse_request(scope: ASGIMessage, receive: Receive, send: Send, reason: str) -> None:
    """Refuse a request, or a websocket before it is accepted."""
    if scope["type"] == "websocket":
        await receive()
        # A websocket that is closed before it is accepted gives the browser status 403.
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})
        return
    await send_error(send, 403, reason)


async def send_error(send: Send, status: int, detail: str, more: Headers | None = None) -> None:
    """Send an error as JSON with its `detail`."""
    await send_response(send, status, json.dumps({"detail": detail}).encode(), JSON, more)
