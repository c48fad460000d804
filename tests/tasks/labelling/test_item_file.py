"""Items of a batch from a JSONL file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.labelling.item_file import read_items, read_known_items


def written(folder: Path, *lines: object) -> Path:
    path = folder / "items.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


GOOD = {"prompt": "P", "a": "x", "b": "y"}


def test_read_items_keeps_all_keys(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    more = {**GOOD, "history": turns, "a_model": "m@1", "b_model": None, "known_choice": "b"}
    first, second = read_items(written(tmp_path, "\ufeff" + json.dumps(GOOD), "", more))
    assert (first.prompt, first.reason, first.history) == ("P", "given", ())
    assert (second.reason, second.known_choice, second.a_model, second.b_model) == ("known", "b", "m@1", "")
    assert list(second.history) == turns


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nope", "not a line of JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a line of JSON"),
        ({**GOOD, "c": 1}, "unknown key 'c'"),
        ({"prompt": "P", "a": "x"}, "b is missing"),
        ({**GOOD, "a": 1}, "a is not a text"),
        ({**GOOD, "a": " "}, "a is empty"),
        ({**GOOD, "a": "y"}, "a and b are equal"),
        ({**GOOD, "known_choice": "left"}, "known_choice is 'left'"),
        ('{"prompt": "\\ud800", "a": "x", "b": "y"}', "lone surrogate"),
        ({**GOOD, "history": "hi"}, "history is not a list"),
        ({**GOOD, "history": [{"role": "user"}]}, "turn 1 of history"),
        ({**GOOD, "history": [{"role": "bot", "content": "x"}]}, "the role of turn 1 is 'bot'"),
    ],
)
def test_read_items_not_valid_line_is_named(tmp_path: Path, line: object, says: str) -> None:
    path = written(tmp_path, GOOD, line)
    with pytest.raises(UserError, match=r"items\.jsonl:2: ") as raised:
        read_items(path)
    assert says in str(raised.value)


def test_read_items_fault_of_many_lines_is_named_once(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, *["nope", "no: way"] * 4, {**GOOD, "a": "y"})
    with pytest.raises(UserError) as raised:
        read_items(path)
    assert str(raised.value).splitlines() == [
        f"{path}, lines 2, 3, 4, 5, 6 and 3 more: not a line of JSON; "
        'expected {"prompt": "…", "a": "…", "b": "…"}',
        f"{path}:10: a and b are equal, so there is nothing to choose",
    ]


def test_read_items_many_faults_names_the_first_and_counts_the_others(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        read_items(written(tmp_path, GOOD, *({**GOOD, f"key{n}": 1} for n in range(8))))
    lines = str(raised.value).splitlines()
    assert len(lines) == 6 and lines[-1] == "and 3 lines more" and "items.jsonl:6" in lines[4]


def test_read_items_other_kind_of_file_is_named_once_with_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('prompt;a;b\n"What is ""x""?";yes;no\nWhy?;because;why not\n')
    with pytest.raises(UserError) as raised:
        read_items(path)
    assert str(raised.value) == (
        f"{path}: none of its 3 lines is JSON; it begins with 'prompt;a;b'; expected lines such as "
        '{"prompt": "…", "a": "…", "b": "…"}'
    )


def test_read_items_without_items_or_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no item"):
        read_items(written(tmp_path, ""))
    with pytest.raises(UserError, match="cannot be read"):
        read_items(tmp_path / "missing.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b'{"prompt": "\xff", "a": "x", "b": "y"}')
    with pytest.raises(UserError, match=r"bytes.jsonl:1: not a line of JSON"):
        read_items(tmp_path / "bytes.jsonl")


def test_read_known_items_item_without_choice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "known.jsonl"
    known = {"prompt": "q", "a": "x", "b": "y", "known_choice": "tie"}
    path.write_text(json.dumps(known) + "\n")
    (item,) = read_known_items(path)
    assert (item.reason, item.known_choice) == ("known", "tie")
    path.write_text(json.dumps(known) + "\n" + json.dumps({"prompt": "q", "a": "x", "b": "y"}) + "\n")
    with pytest.raises(UserError, match="item 2 has no known_choice"):
        read_known_items(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full"])
def test_read_items_line_without_end_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=f"{path}:1: the line has more than 16,000,000 bytes"):
        read_items(Path(path))


def test_read_items_device_of_faulty_lines_is_not_read_to_its_end() -> None:
    # One random line in some thousands is a digit, which is JSON.
    first = "none of its first 1,000 lines is JSON|the rest of the file was not read"
    with pytest.raises(UserError, match=first):
        read_items(Path("/dev/urandom"))
