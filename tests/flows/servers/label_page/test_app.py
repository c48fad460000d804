"""The label page's application: who may ask it, sessions, tokens, and what it stores."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from flows.servers.label_page import access
from flows.servers.label_page.access import TOKEN_HEADER
from flows.servers.label_page.app import build_label_app, session_key
from flows.servers.label_page.guard import LONGEST_REQUEST
from flows.servers.label_page.login_attempts import LoginAttempts
from flows.servers.label_page.sessions import IDLE_SECONDS
from flows.servers.origin_check import OriginCheck
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.judgements import newest_judgements
from tasks.labelling.people import (
    Role,
    add_person,
    create_login_code,
    remove_person,
    set_password,
)
from tasks.labelling.schema import LabelStore, open_label_store

OWN = "http://127.0.0.1:4300"
PASSWORD = "a long password"
PAGES = ("/", "/review", "/overview", "/account")
KEYS = itertools.count()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    found = open_label_store(tmp_path)
    items = [LabelItem(f"Question {number}?", "good", f"poor {number}") for number in range(4)]
    add_batch(found, BatchSettings("first", needed=2, aspects=("truth",)), items)
    yield found
    found.close()


class Clock:
    """A clock that a test sets, so that it need not wait."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the limits on attempts to sign in use another clock; request this before `client`."""
    found = Clock()
    monkeypatch.setattr(access, "LoginAttempts", partial(LoginAttempts, found))
    return found


@pytest.fixture
def client(store: LabelStore, tmp_path: Path) -> TestClient:
    app = build_label_app(store, session_key(tmp_path / "secrets"), OriginCheck(("127.0.0.1", "localhost")))
    return TestClient(app, base_url=OWN, follow_redirects=False)


def signed_in(client: TestClient, store: LabelStore, name: str, role: Role = "labeller") -> dict[str, Any]:
    """Sign a person in by a link; later requests of the client carry the token."""
    add_person(store, name, role)
    answer = client.post("/api/sign-in/link", json={"code": create_login_code(store, name)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    client.headers[TOKEN_HEADER] = found["token"]
    return found


def judgement(item: int, **more: Any) -> dict[str, Any]:
    return {
        "key": f"key {next(KEYS)}", "item": item, "action": "judge", "choice": "left", "swapped": False,
        "seconds": 1.5, **more,
    }  # fmt: skip


def test_label_app_without_session_shows_sign_in_alone(client: TestClient) -> None:
    for page in PAGES:
        answer = client.get(page)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={page}")
    for path in ("/api/next", "/api/judgements", "/api/review/next", "/api/password", "/api/sign-out"):
        body = {"/api/judgements": {"person": "A", "judgements": [judgement(1)]}}.get(path, {"count": 1})
        assert client.post(path, json=body).status_code in (401, 422), path
    assert client.post("/api/next", json={"count": 1}).status_code == 401
    assert client.get("/api/items/1").status_code == client.get("/api/guides/x").status_code == 401
    assert client.get("/api/session").json() == {}
    assert client.get("/sign-in").status_code == client.get("/health").status_code == 200
    for path in ("/docs", "/redoc", "/openapi.json", "/static/../app.py"):
        assert client.get(path).status_code == 404


def test_label_app_every_answer_has_the_strict_policy(client: TestClient, store: LabelStore) -> None:
    signed_in(client, store, "Rita", "reviewer")
    for path in (*PAGES, "/sign-in", "/static/compare.js", "/api/session", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy, path
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    for page in PAGES:
        text = client.get(page).text
        # The policy would refuse all three.
        assert "<script>" not in text and " style=" not in text and " onclick=" not in text


def test_label_app_cookie_is_private_and_secure_behind_tls(client: TestClient, store: LabelStore) -> None:
    add_person(store, "Anna")
    for origin, host, secure in ((OWN, "127.0.0.1:4300", False), ("https://localhost", "localhost", True)):
        answer = client.post(
            "/api/sign-in/link", json={"code": create_login_code(store, "Anna")},
            headers={"origin": origin, "host": host},
        )  # fmt: skip
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and f"max-age={IDLE_SECONDS}" in cookie
        assert ("secure" in cookie) == secure


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example"])
def test_label_app_wrong_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/sign-in", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:4200"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_label_app_foreign_origin_is_refused(
    client: TestClient, store: LabelStore, headers: dict[str, str]
) -> None:
    signed_in(client, store, "Anna")
    body = {"person": "Anna", "judgements": [judgement(1)]}
    assert client.post("/api/judgements", json=body, headers=headers).status_code == 403
    assert list(newest_judgements(store)) == []
    assert client.post("/api/judgements", json=body, headers={"origin": OWN}).status_code == 200


def test_label_app_change_without_the_token_is_refused(client: TestClient, store: LabelStore) -> None:
    signed_in(client, store, "Anna")
    right = client.headers[TOKEN_HEADER]
    body = {"person": "Anna", "judgements": [judgement(1)]}
    for token in ("", "0" * 64, right[:-1], "ü"):
        for path, sent in (("/api/judgements", body), ("/api/next", {"count": 1}), ("/api/sign-out", {})):
            answer = client.post(path, json=sent, headers={TOKEN_HEADER: token.encode()})  # type: ignore[dict-item]
            assert answer.status_code == 403, (path, token)
    assert list(newest_judgements(store)) == []
    # A form of a foreign page can send text, and no JSON.
    answer = client.post("/api/judgements", content="{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 422


def test_label_app_token_of_another_session_is_refused(client: TestClient, store: LabelStore) -> None:
    first = signed_in(client, store, "Anna")["token"]
    second = signed_in(client, store, "Anna")["token"]
    assert first != second
    assert client.post("/api/next", json={"count": 0}, headers={TOKEN_HEADER: first}).status_code == 403
    assert client.post("/api/next", json={"count": 0}).status_code == 200


def test_sign_in_link_works_once(client: TestClient, store: LabelStore) -> None:
    add_person(store, "Anna")
    code = create_login_code(store, "Anna")
    assert client.post("/api/sign-in/link", json={"code": code}).json()["person"] == "Anna"
    assert client.post("/api/sign-in/link", json={"code": code}).status_code == 403
    kind = {"content-type": "application/json"}
    for body in (b'{"code": "\\ud800"}', b'{"code": 1}', b"{}", b'{"code": "x", "more": 1}'):
        assert client.post("/api/sign-in/link", content=body, headers=kind).status_code == 422, body


def test_sign_in_password_attempts_are_limited_by_name(
    clock: Clock, client: TestClient, store: LabelStore
) -> None:
    add_person(store, "Anna")
    set_password(store, "Anna", PASSWORD)
    add_person(store, "Bob")
    set_password(store, "Bob", PASSWORD)

    def tried(name: str, password: str) -> Response:
        return client.post("/api/sign-in/password", json={"name": name, "password": password})

    assert tried("Anna", "wrong password").status_code == 403
    waits = []
    while len(waits) < 4:
        wait = int(tried("Anna", "wrong password").headers.get("retry-after", 0))
        waits += [wait] if wait else []
        clock.now += 0 if len(waits) == 4 else wait
    # The page names a second more than the wait, as it cuts off fractions.
    assert waits == [2, 3, 5, 9]
    # The right password must wait as well; another person need not.
    answer = tried("Anna", PASSWORD)
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    assert "try again in" in answer.json()["detail"]
    assert tried("Bob", PASSWORD).status_code == 200
    assert tried("nobody", PASSWORD).status_code == 403


def test_change_password_ends_the_other_sessions(client: TestClient, store: LabelStore) -> None:
    signed_in(client, store, "Anna")
    other = dict(client.cookies)
    answer = client.post("/api/password", json={"password": "short"})
    assert answer.status_code == 422 and "5 characters" in answer.json()["detail"]
    answer = client.post("/api/password", json={"password": PASSWORD})
    assert answer.status_code == 200 and answer.json()["has_password"]
    client.headers[TOKEN_HEADER] = answer.json()["token"]
    assert client.post("/api/next", json={"count": 1}).status_code == 200
    client.cookies.clear()
    client.cookies.update(other)
    assert client.post("/api/next", json={"count": 1}).status_code == 401
    body = {"name": "  Anna ", "password": PASSWORD}
    assert client.post("/api/sign-in/password", json=body).status_code == 200


def test_removed_person_is_signed_out_at_once(client: TestClient, store: LabelStore) -> None:
    signed_in(client, store, "Anna")
    remove_person(store, "Anna")
    assert client.post("/api/next", json={"count": 1}).status_code == 401
    assert client.get("/").status_code == 303


def test_sign_out_ends_the_session(client: TestClient, store: LabelStore) -> None:
    signed_in(client, store, "Anna")
    cookies = dict(client.cookies)
    assert client.post("/api/sign-out").status_code == 200
    assert client.get("/").status_code == 303
    # A copy of the cookie is worth nothing.
    client.cookies.update(cookies)
    assert client.get("/").status_code == 303


def test_labeller_sees_no_reviews_and_no_overview(client: TestClient, store: LabelStore) -> None:
    signed_in(client, store, "Anna")
    assert [client.get(path).headers["location"] for path in ("/review", "/overview")] == ["/", "/"]
    assert client.post("/api/review/next", json={}).status_code == 403
    body = {"person": "Anna", "judgements": [judgement(1, review=True)]}
    assert client.post("/api/judgements", json=body).status_code == 422
    assert "Overview" not in client.get("/").text


def test_next_hides_models_and_holds_items(client: TestClient, store: LabelStore) -> None:
    add_batch(store, BatchSettings("m"), [LabelItem("P", "x", "y", a_model="secret@1", b_model="secret@2")])
    signed_in(client, store, "Anna")
    found = client.post("/api/next", json={"count": 3, "since": "2000-01-01T00:00:00.000Z"}).json()
    assert len(found["items"]) == 3
    assert found["progress"] == {"judged": 0, "skipped": 0, "left": 5, "today": 0}
    known = [item["item"] for item in found["items"]]
    more = client.post("/api/next", json={"count": 3, "without": known})
    assert [item["prompt"] for item in more.json()["items"]] == ["Question 3?", "P"]
    assert "secret" not in more.text and "random" not in more.text
    for since in ("yesterday", "9999-99-99", "0001-01-01T00:00:00+23:00"):
        assert client.post("/api/next", json={"count": 0, "since": since}).status_code == 422


def test_judgements_of_another_person_are_refused(client: TestClient, store: LabelStore) -> None:
    signed_in(client, store, "Anna")
    body = {"person": "Bob", "judgements": [judgement(1)]}
    assert client.post("/api/judgements", json=body).status_code == 409
    assert list(newest_judgements(store)) == []


def test_judgements_are_stored_once_and_in_the_order_of_the_store(
    client: TestClient, store: LabelStore
) -> None:
    signed_in(client, store, "Anna")
    sent = [judgement(1, choice="left", swapped=True, steps={"truth": 1}, comment="a\0b"), judgement(2)]
    for _ in range(2):
        answer = client.post("/api/judgements", json={"person": "Anna", "judgements": sent})
        assert answer.json() == {"stored": [one["key"] for one in sent]}
    rows = [dict(row) for row in newest_judgements(store)]
    assert [(row["choice"], row["steps"], row["comment"]) for row in rows] == [
        ("b", {"truth": 5}, "a\ufffdb"), ("a", {}, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {"choice": "both"},
        {"choice": ""},
        {"item": 999},
        {"item": -1},
        {"item": 2**63},
        {"item": "1"},
        {"seconds": -1},
        {"steps": {"truth": 6}},
        {"steps": {"truth": True}},
        {"steps": {"unknown": 3}},
        {"comment": "x" * 100_001},
        {"better": "\ud800"},
        {"key": ""},
        {"key": "ü"},
        {"person": "Bob"},
        {"action": "delete"},
    ],
)
def test_judgements_not_valid_are_refused_with_a_reason(
    client: TestClient, store: LabelStore, more: dict[str, Any]
) -> None:
    signed_in(client, store, "Anna")
    # Written here, as the client writes no lone surrogates.
    body = json.dumps({"person": "Anna", "judgements": [{**judgement(1), **more}]})
    kind = {"content-type": "application/json"}
    answer = client.post("/api/judgements", content=body, headers=kind)
    assert answer.status_code == 422 and len(answer.json()["detail"]) > 10
    assert list(newest_judgements(store)) == []


def test_label_app_bodies_that_are_too_long_or_damaged_are_refused(
    client: TestClient, store: LabelStore
) -> None:
    signed_in(client, store, "Anna")
    kind = {"content-type": "application/json"}
    long = client.post("/api/judgements", content=b"[" + b" " * LONGEST_REQUEST + b"]", headers=kind)
    assert long.status_code == 413
    for body in (b"", b"{", b"[" * 100_000, b"\xff", b"null", b'{"person": NaN}'):
        assert client.post("/api/judgements", content=body, headers=kind).status_code in (400, 422), body
    both = {**kind, "content-length": "2", "transfer-encoding": "chunked"}
    assert client.post("/api/next", content=b"{}", headers=both).status_code == 400


def test_review_shows_names_in_the_order_of_the_reviewer(client: TestClient, store: LabelStore) -> None:
    for name, choice in (("Anna", "left"), ("Bob", "right")):
        signed_in(client, store, name)
        sent = judgement(1, choice=choice, steps={"truth": 2}, comment="why\u202e")
        client.post("/api/judgements", json={"person": name, "judgements": [sent]})
    signed_in(client, store, "Rita", "reviewer")
    found = client.post("/api/review/next", json={}).json()["item"]
    assert found["waiting"] == 1 and found["item"] == 1
    said = {one["person"]: one for one in found["judgements"]}
    expected = ("right", "left", 4) if found["swapped"] else ("left", "right", 2)
    assert (said["Anna"]["choice"], said["Bob"]["choice"], said["Anna"]["steps"]["truth"]) == expected
    assert said["Anna"]["comment"] == "why[U+202E]"
    decision = judgement(1, choice="left", swapped=found["swapped"], review=True)
    answer = client.post("/api/judgements", json={"person": "Rita", "judgements": [decision]})
    assert answer.status_code == 200
    assert client.post("/api/review/next", json={}).json() == {"item": None}


def test_pages_escape_names(client: TestClient, store: LabelStore) -> None:
    signed_in(client, store, "<b>Eve & 'co' \"x\"", "reviewer")
    for page in PAGES:
        assert "<b>Eve" not in client.get(page).text
