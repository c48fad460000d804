"""Prompts from files, known items, and the draw of prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from model.events import Event
from tasks.data.labels.label_prompts import (
    AskedPrompt,
    draw_prompts,
    one_path,
    read_given_answers,
    read_prompts_of,
)
from tests.model.conftest import write_rows

TURNS = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


def read(root: Path, name: str, said: list[Event] | None = None) -> list[AskedPrompt]:
    return list(read_prompts_of([name], root, (), root, (said if said is not None else []).append))


def test_read_prompts_of_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("what is it?\n\n  why?  \n")
    assert [one.prompt for one in read(tmp_path, "p.txt")] == ["what is it?", "why?"]


def test_read_prompts_of_jsonl_keeps_history(tmp_path: Path) -> None:
    write_rows(tmp_path / "p.jsonl", [{"prompt": "why?", "history": TURNS}, {"prompt": "who?", "more": 1}])
    found = read(tmp_path, "p.jsonl")
    assert [(one.prompt, one.history) for one in found] == [("why?", TURNS), ("who?", [])]
    # As ingestion groups a conversation: by its first question.
    assert found[0].group == AskedPrompt("hello").group != found[1].group


def test_read_prompts_of_conversations_takes_every_question(tmp_path: Path) -> None:
    talk = [*TURNS, {"role": "user", "content": "why?"}, {"role": "assistant", "content": "so"}]
    write_rows(tmp_path / "log.jsonl", [{"messages": talk}, {"messages": TURNS}, {"messages": "broken"}])
    said: list[Event] = []
    found = read(tmp_path, "log.jsonl", said)
    assert [(one.prompt, one.history) for one in found] == [
        ("hello", []), ("why?", TURNS), ("hello", []),
    ]  # fmt: skip
    assert "log.jsonl: 1 row cannot be read" in str(said[0])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": " "}, "line 2: prompt is missing or no text"),
        ({"prompt": "a", "history": "b"}, "line 2: history is not a list"),
        ({"prompt": "a", "history": [{"role": "bot", "content": "x"}]}, "line 2: history has a turn"),
        ({"prompt": "a", "history": [{"role": "user"}]}, "line 2: content is missing or no text"),
    ],
)
def test_read_prompts_of_broken_row_names_line(tmp_path: Path, row: Mapping[str, Any], says: str) -> None:
    write_rows(tmp_path / "p.jsonl", [{"prompt": "fine"}, dict(row)])
    with pytest.raises(UserError, match=says):
        read(tmp_path, "p.jsonl")


def test_one_path_refuses_several_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="means 2 files"):
        one_path("*.jsonl", tmp_path)


def test_read_given_answers_first_answer_counts(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "a.jsonl", [{"prompt": "q", "completion": " one "}, {"prompt": "q", "completion": "two"}]
    )
    assert read_given_answers(tmp_path / "a.jsonl", tmp_path) == {AskedPrompt("q").key: "one"}
    write_rows(tmp_path / "a.jsonl", [{"prompt": "q"}])
    with pytest.raises(UserError, match="line 1: completion is missing"):
        read_given_answers(tmp_path / "a.jsonl", tmp_path)


def test_draw_prompts_does_not_depend_on_order_and_counts_repetitions() -> None:
    prompts = [AskedPrompt(f"{json.dumps(n)} {'abcdefghij'[n % 10]} {n * 7919}") for n in range(300)]
    drawn, repeated = draw_prompts([*prompts, *prompts[:50]], 40, 0.9, "salt")
    again, _ = draw_prompts(reversed([*prompts, *prompts[:50]]), 40, 0.9, "salt")
    assert drawn == again and len(drawn) == 40 and len(set(map(str, drawn))) == 40
    assert repeated == sum(one in prompts[:50] for one in drawn) > 0
    other, _ = draw_prompts(prompts, 40, 0.9, "other")
    assert other != drawn
