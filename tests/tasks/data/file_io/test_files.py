"""Test files of every container, compression and encoding, sound and broken."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from model.errors import UserError
from tasks.data.file_io import decoding, json_stream, tables
from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord

ROWS: list[dict[str, Any]] = [
    {"prompt": "Who keeps the mill?", "completion": "The miller — of old.", "n": "1"},
    {"prompt": 'A "quoted"\nquestion, with a comma', "completion": "", "n": "2"},
    {"prompt": "\ttabs; and 🌾", "completion": "[1]", "n": "3"},
]


def table(rows: list[dict[str, Any]], delimiter: str = ",", end: str = "\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parquet_of(rows: list[dict[str, Any]], **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink, **options)
    return sink.getvalue()


CONTAINERS = {
    "rows.jsonl": "".join(json.dumps(row) + "\n\n" for row in ROWS).encode(),
    "rows.ndjson": "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode(),
    "array.json": json.dumps(ROWS, indent=2).encode(),
    "short.json": json.dumps(ROWS, separators=(",", ":"), ensure_ascii=False).encode(),
    "lines.json": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "spread.json": "".join(json.dumps(row, indent=4) + "\n" for row in ROWS).encode(),
    "unnamed": json.dumps(ROWS).encode(),
    "table.csv": table(ROWS),
    "dos.CSV": table(ROWS, end="\r\n"),
    "table.tsv": table(ROWS, "\t"),
    "table.parquet": parquet_of(ROWS),
}
PACKED = {"": bytes, ".gz": gzip.compress, ".zst": lambda raw: pyarrow.compress(raw, "zstd", asbytes=True)}


def values(file: SourceFile) -> list[dict[str, Any]]:
    return [item.values for item in file.items()]


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("name", CONTAINERS)
def test_source_file_items_same_objects_from_every_container(name: str, suffix: str, tmp_path: Path) -> None:
    content = PACKED[suffix](CONTAINERS[name])
    path = tmp_path / "anything"
    path.write_bytes(content)
    assert values(SourceFile(name + suffix, content)) == ROWS
    assert values(SourceFile(name + suffix, path=path)) == ROWS


def test_source_file_items_have_line_or_row_numbers() -> None:
    def places(name: str) -> list[str]:
        return [item.where.removeprefix(f"{name}, ") for item in SourceFile(name, CONTAINERS[name]).items()]

    assert places("rows.jsonl") == ["line 1", "line 3", "line 5"]
    assert places("array.json") == ["line 2, item 1", "line 7, item 2", "line 12, item 3"]
    assert places("short.json") == ["line 1, item 1", "line 1, item 2", "line 1, item 3"]
    assert places("spread.json") == ["line 1", "line 6", "line 11"]
    # The second row has two lines.
    assert places("table.csv") == ["line 2", "line 3", "line 5"]
    assert places("table.parquet") == ["row 1", "row 2", "row 3"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", [name for name in CONTAINERS if name != "table.parquet"])
def test_source_file_byte_order_mark_sets_encoding(name: str, encoding: str, tmp_path: Path) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path = tmp_path / "marked"
    path.write_bytes((mark + CONTAINERS[name].decode()).encode(encoding))
    file = SourceFile(name, path=path)
    assert values(file) == ROWS
    assert file.text() == CONTAINERS[name].decode()
    told = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}.get(encoding, encoding)
    assert file.encoding() == told


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": "\xe9"}', r"a\.jsonl, line 2: not UTF-8 at byte 16"),
        ("a.jsonl", b'\xef\xbb\xbf{"a": "\xe9"}', r"a\.jsonl, line 1: not UTF-8 at byte 10"),
        ("a.json", b'[{"a": 1},\n{"a": "\xe9"}]', r"a\.json: not UTF-8 at byte 18"),
        ("a.csv", b"text\none\ntw\xe9\n", r"a\.csv, line 3: not UTF-8 at byte 11"),
        ("a.jsonl", '{"a": "ü"}'.encode("utf-16-le"), r"a\.jsonl: UTF-16 without a mark; save it as UTF-8"),
        ("a.jsonl", '{"a": 1}'.encode("utf-32"), r"a\.jsonl: UTF-32; save it as UTF-8"),
        ("a.jsonl", b'\xff\xfe{\0"\0\x00\xd8a\0', r"a\.jsonl: not UTF-16 at byte 6"),
        ("a.jsonl", b"\xff\xfe{\0}\0\n", r"a\.jsonl: not UTF-16 at byte 6"),
    ],
)
def test_source_file_items_invalid_encoding_is_refused_with_place(
    name: str, content: bytes, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        values(SourceFile(name, content))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: raw[:40], lambda raw: b"no" + raw])
def test_source_file_items_damaged_compression_is_refused(suffix: str, damage: Any) -> None:
    raw = "".join(json.dumps({"text": f"line {n * n}"}) + "\n" for n in range(1000)).encode()
    with pytest.raises(UserError, match=rf"a\.jsonl\{suffix}: cannot be unpacked after \d+ bytes"):
        values(SourceFile(f"a.jsonl{suffix}", damage(PACKED[suffix](raw))))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.txt"])
def test_source_file_zip_bomb_is_refused(name: str, suffix: str) -> None:
    bomb = PACKED[suffix]((b" " * (1 << 20) + b"\n") * 70)
    file = SourceFile(name + suffix, bomb)
    with pytest.raises(UserError, match=r"unpacks to more than 67108864 bytes, over 200 times its size"):
        file.text() if name == "a.txt" else values(file)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_source_file_text_lines_100_mb_line_is_refused_unread(name: str, tmp_path: Path) -> None:
    path = tmp_path / "long"
    with path.open("wb") as file:
        file.write(b"text\n")
        for _ in range(100):
            file.write(b"a" * (1 << 20))
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"{name}, line 2: longer than 64 MB"):
        list(SourceFile(name, path=path).text_lines())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20


def test_source_file_items_json_array_is_same_for_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"text": 'a \\ " 🌾 \n', "list": [{}, [], {"x": [True, False, None]}], "f": -1.5e-7},
        {},
        {"spaces": " " * 90, "ü": 12345678901234567890},
    ]
    for text in (json.dumps(rows), json.dumps(rows, indent=40), json.dumps(rows, ensure_ascii=False)):
        for block in (*range(1, 30), 64, 200):
            monkeypatch.setattr(json_stream, "BLOCK", block)
            assert values(SourceFile("a.json", text.encode())) == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"a": 1}\n {"a": 2}]', "line 2: broken JSON .expected a comma"),
        ('[{"a": 1},\n', "line 2, item 2: the end of the file, expected an object"),
        ('[{"a": 1}\n', "line 2: broken JSON .expected a comma"),
        ('[{"a": 1},]', "line 1, item 2: ']', expected an object"),
        ('[{"a": 1}]\n[]', "line 2: broken JSON .there is text after the end"),
        ("[1, 2]", "line 1, item 1: a number, expected an object"),
        ('"text"', "line 1: a text, expected an object"),
        ('[[{"role": "user"}]]', r'line 1, item 1: a list, .*conversation, write \{"messages": \[...\]\}'),
        ("[null]", "line 1, item 1: null, expected an object"),
        ("[-2.5]", "line 1, item 1: a number, expected an object"),
        ("[true]", "line 1, item 1: true, expected an object"),
        ('[{"a": 1},\n {"a": tru}]', "line 2: broken JSON .Expecting value"),
        ('{"a": 1}\n{"a": "b', "line 2: broken JSON .Unterminated string"),
        ('[{"a": NaN}]', "line 1, item 1: broken JSON .NaN is not valid JSON; expected null"),
        ('[{"a": ' + "[" * 200_000, "line 1: broken JSON .nested too deeply"),
        ('[{"a": ' + "9" * 5000 + "}]", "line 1, item 1: broken JSON .a number has more than"),
    ],
)
def test_source_file_items_broken_json_is_refused_with_line(content: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^a.json, {said}"):
        values(SourceFile("a.json", content.encode()))


@pytest.mark.parametrize("number", ["1e400", "-1E+999", "[2.5, 3e12345]", '{"deep": 7e309}'])
def test_source_file_items_number_too_large_costs_its_row_only(number: str) -> None:
    rows = ['{"a": 1}', f'{{"a": {number}}}', '{"a": 1.5e308}']
    for name, content in (("a.jsonl", "\n".join(rows)), ("a.json", f"[{', '.join(rows)}]")):
        found = list(SourceFile(name, content.encode()).all_items())
        assert [one.values["a"] for one in found if isinstance(one, SourceRecord)] == [1, 1.5e308]
        (broken,) = (one for one in found if isinstance(one, BrokenItem))
        assert "is too large for a number; expected one below 1.8e308" in broken.fault
    with pytest.raises(UserError, match=r"a\.json: broken JSON \(\S+ is too large for a number"):
        SourceFile("a.json", rows[1].encode()).document()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000 + "0" + "}" * 100_000, "nested too deeply"),
        ("[" * 50_000 + '"\\"]}", ' + "1" + "]" * 50_000, "nested too deeply"),
        ("9" * 5000, "a number has more than 4,300 digits"),
        ('{"b": [1, ' + "9" * 300_000 + ', "]"]}', "a number has more than 4,300 digits"),
    ],
)
def test_source_file_items_value_that_python_cannot_hold_costs_its_row_only(value: str, said: str) -> None:
    rows = ['{"a": 1}', f'{{"a": {value}, "z": "}}"}}', '{"a": 2}']
    for name, content in (
        ("a.jsonl", "\n".join(rows)), ("a.json", f"[{', '.join(rows)}]"), ("a.json", "\n".join(rows)),
    ):  # fmt: skip
        found = list(SourceFile(name, content.encode()).all_items())
        assert [one.values["a"] for one in found if isinstance(one, SourceRecord)] == [1, 2]
        (broken,) = (one for one in found if isinstance(one, BrokenItem))
        assert f"broken JSON ({said}" in broken.fault


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, "9" * 5000, "-" + "9" * 200_000])
def test_source_file_items_unreadable_item_that_is_no_object_costs_itself_only(value: str) -> None:
    found = list(SourceFile("a.json", f'[{{"a": 1}}, {value}, {{"a": 2}}]'.encode()).all_items())
    assert [one.values["a"] for one in found if isinstance(one, SourceRecord)] == [1, 2]
    (broken,) = (one for one in found if isinstance(one, BrokenItem))
    assert "expected an object" in broken.fault


@pytest.mark.parametrize("first", ["sep=;", "SEP = ;", '"sep=;"', "sep=;;", "sep=;;;;", "\ufeffsep=; "])
def test_source_file_items_separator_line_sets_the_delimiter(first: str) -> None:
    content = f"{first}\r\nprompt;completion\r\nOne, two?;Three, four.\r\n"
    expected = {"prompt": "One, two?", "completion": "Three, four."}
    assert values(SourceFile("a.csv", content.encode())) == [expected]


@pytest.mark.parametrize("blank", [",", " ,\t", ",,,,,", '"",""', '" "'])
def test_source_file_items_empty_rows_of_a_table_have_its_columns(blank: str) -> None:
    content = f"{blank}\nprompt,completion\nWhy?,Because.\n{blank}\n{blank}\n"
    found = values(SourceFile("a.csv", content.encode()))
    assert found == [{"prompt": "Why?", "completion": "Because."}, *[{"prompt": "", "completion": ""}] * 2]


@pytest.mark.parametrize("line", ["[" * 200_000, '{"a": Infinity}', "9" * 5000, '{"a": "\x01"}', "{}{}"])
def test_source_file_items_and_document_broken_json_line_is_one_error(line: str) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: broken JSON"):
        values(SourceFile("a.jsonl", line.encode()))
    with pytest.raises(UserError, match=r"a\.json: broken JSON"):
        SourceFile("a.json", line.encode()).document()


def test_source_file_items_endless_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LONGEST", 1000)
    monkeypatch.setattr(json_stream, "BLOCK", 100)
    with pytest.raises(UserError, match=r"a\.json, line 1: broken JSON \(longer than"):
        values(SourceFile("a.json", b'[{"a": "' + b"b" * 5000 + b'"}]'))
    monkeypatch.setattr(tables, "LONGEST", 1000)
    with pytest.raises(UserError, match=r"a\.csv, line 2: a row of more than"):
        values(SourceFile("a.csv", b'text\n"' + b"b\n" * 5000))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.csv", "prompt;completion\na;b\nc;d;e\n",
            "line 1: one column, with a semicolon in its name: the delimiter seems to be a semicolon; write "
            "the file with a comma between its columns, or put the line `sep=;` above the header$",
        ),
        ("a.csv", "prompt\tcompletion\n", "line 1: one column, with a tab .* or name the file .tsv"),
        ("a.tsv", "prompt,completion\n", "line 1: one column, with a comma .* or name the file .csv"),
        ("a.csv", "a,b\n1,2\n\n1,2,3\n", "line 4: 3 cells under 2 columns"),
        ("a.csv", 'a,b\n"1\n",2\n1\n', "line 4: 1 cells under 2 columns"),
        ("a.csv", "a,b,a\n", "line 1: two columns have the name 'a'"),
        ("a.csv", ",,a\n", "line 1: one cell, 'a', which looks like a title above"),
        ("a.csv", "The film was good.,4.5\n", "line 1: '4.5' is not a column name; the first line"),
        ("a.csv", "word " * 50 + "\n", "line 1: 'word word .*' is not a column name"),
        ("a.csv", 'a,b\n1,2\n"1,2\n3,4\n', "line 3: unexpected end of data; enclose a cell"),
        ("a.csv", 'a,b\n"1"x,2\n', "line 2: ',' expected after"),
        ("a.csv", "a,b\n1,2\r3,4\n", "line 2: a line ends in a carriage return alone, and others do not"),
    ],
)  # fmt: skip
def test_source_file_items_malformed_table_is_refused_with_line(name: str, content: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^{name}, {said}"):
        values(SourceFile(name, content.encode()))


def test_source_file_items_table_with_index_and_empty_lines_is_read() -> None:
    content = b',text , n\n\n0,a  b,1\n\n1,"",2\n'
    index = "(column 1 without a name)"
    rows = [{index: "0", "text": "a  b", "n": "1"}, {index: "1", "text": "", "n": "2"}]
    assert values(SourceFile("a.csv", content)) == rows
    assert (
        values(SourceFile("a.csv", b"\n"))
        == values(SourceFile("a.csv", b""))
        == values(SourceFile("a.csv", b"text\n"))
        == []
    )


def test_source_record_value_missing_column_names_others() -> None:
    (item, *_) = SourceFile("a.parquet", CONTAINERS["table.parquet"]).items()
    assert item.value("n") == "1"
    with pytest.raises(
        UserError, match=r"a\.parquet, row 1: no key or column text; there are prompt, completion, n$"
    ):
        item.value("text")


def test_source_file_missing_file_is_refused(tmp_path: Path) -> None:
    for read in (SourceFile.text, values, lambda file: file.parts(10)):
        with pytest.raises(UserError, match=r"gone: cannot be opened \(No such file or directory\)"):
            read(SourceFile("gone", path=tmp_path / "gone"))


@pytest.mark.parametrize("block", [3, 64, 1 << 18])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_source_file_parts_hold_all_rows_in_order(
    mark: str, end: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "BLOCK", block)
    lines = [json.dumps({"text": "ü" * (n * 7 % 90), "n": n}, ensure_ascii=False) for n in range(40)]
    lines[5:5] = ["", "   ", ""]
    lines[20] = json.dumps({"text": "long " * 200})
    path = tmp_path / "rows"
    for last in ("", end, end * 3):
        path.write_text(mark + end.join(lines) + last, encoding="utf-8", newline="")
        whole = SourceFile("rows.jsonl", path=path)
        expected: list[SourceRecord] = list(whole.items())
        assert len(expected) == 40
        for size in (1, 2, 50, 100, 333, 1000, path.stat().st_size - 1):
            parts = whole.parts(size)
            assert [item for part in parts for item in part.items()] == expected
            assert all(a.stop == b.start for a, b in pairwise(parts))
            # Each part is at least as long as asked.
            assert all(part.stop - part.start >= size for part in parts[:-1])  # type: ignore[operator]
        assert len(whole.parts(50)) > 20
        assert whole.parts(path.stat().st_size) == [whole]


def test_source_file_parts_error_keeps_place_in_file(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n{"a": "\xe9"}\n')
    *_, last = SourceFile("a.jsonl", path=path).parts(5)
    with pytest.raises(UserError, match=r"a\.jsonl, line 3: not UTF-8 at byte 28"):
        values(last)


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.parquet", "a.jsonl.gz", "utf16.jsonl", "array"])
def test_source_file_parts_unsplittable_file_is_one_part(name: str, tmp_path: Path) -> None:
    path = tmp_path / "whole"
    contents = {
        "a.json": CONTAINERS["array.json"], "a.csv": CONTAINERS["table.csv"],
        "a.parquet": CONTAINERS["table.parquet"], "a.jsonl.gz": gzip.compress(CONTAINERS["rows.jsonl"]),
        "utf16.jsonl": CONTAINERS["rows.jsonl"].decode().encode("utf-16"), "array": CONTAINERS["array.json"],
    }  # fmt: skip
    path.write_bytes(contents[name])
    file = SourceFile(name, path=path)
    assert file.parts(10) == [file]
    assert values(file) == ROWS
    held = SourceFile("a.jsonl", CONTAINERS["rows.jsonl"])
    assert held.parts(10) == [held]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_source_file_items_too_many_columns_are_refused(name: str) -> None:
    names = [f"c{n}" for n in range(6000)]
    if name == "a.parquet":
        given = SourceFile(name, parquet_of([dict.fromkeys(names, 1)]))
    else:
        given = SourceFile(name, ("," if name == "a.csv" else "\t").join(names).encode() + b"\n")
    with pytest.raises(UserError, match=r"6,000 columns, but at most 4,096 are read"):
        list(given.items())


@pytest.mark.parametrize(
    "row",
    [
        '{"prompt": "a?", "completion": "b", "label": true, "label": false}',
        '{"prompt": "a?", "completion": "b", "completion": "c"}',
        '{"prompt": "a?", "completion": "b", "meta": {"x": {"k": 1, "k": 1}}}',
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_source_file_all_items_duplicate_key_breaks_one_row(name: str, row: str) -> None:
    sound = '{"prompt": "c?", "completion": "d"}'
    rows = [sound, row, sound]
    text = "\n".join(rows) if name == "a.jsonl" else f"[{', '.join(rows)}]"
    items = list(SourceFile(name, text.encode()).all_items())
    assert [isinstance(one, SourceRecord) for one in items] == [True, False, True]
    broken = items[1]
    assert isinstance(broken, BrokenItem) and "is given twice" in broken.fault and "2" in broken.where


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.jsonl.zip", b"PK\x03\x04rest", "a zip archive.*unpack it"),
        ("a.jsonl.xz", b"\xfd7zXZ\x00rest", "compressed with xz.*gzip or Zstandard"),
        ("a.txt", b"BZh91AY&SYrest", "compressed with bzip2"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), "compressed with gzip.*add .gz"),
        ("a.csv", b"SQLite format 3\x00rest", "an SQLite database.*as CSV"),
        ("a.jsonl", b"ARROW1\x00\x00rest", "an Arrow or Feather file.*as Parquet"),
        ("a.txt", b"%PDF-1.7 rest", "a PDF"), ("a.json", b"\x80\x04\x95rest", "a pickle"),
        ("a.tar.gz", gzip.compress(b"a.jsonl" + bytes(250) + b"ustar" + bytes(200), mtime=0), "a tar"),
    ],
)  # fmt: skip
def test_source_file_archive_or_binary_is_named_and_refused(name: str, content: bytes, what: str) -> None:
    with pytest.raises(UserError, match=rf"{name}: it is {what}"):
        list(SourceFile(name, content).lines())


@pytest.mark.parametrize(
    "text", ["PK is a name.", "BZh is no word.", "ustar", "ARROW1 flies", "%PDF is a type"]
)
def test_source_file_text_that_resembles_signature_is_read(text: str) -> None:
    assert SourceFile("a.txt", text.encode()).text() == text


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"a": 1}\r{"a": 2}\r', [1, 2]), ('{"a": 1}\r\r{"a": 2}\n{"a": 3}', [1, 3, 4]),
        ('{"a":\r1}\r {"a": {"b": 2}}', [1, 2]), ('{"a": "}\\\\r{"}\r\n{"a": 2}\r\n', [1, 2]),
    ],
)  # fmt: skip
def test_items_json_lines_may_end_in_carriage_returns(text: str, lines: list[int]) -> None:
    items = list(SourceFile("a.jsonl", text.encode()).items())
    assert [item.where for item in items] == [f"a.jsonl, line {number}" for number in lines]
    assert all("a" in item.values for item in items)


@pytest.mark.parametrize("content", ['{"a": 1},\n{"a": 2},\n', '{"a": {"b": 1}} ,\n', '{"a": "x"},\r\n'])
def test_source_file_items_comma_after_object_is_explained(content: str) -> None:
    with pytest.raises(UserError, match="line 1: a comma follows the object; remove it"):
        values(SourceFile("a.jsonl", content.encode()))
