"""Test cells with printed Python objects, paths with two values, and answers before the first question."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.empty_turns import GREETINGS
from tasks.data.values.printed_values import holds_objects
from tests.tasks.data.formats.export_reader import conversation
from tests.tasks.data.parsing.row_reader import read, read_file

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
PRINTED = [
    "{'verdict': 'bad', 'at': datetime.datetime(2024, 1, 1)}", "{'verdict': 'bad', 'id': UUID('12')}",
    "OrderedDict([('verdict', 'bad')])", "['answer', Decimal('1')]", "{'bad', 'wrong'}",
    "defaultdict(<class 'int'>, {'bad': 1})", "[{'a': <Status.BAD: 1>}]",
]  # fmt: skip


@pytest.mark.parametrize("text", PRINTED)
def test_holds_objects_printed_python_is_found(text: str) -> None:
    assert holds_objects(text)


@pytest.mark.parametrize(
    "text",
    [
        "print('hello')", "max(1, 2)", "['a', 'b']", "{'a': 1}", "(see 'Birds' by Ana)", "[1] A book (2nd)",
        "A set: {x, y}", "['unclosed', Decimal('1']", "[not a list]", "", ")", "('Hello' he said)",
    ],
)  # fmt: skip
def test_holds_objects_other_text_is_not(text: str) -> None:
    assert not holds_objects(text)


@pytest.mark.parametrize("key", ["meta", "completion", "info.raw"])
@pytest.mark.parametrize("text", PRINTED)
def test_skip_counts_check_printed_objects_are_asked_about(key: str, text: str) -> None:
    outer, _, inner = key.partition(".")
    _, tally = read({**PAIR, outer: {inner: text} if inner else text}, PAIR)
    with pytest.raises(UserError, match=f"the key {key} is .*written as text"):
        tally.check("mine")


def test_read_rows_printed_object_with_text_is_fault_with_true_reason() -> None:
    lines = "prompt,completion\nq,\"{'text': 'a', 'at': datetime.date(2024, 1, 2)}\"\nq,a\n"
    (found, _), _ = read_file(SourceFile("a.csv", lines.encode()))
    assert "completion holds printed Python objects and cannot be read" in found.row.fault  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "row", "other"),
    [
        ("votes.dan", {"votes.dan": 0, "votes": {"dan": 1}}, {"votes.dan": 1, "votes": {"dan": 1}}),
        ("a.b.c", {"a.b": {"c": 1}, "a": {"b.c": 0}}, {"a.b": {"c": 1}, "a": {"b.c": 1}}),
        ("m.x", {"m.x": "good", "m": {"x": "bad"}}, {"m": {"x": "bad"}}),
    ],
)
def test_read_rows_path_with_two_values_is_fault(
    path: str, row: dict[str, Any], other: dict[str, Any]
) -> None:
    found, tally = read({**PAIR, **row}, {**PAIR, **other}, fields={path: "vote"})
    assert tally.faults == 1 and f"line 1: {path} is" in found[0].row.fault  # type: ignore[union-attr]
    assert len(found[1].row.scores) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("turns", "count"),
    [
        (("s Be kind.", "a Hello.", "u Hi", "a Yes."), 1), (("u", "a Hello.", "u Hi", "a Yes."), 1),
        (("a Hello.", "a Welcome.", "u Hi", "a Yes."), 1), (("u Hi", "a Yes.", "u So?", "a Yes."), 0),
        (("s Be kind.", "u Hi", "a Yes."), 0),
    ],
)  # fmt: skip
def test_read_rows_answer_before_first_question_is_counted(turns: tuple[str, ...], count: int) -> None:
    found, tally = read(conversation(*turns))
    assert tally.left_out[GREETINGS] == count and found
