"""Test texts that as a whole are a printed list, object or quoted string."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.values.printed_values import holds_literal, holds_objects, holds_quoted, text_of_parts
from tests.tasks.data.parsing.row_reader import read, read_file

LITERALS = [
    '[{"generated_text": "Hi there"}]', "[{'label': 'bad', 'score': 0.9}]", "('Hi there',)", "('a', 'b')",
    "['a', None]", '["a", {"b": 1}]', "[['a', 'b'], ['c']]", "[u'a', u'b']", "[b'a']", "[('a', 1)]",
    "array(['a', 'b'], dtype=object)", "np.array(['a'], dtype='<U1')", "[np.str_('a'), np.float64(0.5)]",
    "{1: 2}",
]  # fmt: skip
OBJECTS = [
    "ChatCompletionMessage(content='Hi there', role='assistant', function_call=None)",
    "[AIMessage(content='Hi there', additional_kwargs={})]", "content='Hi' response_metadata={} id='run-1'",
    "[Document(page_content='foo', metadata={'a': 1})]", "role='assistant' content='Hi'",
    "Reply(text='Hi', at=datetime.datetime(2024, 1, 1), state=<State.BAD: 1>)", "dict_values(['Hi'])",
    "openai.Message(content=[TextBlock(text='Hi', type='text')])", "namespace(text='Hi')",
    "[object Object]", "[object Object],[object Object]", "<openai.Message object at 0x7f0a>",
]  # fmt: skip
QUOTED = ['"Hi there\\nfoo"', '"[\\"a\\", \\"b\\"]"', "'Hi there\\n'", "u'Hi'", '"caf\\u00e9"']
# Answers in prose and code.
ORDINARY = [
    "[1, 2, 3]", "(1, 2)", "[[1, 2], [3, 4]]", "[True, False]", "np.array([1, 2])", 'print("hello")',
    "sorted(words, key=len)", "Foo(bar=x)", "A(b=1, c=2)", "[x for x in 'abc']", "('Hi there')", "(A)",
    '"Hello"', '"Hi," she said. "You"', 'x = "a"', "{x: 1}", 'len("abc")', "class='a' id='b'", 'A="1" B="2"',
    "[1] Smith (2010)", "“Hi”", '"C:\\Users"', "it's 'a\\n'", '"First"\n"Second\\n"', "[a](b)", "<b>Hi</b>",
    "[citation needed]", "def f(x='a'):\n    return g(x='b')", "", "()", "[]", "x=1", "Bob said (loudly)",
]  # fmt: skip


@pytest.mark.parametrize("text", LITERALS)
def test_holds_literal_printed_list_or_object_is_found(text: str) -> None:
    assert holds_literal(text) and holds_literal(f"\n{text} ")


@pytest.mark.parametrize("text", OBJECTS)
def test_holds_objects_printed_class_is_found(text: str) -> None:
    assert holds_objects(text)


@pytest.mark.parametrize("text", QUOTED)
def test_holds_quoted_string_with_escapes_is_found(text: str) -> None:
    assert holds_quoted(text)


@pytest.mark.parametrize("text", ORDINARY)
def test_printed_values_ordinary_answer_is_none(text: str) -> None:
    assert not holds_literal(text) and not holds_objects(text) and not holds_quoted(text)


@pytest.mark.parametrize("key", ["prompt", "completion", "text", "chosen", "rejected"])
@pytest.mark.parametrize("text", [LITERALS[0], OBJECTS[1], QUOTED[0]])
def test_skip_counts_check_printed_own_text_is_asked_about(key: str, text: str) -> None:
    rows = {
        "text": {"text": "A robin."},
        "chosen": {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A cat."},
    }
    rows["rejected"] = rows["chosen"]
    row = rows.get(key, {"prompt": "Name a bird.", "completion": "A robin."})
    _, tally = read({**row, key: text}, row)
    with pytest.raises(UserError, match=f"the key {key} is .*fields: {{{key}: text}}"):
        tally.check("mine")
    found, tally = read({**row, key: text}, row, fields={key: "text"})
    tally.check("mine", {key: "text"})
    assert len(found) == 2


PARTS: list[Any] = [
    [{"type": "text", "text": "A robin."}],
    [{"type": "output_text", "text": "A robin.", "annotations": []}],
    [{"type": "text", "text": "A "}, {"type": "text", "text": "robin."}],
    {"type": "text", "text": "A robin."},
]


@pytest.mark.parametrize("parts", PARTS)
def test_read_rows_text_parts_are_their_text(parts: Any) -> None:
    found, tally = read({"prompt": "Name a bird.", "completion": parts})
    written = json.dumps(parts).replace('"', '""')
    table = SourceFile("a.csv", f'prompt,completion\nName a bird.,"{written}"\n'.encode())
    printed = SourceFile("a.csv", f'prompt,completion\nName a bird.,"{parts!r}"\n'.encode())
    rows = [*found, *read_file(table)[0], *read_file(printed)[0]]
    tally.check("mine")
    assert [row.row.completion for row in rows] == 3 * ["A robin."]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value",
    [
        [{"type": "image_url", "image_url": "u"}], [{"type": "text", "text": 1}], [], "A text", None,
        [{"type": "text", "text": "a", "verdict": "bad"}], [{"role": "user", "content": "a"}],
    ],
)  # fmt: skip
def test_text_of_parts_anything_else_is_none(value: Any) -> None:
    assert text_of_parts(value) is None


@pytest.mark.parametrize("key", ["tools", "functions", "images"])
@pytest.mark.parametrize("value", ['[{"name": "calc"}]', "['a.png']", "[Tool(name='calc')]"])
def test_read_rows_printed_tools_refuse_only_their_row(key: str, value: str) -> None:
    pair = {"prompt": "Name a bird.", "completion": "A robin."}
    found, tally = read({**pair, key: value}, pair)
    tally.check("mine")
    assert f"{key} is not supported" in found[0].row.fault and tally.faults == 1  # type: ignore[union-attr]
