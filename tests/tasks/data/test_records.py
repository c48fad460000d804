"""Test readers of rows with numbers beyond the limit of Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.common.yaml_reader import parse_yaml
from model.errors import UserError
from tasks.data.file_io.json_stream import read_objects
from tasks.data.records import parse_lines

LONG = "7" * 4_400


@pytest.mark.parametrize("text", [LONG, f'{{"a": [1, {LONG}]}}', f'{{"n": -{LONG}}}'])
def test_readers_number_of_many_digits_is_named_plainly(tmp_path: Path, text: str) -> None:
    readers: list[Callable[[], object]] = [
        lambda: list(parse_lines([text.encode()], "a.jsonl")),
        lambda: parse_yaml(f"seed: {LONG}", "p.yaml"),
    ]
    for read in readers:
        with pytest.raises(UserError, match="a number has more than 4,300 digits") as caught:
            read()
        assert "sys" not in str(caught.value)
    # In an array it costs its item alone.
    (tmp_path / "a.json").write_text(f"[{text}]")
    with (tmp_path / "a.json").open("rb") as file:
        ((_, _, problem),) = read_objects(file, "a.json")
    says = "a number, expected an object" if text == LONG else r".*a number has more than 4,300 digits"
    assert re.match(rf"a\.json, line 1, item 1: {says}", problem)
