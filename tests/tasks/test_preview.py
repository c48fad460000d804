"""A dry run says what ingestion would do, and writes nothing."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flows.configuration import check_preset
from flows.preview import show
from model.errors import UserError
from tasks import preview as module
from tasks.preview import preview
from tasks.rules import Rules
from tasks.sources import Archive, DataParameters, Source


def lines(path: Path, *rows: object) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def look(root: Path, source: Source, **archives: Archive) -> module.Preview:
    return preview(source, DataParameters((source,), archives), Rules(), root)


def tree(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))}


def test_format_rows_bytes_and_first_rows(tmp_path: Path) -> None:
    size = lines(tmp_path / "a.jsonl", {"text": "one"}, {"prompt": "a b", "completion": "c"}, {"text": "two"})
    found = look(tmp_path, Source("mine", files="*.jsonl"))
    assert (found.format, found.files, found.bytes) == ("rows", 1, size)
    assert found.rows == {"text": 2, "pairs": 1, "comparisons": 0, "ratings": 0}
    assert [type(row).__name__ for row in found.first] == ["Text", "Pair", "Text"]
    assert found.aside == () and found.fault == ""


def test_rows_that_would_be_set_aside_say_why_and_where(tmp_path: Path) -> None:
    lines(
        tmp_path / "a.jsonl", {"text": "good"}, {"text": "bad \u0000 text"}, {"text": "good"}, {"text": "x"}
    )
    found = look(tmp_path, Source("mine", files="a.jsonl"))
    broken = {one.rule: (one.count, one.where) for one in found.aside}
    assert broken["text is printable"] == (1, "a.jsonl, line 2")
    assert broken["text has a fit length"] == (1, "a.jsonl, line 4")
    assert sum(count for count, _ in broken.values()) == 3


def test_rules_are_held_against_the_first_rows_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOKED", 3)
    lines(tmp_path / "a.jsonl", *({"text": f"row {i}" if i < 9 else "x"} for i in range(10)))
    found = look(tmp_path, Source("mine", files="a.jsonl"))
    assert (found.rows["text"], found.looked["text"], found.aside) == (10, 3, ())


def test_a_fault_is_the_sentence_that_ingestion_would_stop_with(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"text": "one"}, {"txet": "two"})
    assert "in no known format" in look(tmp_path, Source("mine", files="a.jsonl")).fault
    assert "a.jsonl, " in look(tmp_path, Source("mine", "rows", files="a.jsonl")).fault
    assert "matches no file" in look(tmp_path, Source("mine", files="b/*.txt")).fault


def test_a_label_by_an_unknown_annotator_is_a_fault(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"prompt": "q", "a": "x", "b": "y", "choice": "a", "annotator": "eve"})
    found = look(tmp_path, Source("mine", files="a.jsonl", annotators=("ana",)))
    assert "a label by 'eve', who is not among the annotators of source mine (ana)" in found.fault


def test_what_is_not_here_would_be_fetched(tmp_path: Path) -> None:
    archive = Archive("texts==1.0", "texts-1.0.whl", "0" * 64)
    source = Source("a", archive="x", members=("a.txt",))
    assert look(tmp_path, source, x=archive).lacking == ("texts==1.0 (texts-1.0.whl)",)
    (tmp_path / "far.txt").write_text("far away")
    (lacking,) = look(tmp_path, Source("b", urls=f"file://{tmp_path}/far.txt")).lacking
    assert lacking.endswith("far.txt (8 bytes)")
    (lacking,) = look(tmp_path, Source("c", dataset="our/stories", revision="1f3a")).lacking
    assert lacking == "the data set our/stories at revision 1f3a"


def test_nothing_is_written(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["one", "two"]}).save_to_disk(str(tmp_path / "saved"))
    lines(tmp_path / "a.jsonl", {"text": "one"})
    sources = [
        {"name": "own", "files": "*.jsonl"},
        {"name": "far", "urls": [f"file://{tmp_path}/a.jsonl"]},
        {"name": "saved", "dataset": "saved"},
    ]
    preset = check_preset({"name": "mine", "data": {"sources": sources}})
    before = tree(tmp_path)
    console = Console(width=200, record=True, file=StringIO())
    show(preset, tmp_path, console)
    assert tree(tmp_path) == before
    text = console.export_text()
    assert "rows, 1 files, 16 bytes" in text and "would be fetched: file://" in text
    assert "2 text" in text and "Nothing was written." in text


def test_the_rules_are_those_of_the_preset(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"text": "Words."}, {"text": "Слова."})
    values = {"name": "mine", "data": {"sources": [{"name": "own", "files": "a.jsonl"}]}}
    preset = check_preset({**values, "validate": {"scripts": ["Latin"]}})
    console = Console(width=200, record=True, file=StringIO())
    show(preset, tmp_path, console)
    assert "would be set aside: 1 of 2 text: " in console.export_text()


def test_a_fault_of_one_source_hides_no_other(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"text": "one"})
    sources = [{"name": "gone", "files": "no.txt"}, {"name": "own", "files": "a.jsonl"}]
    preset = check_preset({"name": "mine", "data": {"sources": sources}})
    console = Console(width=200, record=True, file=StringIO())
    with pytest.raises(UserError, match="ingestion would stop at gone; why is said above"):
        show(preset, tmp_path, console)
    text = console.export_text()
    assert "the file no.txt is missing" in text and "1 text" in text
