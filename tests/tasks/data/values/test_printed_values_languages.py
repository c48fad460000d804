"""Test texts that are values as other programs print them, and lists in any text that is learned."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.data.values.printed_values import holds_other_print
from tests.tasks.data.parsing.row_reader import read

_PAIR = {"prompt": "Name a bird.", "completion": "A robin."}


@pytest.mark.parametrize(
    "text",
    [
        "0    A robin sings.\nName: answer, dtype: object",
        "0    A robin.\n1    A wren.\nName: answer, Length: 2, dtype: string",
        '{"text"=>"A robin sings."}',
        '[{:text=>"A robin", :n=>1}]',
        "{text: 'A robin sings.'}",
        "Array\n(\n    [text] => A robin sings.\n)",
        'a:1:{s:4:"text";s:7:"A robin";}',
        's:7:"A robin";',
        "<Answer.TEXT: 'A robin sings.'>",
        "tensor([[1, 2, 3]])",
    ],
)
def test_row_stream_value_of_another_program_is_asked_about(text: str) -> None:
    assert holds_other_print(text)
    for key in ("prompt", "completion"):
        _, tally = read({**_PAIR, key: text})
        assert tally.propose_all(tally.asks()) == {key: "text"}
        _, tally = read({**_PAIR, key: text}, fields={key: "text"})
        tally.check("mine", {key: "text"})


@pytest.mark.parametrize(
    "text",
    [
        "0 of them sing.", "3 birds\nsang, dtype: unknown to me.", "Array of birds (all of them).",
        "{x} is a set.", "<b>A robin: sings.</b>", "a: a robin", "A tensor has axes.", "{x: x > 0}", "[1, 2]",
    ],
)  # fmt: skip
def test_holds_other_print_ordinary_text_is_none(text: str) -> None:
    assert not holds_other_print(text)


@pytest.mark.parametrize("key", ["context", "input", "system", "system_prompt"])
@pytest.mark.parametrize(
    "value", ["['one', 'two']", '["c one", "c two"]', "{'title': ['A'], 'sentences': [['x']]}"]
)
def test_row_stream_list_as_text_beside_the_prompt_is_asked_about(key: str, value: str) -> None:
    rows: list[dict[str, Any]] = [{**_PAIR, key: value}, {**_PAIR, key: "plain"}]
    _, tally = read(*rows, format="rows")
    assert tally.propose_all(tally.asks()) == {key: "text"}
