"""The guard before the label page: it refuses foreign requests and long bodies, and sets a strict policy."""

from __future__ import annotations

from contextlib import suppress

from flows.servers.origin_check import (
    App,
    ASGIMessage,
    Headers,
    OriginCheck,
    Receive,
    Send,
    header_values,
    refuse_request,
    send_error,
)

# A request may carry several judgements, each with a comment and an answer of 100,000 characters.
LONGEST_REQUEST = 4_000_000
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Headers = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]


class _BodyTooLongError(Exception):
    """A request's body is longer than LONGEST_REQUEST."""


class LabelGuard:
    """An ASGI application that wraps the label page's application."""

    def __init__(self, app: App, check: OriginCheck) -> None:
        self.app, self.check = app, check

    async def __call__(self, scope: ASGIMessage, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers: Headers = list(scope["headers"])
        reason = self.check.refusal_reason(scope, headers)
        if reason or scope["type"] == "websocket":
            await refuse_request(scope, receive, send, reason or "this server has no websockets")
            return
        lengths = header_values(headers, b"content-length")
        # A proxy before the server may read another end of the body, and so another next request.
        if lengths and header_values(headers, b"transfer-encoding"):
            detail = "a request has either Content-Length or Transfer-Encoding, not both"
            await send_error(send, 400, detail, [(b"connection", b"close")])
            return
        body = _LimitedBody(receive)

        async def sent(message: ASGIMessage) -> None:
            if body.is_too_long:
                # The application answers that it could not read the request; the right answer follows.
                return
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), *_HEADERS]
                if not header_values(headers, b"cache-control"):
                    # After an update no old script may meet a new page, and no cache keeps a person's items.
                    kept = b"no-cache" if scope["path"].startswith("/static/") else b"no-store"
                    headers.append((b"cache-control", kept))
                message = {**message, "headers": headers}
            await send(message)

        with suppress(_BodyTooLongError):
            await self.app(scope, body.receive, sent)
        if body.is_too_long:
            detail = f"the request is longer than {LONGEST_REQUEST:,} bytes"
            await send_error(send, 413, detail, [(b"connection", b"close")])


class _LimitedBody:
    def __init__(self, receive: Receive) -> None:
        self._receive, self._read = receive, 0

    @property
    def is_too_long(self) -> bool:
        return self._read > LONGEST_REQUEST

    async def receive(self) -> ASGIMessage:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self.is_too_long:
            raise _BodyTooLongError
        return message
