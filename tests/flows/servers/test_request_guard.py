"""The guard of both servers: which requests pass, and how a browser logs in."""

from __future__ import annotations

import json
import os
import re
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from flows.servers.credentials import Credentials
from flows.servers.login_links import LINK_SECONDS, SESSION_USER, LoginLinks
from flows.servers.login_page import login_page
from flows.servers.request_guard import GuardSettings, RequestGuard

LOGIN = Credentials("ann", "a long password")
OWN = "http://127.0.0.1:4200"
SETTINGS = GuardSettings(
    ("127.0.0.1", "localhost", "::1", "mill", "*.team.example"), ("https://mill.example",), True, 5000,
    (("Prefect", 4200), ("MLflow", 5000)),
)  # fmt: skip


async def answer(request: Request) -> JSONResponse:
    return JSONResponse({"authorization": request.headers.get("authorization", "")})


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.fixture
def guard(tmp_path: Path) -> RequestGuard:
    app = Starlette(routes=[Route("/api", answer, methods=["GET", "POST"]), WebSocketRoute("/in", talk)])
    return RequestGuard(app, SETTINGS, LoginLinks(tmp_path / "secrets", LOGIN))


@pytest.fixture
def client(guard: RequestGuard) -> TestClient:
    return TestClient(guard, base_url=OWN)


def is_answered(client: TestClient, headers: dict[str, str], method: str = "POST") -> bool:
    """Return whether a request passes, and check that HTTP and WebSocket agree."""
    code = client.request(method, "/api", headers=headers, content=b"[]").status_code
    assert code in (200, 403)
    try:
        with client.websocket_connect("/in", headers={"host": "127.0.0.1:4200", **headers}) as socket:
            assert socket.receive_text() == "hello"
        heard = True
    except WebSocketDisconnect as closed:
        assert closed.code == 1008
        heard = False
    assert heard == (code == 200)
    return heard


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:4200",
        "localhost:4200",
        "LOCALHOST:4200",
        "localhost:18000",
        "[::1]:4200",
        "mill",
        "a.team.example",
    ],
)
def test_request_guard_own_host_name_is_answered(client: TestClient, host: str) -> None:
    assert is_answered(client, {"host": host})
    assert is_answered(client, {"host": host, "origin": f"http://{host.lower()}"})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:4200", "127.0.0.1.evil.example", "localhost.evil.example:4200",
        "0.0.0.0", "[::]", "127.0.0.2:4200", "team.example", "", "localhost@evil.example",
        "evil.example#localhost", "localhost:4200, evil.example", "localhost:port", 
        "a.team.example.evil.example", "2130706433:4200",
    ],
)  # fmt: skip
def test_request_guard_foreign_host_name_is_refused(client: TestClient, host: str) -> None:
    assert not is_answered(client, {"host": host})
    assert not is_answered(client, {"host": host, "origin": f"http://{host}"})


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "http://localhost:9998", "http://127.0.0.1:9998", "http://127.0.0.1", "null",
        "",
        "http://127.0.0.1:42000", "http://localhost:4200", "http://127.0.0.1:4200.evil.example", "file://",
        "chrome-extension://127.0.0.1:4200", "http://mill.example", "https://mill.example.evil",
        "https://127.0.0.1:4200", "https://127.0.0.1", "https://localhost:4200",
        "ftp://127.0.0.1:4200", "//127.0.0.1:4200", "http://evil.example@127.0.0.1:4200",
    ],
)  # fmt: skip
def test_request_guard_foreign_origin_is_refused(client: TestClient, origin: str) -> None:
    for method in ("POST", "GET"):
        assert not is_answered(client, {"origin": origin}, method)


def test_request_guard_own_and_allowed_origins_are_answered(client: TestClient) -> None:
    assert is_answered(client, {"origin": OWN})
    assert is_answered(client, {"origin": "https://mill.example"})
    # Behind a TLS proxy the page has the same origin too.
    assert is_answered(client, {"host": "mill", "origin": "https://mill"})
    assert is_answered(client, {"host": "mill:443", "origin": "https://mill"})
    # Programs send no Origin header.
    assert is_answered(client, {})


@pytest.mark.parametrize(
    ("host", "origin"),
    [("mill:4200", "https://mill:4200"), ("mill", "http://mill:443"), ("[::1]:4200", "https://[::1]:4200")],
)
def test_request_guard_origin_of_another_scheme_is_refused(
    client: TestClient, host: str, origin: str
) -> None:
    assert not is_answered(client, {"host": host, "origin": origin})


@pytest.mark.parametrize(
    "path", ["/docs", "/docs/", "//docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/api/docs"]
)
def test_request_guard_api_descriptions_are_closed(guard: RequestGuard, path: str) -> None:
    async def open_app(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse({})(scope, receive, send)

    client = TestClient(RequestGuard(open_app, SETTINGS, guard.links), base_url=OWN)
    assert client.get(f"{OWN}{path}").status_code == 404
    # The password opens them no more than others.
    assert client.get(f"{OWN}{path}", auth=(LOGIN.user, LOGIN.password)).status_code == 404
    assert client.get(f"{OWN}/api/artifacts/docs").status_code == 200


def test_request_guard_page_may_load_from_its_own_host_only(guard: RequestGuard) -> None:
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse("<script src=https://elsewhere.example/a.js></script>")

    app = Starlette(routes=[Route("/", page), Route("/api", answer)])
    client = TestClient(RequestGuard(app, SETTINGS, guard.links), base_url=OWN)
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self'") and "ws://127.0.0.1:4200" in policy
    assert "http:" not in policy and "*" not in policy
    assert "content-security-policy" not in client.get("/api").headers


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something-new"])
def test_request_guard_cross_site_subresource_is_refused(client: TestClient, site: str) -> None:
    def code(**more: str) -> int:
        headers = {"sec-fetch-site": site, **{f"sec-fetch-{name}": value for name, value in more.items()}}
        return client.get("/api", headers=headers).status_code

    assert code(mode="no-cors", dest="image") == code(mode="cors", dest="empty") == 403
    assert code(mode="navigate", dest="iframe") == 403
    # A person may follow a link to a page of the server.
    assert code(mode="navigate", dest="document") == 200
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.post("/api", headers=headers).status_code == 403


def test_request_guard_forbids_foreign_frames(client: TestClient) -> None:
    assert client.get("/api").headers["x-frame-options"] == "SAMEORIGIN"


def log_in(client: TestClient, code: object, **headers: str) -> Any:
    told = {"content-type": "application/json", "origin": OWN, **headers}
    return client.post("/chatmill-login", content=json.dumps({"code": code}), headers=told)


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def test_login_link_works_once_and_leads_to_other_server(guard: RequestGuard, client: TestClient) -> None:
    link = guard.links.create_link(OWN)
    address, _, code = link.partition("#")
    assert address == f"{OWN}/chatmill-login" and len(code) > 40
    assert client.get("/chatmill-login").status_code == 200
    session = log_in(client, code).json()
    assert session["stored"] and session["user"] == SESSION_USER and LOGIN.password not in str(session)
    # The server receives the real password, only while the session is open.
    known = basic(session["user"], session["password"])
    assert client.get("/api", headers=known).json() == {"authorization": LOGIN.header}
    assert client.get("/chatmill-session", headers=known).status_code == 200
    assert log_in(client, code).status_code == 403
    # The link of the other server uses the host name that the browser used.
    assert re.fullmatch(r"http://127\.0\.0\.1:5000/chatmill-login#.{43}", session["next"])
    second = log_in(
        client, session["next"].partition("#")[2], host="localhost:4200", origin="http://localhost:4200"
    )
    assert second.json()["next"].startswith("http://localhost:5000/chatmill-login#")


@pytest.mark.parametrize(
    "code",
    ["", "x", "../password", "../../../etc/passwd", None, 3, ["a"], {"a": 1}, "é" * 150, "\ud800", "a\udfff"],
)
def test_login_invalid_code_is_refused(guard: RequestGuard, client: TestClient, code: object) -> None:
    guard.links.create_link(OWN)
    assert log_in(client, code).status_code == 403
    assert len(list((guard.links.folder / "links").iterdir())) == 1


@pytest.mark.parametrize("body", [b"[" * 1000, b'{"code":' * 128, b"\xff\xfe", b'{"code"', b"1" * 1000, b""])
def test_login_malformed_body_is_refused(client: TestClient, body: bytes) -> None:
    headers = {"content-type": "application/json", "origin": OWN}
    assert client.post("/chatmill-login", content=body, headers=headers).status_code == 403


def test_login_request_not_from_page_is_refused(guard: RequestGuard, client: TestClient) -> None:
    code = guard.links.create_code()
    assert log_in(client, code, origin="http://localhost:9998").status_code == 403
    assert log_in(client, code, **{"content-type": "text/plain"}).status_code == 405
    assert client.put("/chatmill-login").status_code == 405
    assert (
        client.post(
            "/chatmill-login", content=b"x" * 100_000, headers={"content-type": "application/json"}
        ).status_code
        == 403
    )
    assert log_in(client, code).status_code == 200


def test_redeem_code_expired_or_future_link_is_refused(guard: RequestGuard) -> None:
    links = guard.links
    old, new, ahead = (links.create_code() for _ in range(3))
    files = sorted((links.folder / "links").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(files) == 3 and all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    from flows.servers.login_links import _text_digest

    for code, age in ((old, LINK_SECONDS + 1), (ahead, -3600)):
        os.utime(links.folder / "links" / _text_digest(code), (time.time() - age,) * 2)
    assert links.redeem_code(old) is None and links.redeem_code(ahead) is None
    os.utime(links.folder / "links" / _text_digest(new), (time.time() - LINK_SECONDS + 60,) * 2)
    assert links.redeem_code(new)


def test_is_session_ends_with_time_password_and_key(
    guard: RequestGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = guard.links
    session = links.redeem_code(links.create_code())
    assert session is not None and links.is_session(session.password)
    expiry, nonce, signature = session.password.split(".")
    for forged in (
        f"9{expiry}.{nonce}.{signature}",
        f"{expiry}.{nonce}.",
        "",
        "..",
        f"{expiry}.{nonce}",
        "é.é.é",
    ):
        assert not links.is_session(forged)
    assert not LoginLinks(links.folder, Credentials("ann", "another password")).is_session(session.password)
    assert not LoginLinks(links.folder.parent / "other", LOGIN).is_session(session.password)
    monkeypatch.setattr(time, "time", lambda: float(expiry) + 1)
    assert not links.is_session(session.password)


def encoded(login: bytes) -> str:
    return f"Basic {b64encode(login).decode()}"


@pytest.mark.parametrize(
    "header",
    [
        "", "Basic", "Basic !", "Bearer x", "Bearer", "Negotiate abc", "x" * 100, "Bearer \xff", "Basic \xe4",
        'Digest username="x"', encoded(b"chatmill-session:\xff"), encoded(b"no colon"),
    ],
)  # fmt: skip
def test_request_guard_unreadable_login_is_401(guard: RequestGuard, header: str) -> None:
    for stores, asks in ((True, None), (False, 'Basic realm="mlflow"')):
        client = TestClient(
            RequestGuard(guard.app, replace(SETTINGS, stores_login=stores), guard.links), base_url=OWN
        )
        sent = {"authorization": header.encode("latin-1")}
        found = client.get("/api", headers=sent)
        assert found.status_code == 401 and found.headers.get("www-authenticate") == asks
        assert "Authorization" in found.json()["detail"]
        found = client.get("/chatmill-session", headers=sent)
        assert found.status_code == 401 and found.headers["www-authenticate"] == 'Basic realm="mlflow"'


def test_request_guard_two_logins_are_401(client: TestClient) -> None:
    for second in ("Bearer x", LOGIN.header):
        twice = [("authorization", LOGIN.header), ("authorization", second)]
        assert client.get("/api", headers=twice).status_code == 401


def test_request_guard_passes_readable_login_to_server(guard: RequestGuard, client: TestClient) -> None:
    for header in (LOGIN.header, encoded(b"eve:x"), encoded(b":"), LOGIN.header.replace("Basic", "BASIC")):
        assert client.get("/api", headers={"authorization": header}).json()["authorization"] == header
    # MLflow may have a user whose name is not ASCII; Prefect has one login, which is.
    other = {"authorization": encoded("zoë:pässword".encode())}
    assert client.get("/api", headers=other).status_code == 401
    of_mlflow = RequestGuard(guard.app, replace(SETTINGS, stores_login=False), guard.links)
    assert TestClient(of_mlflow, base_url=OWN).get("/api", headers=other).status_code == 200


@pytest.mark.parametrize("coding", ["chunked", "identity", "gzip, chunked"])
def test_request_guard_two_body_lengths_are_refused(client: TestClient, coding: str) -> None:
    sent = {"content-length": "2", "transfer-encoding": coding}
    found = client.post("/api", headers=sent, content=b"{}")
    assert found.status_code == 400 and found.headers["connection"] == "close"
    assert (
        client.post("/api", headers={"transfer-encoding": coding}, content=iter([b"{}"])).status_code == 200
    )


def test_login_page_policy_allows_only_own_script() -> None:
    page, policy = login_page(SETTINGS.pages)
    [nonce] = set(re.findall(r'nonce="([^"]+)"', page))
    assert f"script-src 'nonce-{nonce}'" in policy and "default-src 'none'" in policy
    assert '[["Prefect", 4200], ["MLflow", 5000]]' in page and login_page(())[0] != login_page(())[0]


def test_guard_settings_load_restores_dump() -> None:
    assert GuardSettings.load(SETTINGS.dump()) == SETTINGS
