"""Label Studio's annotations as version 1.23.2 gives them. `make label-studio` tests against the server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree

import pytest

from model.errors import UserError
from tasks.label_exchange.batch_items import ExchangedBatch, ExchangedItem
from tasks.label_exchange.label_studio import labelling_config, project_values, read_annotation, task_data
from tasks.label_exchange.label_studio_client import LabelStudioClient
from tasks.label_exchange.returned_judgements import ReturnedJudgement

ASPECT = 'truth & "tone" <x>'
ITEM = ExchangedItem("b14905284d90a35c", "Why?", "Because.", "So.")
BATCH = ExchangedBatch(1, "first", "dba5f755e737e5c9", "69ad57f18dfd1ea9", "# <b>", (ASPECT,), 2, (ITEM,))
# As the page of Label Studio 1.23.2 saved them, by a key and by the button Submit.
ANNOTATION = json.loads("""
{"id": 16, "result": [{"value": {"choices": ["answer1"]}, "id": "WxunuFtC7n", "from_name": "choice",
 "to_name": "conversation", "type": "choices", "origin": "manual"}],
 "created_username": " admin@example.org, 1", "created_ago": "0 minutes", "completed_by": 1,
 "was_cancelled": false, "ground_truth": false, "created_at": "2026-11-30T11:47:22.729288Z",
 "updated_at": "2026-11-30T11:47:22.729318Z", "draft_created_at": null, "lead_time": 14.956,
 "import_id": null,
 "last_action": null, "bulk_created": false, "task": 3, "project": 2, "updated_by": 1,
 "parent_prediction": null, "parent_annotation": null, "last_created_by": null}
""")
TASK = {"id": 3, "data": task_data(BATCH, ITEM, "Ana")}


def result(name: str, kind: str, *values: str) -> dict[str, Any]:
    key = "choices" if kind == "choices" else "text"
    return {"from_name": name, "to_name": "conversation", "type": kind, "value": {key: list(values)}}


def read(person: str = "Ana", **changes: Any) -> ReturnedJudgement | str:
    return read_annotation(BATCH, person, TASK, {**ANNOTATION, **changes}, {1: "admin@example.org"})


def test_read_annotation_has_choice_time_and_guide() -> None:
    assert read() == ReturnedJudgement(
        "Ana", "Ana", ITEM.digest, "16 2026-11-30T11:47:22.729318Z", "answer1", seconds=14.956,
        time="2026-11-30T11:47:22.729+00:00", guide=BATCH.guide,
    )  # fmt: skip


def test_read_annotation_project_of_nobody_is_by_the_account() -> None:
    found = read("")
    assert isinstance(found, ReturnedJudgement) and (found.person, found.order) == ("admin@example.org", "")
    found = read("", completed_by={"id": 9, "email": "eve@example.org"})
    assert isinstance(found, ReturnedJudgement) and found.person == "eve@example.org"
    assert "by a user whom Label Studio does not name" in read("", completed_by=7)  # type: ignore[operator]


def test_read_annotation_steps_texts_and_flag_are_read() -> None:
    said = [
        result("choice", "choices", "tie: both are equally good"), result("aspect_1", "choices", "4"),
        result("comment", "textarea", "good", "and short"), result("better", "textarea", "Why not?"),
        result("flag", "choices", "flag"),
    ]  # fmt: skip
    found = read(result=said)
    assert isinstance(found, ReturnedJudgement)
    assert (found.choice, found.steps, found.comment) == ("tie", {ASPECT: 4}, "good\nand short")
    assert (found.better, found.flag) == ("Why not?", True)


def test_read_annotation_skipped_item_has_no_choice() -> None:
    found = read(result=None, was_cancelled=True, lead_time="long")
    assert isinstance(found, ReturnedJudgement) and (found.choice, found.seconds) == ("", 0.0)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([], "annotation 16 of task 3 has no choice"),
        ([result("choice", "choices", "maybe")], "has no choice between the answers"),
        ("answer1", "has no choice between the answers"),
        ([{"from_name": "choice", "value": "answer1"}, "answer1"], "has no choice between the answers"),
        (
            [result("choice", "choices", "tie"), result("aspect_1", "choices", "9")],
            "has the step '9' of truth",
        ),
    ],
)
def test_read_annotation_unreadable_one_is_named(said: Any, reason: str) -> None:
    assert reason in read(result=said)  # type: ignore[operator]


def test_labelling_config_is_xml_with_a_control_for_each_question() -> None:
    tree = ElementTree.fromstring(labelling_config(BATCH))
    assert [each.get("name") for each in tree.iter("Choices")] == ["choice", "aspect_1", "flag"]
    assert [each.get("hotkey") for each in tree.iter("Choice")][:4] == ["1", "2", "0", "b"]
    assert any((each.get("value") or "").startswith(f"{ASPECT}: 1") for each in tree.iter("Header"))
    values = project_values(BATCH, "Ana " * 30)
    assert len(values["title"]) == 50 and "<b>" not in values["expert_instruction"]


def test_task_data_order_is_the_persons_and_names_no_model() -> None:
    orders = {
        tuple(task_data(BATCH, ITEM, f"p{n}")[key] for key in ("answer1", "answer2")) for n in range(20)
    }
    assert orders == {("Because.", "So."), ("So.", "Because.")}


@contextmanager
def answering(status: int, body: str, kind: str = "application/json") -> Iterator[str]:
    """Run a server that gives one answer to everything; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


PERSONAL = "a.secret.b"


@pytest.mark.parametrize(
    ("token", "status", "body", "reason"),
    [
        ("secret", 401, '{"detail": "Invalid token."}', "refuses the token; set LABEL_STUDIO_API_KEY"),
        (PERSONAL, 401, '{"detail": "Token is invalid"}', "refuses the token; set LABEL_STUDIO_API_KEY"),
        ("secret", 200, "<html>", "answers something else than JSON; set LABEL_STUDIO_URL"),
        (PERSONAL, 200, "<html>", "answers something else than JSON; set LABEL_STUDIO_URL"),
        ("secret", 200, "[]", "answers /api/projects without results and count"),
        ("secret", 400, '{"validation_errors": {"title": ["short"]}}', "400 to GET /api/projects: .*short"),
        ("secret", 302, "", "answers status 302 to GET /api/projects: no reason is given"),
    ],
)
def test_label_studio_client_wrong_answers_are_explained_without_the_token(
    token: str, status: int, body: str, reason: str
) -> None:
    with answering(status, body) as address, LabelStudioClient(address, token) as client:
        with pytest.raises(UserError, match=reason) as failed:
            client.projects()
        assert "secret" not in str(failed.value)


def test_label_studio_client_task_without_data_is_named() -> None:
    body = '{"total": 1, "tasks": [{"id": 7, "data": [], "annotations": []}]}'
    reason = "gives task 7 without data and annotations"
    with (
        answering(200, body) as address,
        LabelStudioClient(address, "x") as client,
        pytest.raises(UserError, match=reason),
    ):
        list(client.tasks(1))


def test_label_studio_client_unreachable_server_is_named() -> None:
    with (
        LabelStudioClient("http://127.0.0.1:9", "x") as client,
        pytest.raises(UserError, match="unreachable"),
    ):
        client.create_project({})
