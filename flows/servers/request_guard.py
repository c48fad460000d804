"""The guard before Prefect's and MLflow's servers. It refuses requests that foreign web pages make.

A browser sends a page's request to 127.0.0.1 as readily as to any other host. Three checks keep foreign pages
out before the servers ask for the password. They look at the name that the request is for, the page that it
comes from, and the browser's own headers about both. The first check prevents DNS rebinding.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import asdict, dataclass

from flows.servers.credentials import Credentials
from flows.servers.login_links import LOGIN_PAGE, SESSION_USER, LoginLinks
from flows.servers.login_page import login_page
from flows.servers.origin_check import (
    HTML,
    JSON,
    App,
    ASGIMessage,
    Headers,
    OriginCheck,
    Receive,
    Send,
    header_values,
    host_name,
    refuse_request,
    send_error,
    send_response,
)

SESSION_PATH = "/chatmill-session"
LONGEST_BODY = 1024
# Descriptions of the API. Their pages load scripts of another host, which could read a session's password in
# the browser's storage.
_API_DOCS = frozenset(("docs", "redoc", "openapi.json"))


@dataclass(frozen=True)
class GuardSettings:
    """The names and pages that may ask a server.

    Attributes:
        hosts: The names that the server answers to, without a port; `*` in one stands for anything.
        origins: The origins of other pages that may ask it, such as https://mill.example.
        stores_login: Whether the server's page reads user and password from the browser's storage, as
            Prefect's does; otherwise the browser sends them by itself, as for MLflow's.
        next_port: The port of the server where a login link logs in next; 0: none.
        pages: The name and port of each server's pages, for the page after the login.
    """

    hosts: tuple[str, ...]
    origins: tuple[str, ...] = ()
    stores_login: bool = False
    next_port: int = 0
    pages: tuple[tuple[str, int], ...] = ()

    def dump(self) -> str:
        """Return the settings as `load` reads them."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> GuardSettings:
        """Return the settings that `dump` wrote."""
        found = json.loads(text)
        found["pages"] = tuple((name, port) for name, port in found["pages"])
        return cls(**{**found, "hosts": tuple(found["hosts"]), "origins": tuple(found["origins"])})


class RequestGuard:
    """An ASGI application that wraps a server's application."""

    def __init__(self, app: App, settings: GuardSettings, links: LoginLinks) -> None:
        self.app, self.settings, self.links = app, settings, links
        self.check = OriginCheck(settings.hosts, settings.origins)

    async def __call__(self, scope: ASGIMessage, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers: Headers = list(scope["headers"])
        if reason := self.check.refusal_reason(scope, headers):
            await refuse_request(scope, receive, send, reason)
            return
        if scope["type"] == "http":
            # A proxy before the server may read another end of the body, and so another next request.
            if header_values(headers, b"content-length") and header_values(headers, b"transfer-encoding"):
                detail = "a request has either Content-Length or Transfer-Encoding, not both"
                await send_error(send, 400, detail, [(b"connection", b"close")])
                return
            if _is_api_docs(scope["path"]):
                await send_error(send, 404, "this server has no pages that describe its API")
                return
            if scope["path"] == LOGIN_PAGE:
                await self._log_in(scope, receive, send, headers)
                return
            if scope["path"] == SESSION_PATH:
                await self._confirm_session(send, headers)
                return
            if not self._is_readable_login(headers):
                # Prefect's page asks for the password itself; a dialog of the browser would come before it.
                asks = [] if self.settings.stores_login else [(b"www-authenticate", b'Basic realm="mlflow"')]
                await send_error(send, 401, "expected one header Authorization: Basic USER:PASSWORD", asks)
                return
            # Not every page of the servers forbids frames itself.
            send = _deny_foreign(send, header_values(headers, b"host")[0])
        await self.app({**scope, "headers": self._without_session(headers)}, receive, send)

    def _without_session(self, headers: Headers) -> Headers:
        """Return the headers with a session's user and password replaced by the real ones."""
        if not self._has_session(headers):
            return headers
        real = self.links.login.header.encode()
        return [(name, real if name == b"authorization" else value) for name, value in headers]

    def _has_session(self, headers: Headers) -> bool:
        """Return whether a request belongs to an open session."""
        found = _read_login(headers)
        return found is not None and found[0] == SESSION_USER and self.links.is_session(found[1])

    def _is_readable_login(self, headers: Headers) -> bool:
        """Return whether a request has no login, or one that the server can compare with its own.

        MLflow answers status 500 to another scheme than Basic, and Prefect to a login that is not ASCII.
        """
        if not header_values(headers, b"authorization"):
            return True
        found = _read_login(headers)
        return found is not None and ("".join(found).isascii() or not self.settings.stores_login)

    async def _log_in(self, scope: ASGIMessage, receive: Receive, send: Send, headers: Headers) -> None:
        if scope["method"] == "GET":
            page, policy = login_page(self.settings.pages)
            await send_response(
                send, 200, page.encode(), HTML, [(b"content-security-policy", policy.encode())]
            )
            return
        # Only a script of the same origin can send JSON; a form of a foreign page cannot.
        if scope["method"] != "POST" or header_values(headers, b"content-type") != ["application/json"]:
            await send_response(send, 405, b"{}", JSON)
            return
        session = self._redeem_link(await _read_body(receive))
        if session is None:
            await send_response(send, 403, b"{}", JSON)
            return
        said = {
            "user": session.user, "password": session.password, "stored": self.settings.stores_login,
            "next": self._next_link(headers),
        }  # fmt: skip
        await send_response(send, 200, json.dumps(said).encode(), JSON)

    def _redeem_link(self, body: bytes) -> Credentials | None:
        try:
            code = json.loads(body)["code"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        # JSON may hold a lone surrogate, such as "\ud800", which cannot be encoded for hashing. Links are
        # ASCII.
        return self.links.redeem_code(code) if isinstance(code, str) and code.isascii() else None

    def _next_link(self, headers: Headers) -> str:
        """Return a link that logs in at the other server, by the host name of this request."""
        if not self.settings.next_port:
            return ""
        name = host_name(header_values(headers, b"host")[0])
        shown = f"[{name}]" if ":" in name else name
        return self.links.create_link(f"http://{shown}:{self.settings.next_port}")

    async def _confirm_session(self, send: Send, headers: Headers) -> None:
        """Answer so that the browser keeps a session's user and password, as after a login dialog."""
        if self._has_session(headers):
            await send_response(send, 200, b"{}", JSON)
        else:
            await send_response(send, 401, b"{}", JSON, [(b"www-authenticate", b'Basic realm="mlflow"')])


def _read_login(headers: Headers) -> tuple[str, str] | None:
    """Return the user and password of a request; None unless it has one header with both."""
    found = header_values(headers, b"authorization")
    if len(found) != 1:
        return None
    scheme, _, text = found[0].partition(" ")
    try:
        user, colon, password = b64decode(text, validate=True).decode().partition(":")
    except ValueError:  # not ASCII, not base64, or not UTF-8
        return None
    return (user, password) if scheme.lower() == "basic" and colon else None


async def _read_body(receive: Receive) -> bytes:
    body = b""
    while len(body) <= LONGEST_BODY:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body
    return b""


def _is_api_docs(path: str) -> bool:
    """Return whether a path is a description of the API, of the server or of the one below /api."""
    parts = [part for part in path.split("/") if part]
    return not _API_DOCS.isdisjoint(parts[:2] if parts[:1] == ["api"] else parts[:1])


def _deny_foreign(send: Send, host: str) -> Send:
    """Return a send function that keeps foreign pages and answers apart.

    Foreign pages may not show an answer in a frame, against clickjacking. A page may load nothing from
    another host.
    """
    # Not every browser counts a page's own WebSocket as 'self'.
    sockets = f" ws://{host} wss://{host}" if re.fullmatch(r"[\w.:\[\]-]+", host, re.A) else ""
    policy = (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        f"connect-src 'self' data: blob:{sockets}; base-uri 'self'"
    )

    async def sent(message: ASGIMessage) -> None:
        if message["type"] == "http.response.start":
            headers: Headers = list(message.get("headers", []))
            if not header_values(headers, b"x-frame-options"):
                headers.append((b"x-frame-options", b"SAMEORIGIN"))
            if any(kind.startswith("text/html") for kind in header_values(headers, b"content-type")):
                headers.append((b"content-security-policy", policy.encode()))
            message = {**message, "headers": headers}
        await send(message)

    return sent
