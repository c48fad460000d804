"""The cookies of the label page's sessions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.servers.label_page import sessions
from flows.servers.label_page.sessions import IDLE_SECONDS, SessionSigner
from tasks.labelling.people import add_person, set_password
from tasks.labelling.schema import LabelStore, open_label_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    found = open_label_store(tmp_path)
    yield found
    found.close()


def test_read_cookie_damaged_or_foreign_is_none(store: LabelStore) -> None:
    signer = SessionSigner(store, "key")
    cookie, session = signer.open_session(add_person(store, "Anna")[0])
    assert signer.read_cookie(cookie) == session
    other = SessionSigner(store, "another key")
    assert other.read_cookie(cookie) is None and other.cookie != signer.cookie
    for wrong in ("", "x", cookie[:-1], cookie[1:], cookie + "x", cookie.replace(".", "..", 1), "ü" * 9):
        assert signer.read_cookie(wrong) is None


def test_read_cookie_after_a_week_without_use_is_none(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = SessionSigner(store, "key")
    cookie, _ = signer.open_session(add_person(store, "Anna")[0])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + IDLE_SECONDS - 60)
    found = signer.read_cookie(cookie)
    # A session in use gets a cookie that lasts another week.
    assert found is not None and found.renew
    renewed = signer.cookie_of(found.person, found.name)
    monkeypatch.setattr(time, "time", lambda: now + IDLE_SECONDS + 60)
    assert signer.read_cookie(cookie) is None
    again = signer.read_cookie(renewed)
    assert again is not None and again.token == found.token and not again.renew


def test_read_cookie_after_a_new_password_is_none(store: LabelStore) -> None:
    signer = SessionSigner(store, "key")
    cookie, _ = signer.open_session(add_person(store, "Anna")[0])
    set_password(store, "Anna", "a long password")
    assert signer.read_cookie(cookie) is None
    assert sessions.IDLE_SECONDS == 7 * 86_400
