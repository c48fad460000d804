"""What the label page says where it cannot store: to browsers, on /health and in its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from flows.servers.label_page.access import TOKEN_HEADER
from flows.servers.label_page.app import CANNOT_STORE, build_label_app
from flows.servers.label_page.storage_log import StorageLog
from flows.servers.origin_check import OriginCheck
from tasks.labelling.people import add_person, create_login_code
from tasks.labelling.schema import LabelStore, open_label_store
from tests.tasks.labelling.label_project import batch


@pytest.fixture(autouse=True)
def _log_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    # A migration of a database in the same process, as other tests make, disables all loggers.
    monkeypatch.setattr(logging.getLogger(StorageLog.__module__), "disabled", False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    found = open_label_store(tmp_path)
    batch(found)
    yield found
    found.close()


def test_label_app_file_removed_answers_503_and_says_why(
    store: LabelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = TestClient(
        build_label_app(store, "k" * 64, OriginCheck(("127.0.0.1",))), "http://127.0.0.1:4300"
    )
    add_person(store, "Anna")
    code = create_login_code(store, "Anna")
    client.headers[TOKEN_HEADER] = client.post("/api/sign-in/link", json={"code": code}).json()["token"]
    assert client.get("/health").text == "ok"
    for path in (tmp_path / "var").glob("judgements.db*"):
        path.unlink()
    said = {"key": "k", "item": 1, "action": "judge", "choice": "left", "swapped": False, "seconds": 1.0}
    for path, body in (
        ("/api/judgements", {"person": "Anna", "judgements": [said]}),
        ("/api/next", {"count": 1}),
        ("/api/password", {"password": "a long password"}),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["detail"]) == (503, CANNOT_STORE), path
    health = client.get("/health")
    assert health.status_code == 503 and "var/judgements.db is missing" in health.text
    # Browsers try again all the time; the log has one line of it.
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert "cannot store: var/judgements.db is missing" in line and "chatmill restore" in line


def test_storage_log_repeated_fault_is_logged_once_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = StorageLog(lambda: now[0])
    for second, fault in ((0, "full"), (5, "full"), (10, "gone"), (11, "full"), (500, "full"), (900, "full")):
        now[0] = float(second)
        log.log(fault)
    said = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert said == ["full", "gone", "full", "full"]
