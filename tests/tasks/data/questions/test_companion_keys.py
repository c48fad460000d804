"""Test the questions about keys without which a row would be learned as something else."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tests.tasks.data.parsing.row_reader import read

MILL = "The mill stands near the river, and it is old."


@pytest.mark.parametrize(
    ("row", "format", "says"),
    [
        ({"prompt": "Where?", "completion": "There.", "passage": MILL}, "rows",
         "looks like a passage that the prompt is about; .* add to the source columns: {context: passage}; "
         "to leave it out, fields: {passage: ignore}"),
        ({"prompt": "Where?", "completion": "There.", "Document": "老磨坊在河边没有人记得是谁建造的"},
         "rows", "columns: {context: Document}"),
        ({"instruction": "Say where.", "output": "There.", "article": MILL}, "alpaca", "{context: article}"),
        ({"prompt": "Where?", "a": "Here.", "b": "There.", "choice": "b", "story": MILL}, "rows",
         "columns: {context: story}"),
        ({"prompt": "Where?", "completion": "B", "choices": ["Here.", "There."]}, "rows",
         "options of a question that is answered by a letter"),
        ({"prompt": "Where?", "completion": "(c)", "A": "x", "B": "y", "C": "z"}, "rows",
         "A is 'x' and looks"),
        ({"prompt": "Where?", "completion": "2", "options": {"1": "x", "2": "y"}}, "rows", "the options of"),
        ({"prompt": "Where?", "completion": "There.", "rejected": "Go away."}, "rows",
         "columns: {chosen: completion, rejected: rejected} .* fields: {rejected: ignore}"),
        ({"instruction": "Say.", "output": "There.", "rejected_response": "Go away."}, "alpaca",
         "an answer that was not chosen; .* rejected: rejected_response}"),
        ({"prompt": "Where?", "completion": "There.", "Incorrect answer": "Go away."}, "rows",
         "an answer that was not chosen"),
        ({"text": MILL, "summary": "It is old."}, "rows",
         "an answer beside the text under text; .* columns: {prompt: text, completion: summary} .*"
         "fields: {summary: ignore}"),
        ({"text": MILL, "answers": {"text": ["It is old."]}}, "rows", "completion: answers"),
        ({"text": MILL, "question": "Is the mill old?"}, "rows",
         "a question beside the text under text; .* columns: {prompt: question, completion: text}"),
        ({"text": "### Human: Hi there### Assistant: Hello."}, "rows", "fields: {text: text}"),
        ({"text": "<s>[INST] Hi [/INST] Hello. </s>"}, "rows", "a conversation that was written as one text"),
        ({"text": "<|im_start|>user\nHi<|im_end|>"}, "rows", "a conversation that was written as one text"),
        ({"text": "\n\nHuman: Hi\n\nAssistant: Hello."}, "rows", "a conversation that was written as one"),
        ({"text": "USER: Hi there ASSISTANT: Hello."}, "rows", "a conversation that was written as one text"),
    ],
)  # fmt: skip
def test_check_key_that_changes_the_meaning_of_a_row_is_asked_about(
    row: dict[str, Any], format: str, says: str
) -> None:
    _, tally = read(row, format=format)
    with pytest.raises(UserError, match=says):
        tally.check("mine")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": f"Where?\n\n{MILL}", "completion": "There.", "passage": MILL},
        {"prompt": "Where?", "completion": "There.", "document": "report 7.pdf"},
        {"prompt": "Where?", "completion": "There.", "story": "The Old Mill"},
        {"prompt": "Where?", "completion": "There.", "choices": ["Here.", "There."]},
        {"prompt": "Where?", "completion": "B"},
        {"instruction": "Say where.", "output": "There.", "text": "### Instruction: Say where. There."},
        {"text": MILL, "title": "The mill by the river", "url": "http://a.b"},
        {"text": MILL, "target": "harbour"},
        {"text": "Human: the word means us, and it is old."},
        {"text": "He wrote [INST] into the file."},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
         "document": MILL, "answer": "Hello to you."},
    ],
)  # fmt: skip
def test_check_other_keys_are_not_asked_about(row: dict[str, Any]) -> None:
    found, tally = read(row)
    tally.check("mine")
    assert len(found) == 1


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"prompt": "Where?", "completion": "There.", "passage": MILL}, {"passage": "ignore"}),
        ({"text": MILL, "summary": "It is old."}, {"summary": "ignore"}),
        ({"text": "<|im_start|>user\nHi<|im_end|>"}, {"text": "text"}),
    ],
)
def test_check_answered_question_is_not_asked_again(row: dict[str, Any], fields: dict[str, Any]) -> None:
    found, tally = read(row, fields=fields)
    tally.check("mine", fields)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"text": MILL, "summary": "It is old."}, {"prompt": "text", "completion": "summary"}),
        ({"text": MILL, "question": "Is it old?"}, {"prompt": "question", "completion": "text"}),
        ({"prompt": "Where?", "completion": "There.", "passage": MILL}, {"context": "passage"}),
    ],
)
def test_check_proposed_columns_read_a_pair(row: dict[str, Any], columns: dict[str, str]) -> None:
    found, tally = read(row, format="rows", columns=columns)
    tally.check("mine")
    assert [type(one.row).__name__ for one in found] == ["Pair"] and not tally.unread
