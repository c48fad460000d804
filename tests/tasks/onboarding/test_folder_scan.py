"""Test the scan of a folder for sources, and the files that it leaves out."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import UserError
from model.events import Event, Message
from tasks.data.records import Text
from tasks.data.sources.source_reading import own_files
from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.parallel import serial_map
from tasks.ingestion.row_making import make_rows
from tasks.onboarding.folder_scan import scan_folder
from tasks.onboarding.source_proposal import Proposal
from tests.any_user import as_any_user
from tests.example_project import write_jsonl, write_project, write_texts

EXPORTS = Path(__file__).parents[2] / "fixtures" / "exports"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (("maria.jsonl", "jose.jsonl"), "my-notes"),
        (("chat_01.jsonl", "chat_02.jsonl", "chat_10.jsonl"), "chat"),
        (("support chat (1).jsonl", "support chat (2).jsonl"), "support-chat"),
        (("export-2024-01.jsonl", "export-2024-02.jsonl"), "export"),
        (("river.jsonl", "rivet.jsonl"), "my-notes"),
        (("2024-01.jsonl", "2024-02.jsonl"), "my-notes"),
        (("v1.jsonl", "v2.jsonl"), "my-notes"),
        (("größe1.jsonl", "größe2.jsonl"), "groesse"),
        (("pairs.jsonl",), "pairs"),
    ],
)
def test_scan_folder_several_files_are_named_after_what_they_share(
    tmp_path: Path, files: tuple[str, ...], name: str
) -> None:
    folder = tmp_path / "My notes"
    folder.mkdir()
    for number, file in enumerate(files):
        row = {"prompt": f"What is {number}?", "completion": f"It is {number}."}
        write_jsonl(folder / file, row)
    assert [source.name for source in scan_folder(folder, tmp_path).sources] == [name]


def test_scan_folder_follows_links_and_stops_at_loops(project: Path) -> None:
    elsewhere = project.parent / f"{project.name}-elsewhere"
    write_jsonl(elsewhere / "a.jsonl", {"text": "From another disk."})
    linked = project / "linked"
    linked.mkdir()
    (linked / "there").symlink_to(elsewhere, target_is_directory=True)
    (linked / "again").symlink_to(linked, target_is_directory=True)
    (elsewhere / "back").symlink_to(linked, target_is_directory=True)
    (source,) = scan_folder(linked, project).sources
    assert source.files == ("linked/there/a.jsonl",) and source.count("text") == 1


def test_scan_folder_export_with_wrong_configuration_is_refused_together(project: Path) -> None:
    folder = project / "tool"
    folder.mkdir()
    shutil.copy(EXPORTS / "label_studio.json", folder / "export.json")
    (folder / "config.xml").write_text("<View><Text name='t' value='$nothing'/></View>")
    found = scan_folder(folder, project)
    assert [name for name, _ in found.others] == ["tool/export.json, tool/config.xml"]
    ((_, why),) = found.others
    assert "give the project's labelling configuration" not in why


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.zip", b"PK\x03\x04...", "it is a zip archive, as .xlsx and .docx are, not text; unpack it"),
        ("a.xlsx", b"PK\x03\x04...", "or save a sheet as CSV"),
        (
            "a.tar.gz",
            gzip.compress(b"a.jsonl".ljust(257, b"\0") + b"ustar" + b"\0" * 300, mtime=0),
            "it is a tar archive",
        ),
        ("a.pdf", b"%PDF-1.7", "it is a PDF, not text; save its text"),
        ("a.html", b"<html></html>", "not one of .txt"),
        ("a.log", b"words", "not one of .txt"),
        ("a.gz", b"\x1f\x8b\x08cut", "not one of .txt"),
    ],
)
def test_scan_folder_other_suffix_is_named_with_advice(
    project: Path, name: str, content: bytes, says: str
) -> None:
    (project / "mine" / name).write_bytes(content)
    found = scan_folder(project / "mine", project)
    assert says in dict(found.others)[f"mine/{name}"] and not found.unreadable


def test_scan_folder_globs_match_scanned_files(project: Path) -> None:
    drawn = random.Random(5)
    write_texts(project / "mine" / "texts" / "deep", drawn, 3)
    write_jsonl(project / "mine" / "texts" / "rows.jsonl", {"text": "one"})
    packed = project / "mine" / "more" / "a.jsonl.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(b'{"text": "packed"}\n'))
    found = {source.name: source for source in scan_folder(project / "mine", project).sources}
    assert found["texts-2"].files == ("mine/texts/**/*.txt",)
    assert found["texts"].files == ("mine/texts/rows.jsonl",)
    assert found["more"].files == ("mine/more/a.jsonl.gz",)
    assert found["more"].rows[0].text == "packed"


def test_scan_folder_mixed_formats_are_listed_by_file_name(project: Path) -> None:
    folder = project / "mixed"
    write_jsonl(folder / "a.jsonl", {"text": "one"})
    write_jsonl(folder / "b.jsonl", {"text": "two"})
    write_jsonl(folder / "c.jsonl", {"instruction": "Do", "input": "", "output": "done"})
    found = {source.format: source.files for source in scan_folder(folder, project).sources}
    assert found["rows"] == ("mixed/a.jsonl", "mixed/b.jsonl")
    assert found["alpaca"] == ("mixed/c.jsonl",)


@pytest.mark.parametrize(
    ("ending", "whole", "empty"),
    [
        ("md", b"A text about bread.", b""), ("md", b"A text about bread.", b"\n \n"),
        ("txt", b"A text about bread.", b"\xef\xbb\xbf"), ("jsonl", b'{"text": "one"}\n', b""),
        ("csv", b"prompt,completion\nWhy?,So.\n", b"prompt,completion\n"),
        ("json", b'[{"text": "a"}]', b"[]"), ("json", b'[{"text": "a"}]', b""),
    ],
)  # fmt: skip
def test_scan_folder_empty_file_is_counted_and_glob_stays(
    project: Path, ending: str, whole: bytes, empty: bytes
) -> None:
    folder = project / "some"
    folder.mkdir()
    for name, content in (("a", empty), ("b", whole), ("c", whole.replace(b"a", b"A"))):
        (folder / f"{name}.{ending}").write_bytes(content)
    found = scan_folder(folder, project)
    (source,) = found.sources
    assert source.files == (f"some/*.{ending}",) and not found.others and not found.unreadable
    assert source.notes == ("left out: 1 empty file",)


def test_scan_folder_empty_file_of_no_source_is_unreadable(project: Path) -> None:
    folder = project / "some"
    write_jsonl(folder / "a.jsonl", {"text": "one"})
    for name in ("labels.csv", "b.md", "c.jsonl.gz"):
        (folder / name).write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    found = scan_folder(folder, project)
    assert sorted(found.unreadable) == ["some/b.md", "some/c.jsonl.gz", "some/labels.csv"]
    assert set(dict(found.others).values()) == {"it is empty"}


@pytest.mark.parametrize("content", [b"caf\xe9", b"\x80\x81 no text", b"na\xefve and more\n" * 9])
@pytest.mark.parametrize("ending", ["md", "txt"])
def test_scan_folder_file_that_is_not_utf8_is_counted_and_glob_stays(
    project: Path, content: bytes, ending: str
) -> None:
    folder = project / "some"
    folder.mkdir()
    for name, held in (("a", content), ("b", b"A text."), ("c", b"Another.")):
        (folder / f"{name}.{ending}").write_bytes(held)
    (source,) = scan_folder(folder, project).sources
    assert source.files == (f"some/*.{ending}",) and source.faults == 1 and source.count("text") == 2
    assert f"some/a.{ending}" in source.notes[0] and "not UTF-8 at byte" in source.notes[0]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_scan_folder_table_with_other_delimiter_is_read(project: Path, delimiter: str) -> None:
    rows = "".join(f"What is {n}, please?{delimiter}It is {n},5.\n" for n in range(30))
    (project / "some").mkdir()
    (project / "some" / "qa.csv").write_text(f"Question{delimiter}Answer\n{rows}")
    (source,) = scan_folder(project / "some", project).sources
    assert source.columns == {"prompt": "Question", "completion": "Answer"} and source.count("pairs") == 30
    mine = Source("qa", files="some/qa.csv", columns=source.columns)
    said: list[Event] = []
    made = make_rows(DataParameters((mine,)), project, project / "out", said.append, serial_map)
    assert made.counts["pairs"] == 30
    notices = [one.text for one in said if isinstance(one, Message) and "between columns" in one.text]
    assert len(notices) == 1 and notices[0].startswith("source qa: some/qa.csv read with a ")


def test_scan_folder_one_broken_file_is_left_out_alone(project: Path) -> None:
    for number in range(3):
        write_jsonl(project / "many" / f"{number}.json", {"text": f"number {number}"})
    with (project / "many" / "1.json").open("a") as file:
        file.write("\n" * 30 + '{"text": \n')
    found = scan_folder(project / "many", project)
    assert [source.files for source in found.sources] == [("many/0.json", "many/2.json")]
    ((name, why),) = found.others
    assert name == "many/1.json" and why.startswith("line 33: broken JSON")


def test_scan_folder_broken_line_drops_only_its_row(project: Path) -> None:
    write_jsonl(project / "many" / "0.jsonl", {"text": "one"}, {"text": "two"})
    with (project / "many" / "0.jsonl").open("a") as file:
        file.write('{"text": \n{"text": null}\n')
    (source,) = scan_folder(project / "many", project).sources
    assert len(source.rows) == 2


def test_scan_folder_long_file_is_sampled_and_estimated(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.onboarding.source_proposal.READ", 2000)
    (source,) = scan_folder(project / "mine" / "labels", project).sources
    assert 0 < len(source.rows) < 200 and source.share < 1
    assert 180 <= source.count("ratings") <= 220


def test_scan_folder_doccano_list_of_one_answer_is_the_completion(project: Path) -> None:
    folder = project / "doccano"
    answers = ["It grows in the park.", "Nobody knows it.", "A mill of old days."]
    write_jsonl(
        folder / "all.jsonl",
        *({"id": n, "text": f"Which tree is number {n}?", "label": [said]} for n, said in enumerate(answers)),
        {"id": 9, "text": "Which is the last tree?", "label": []},
    )
    (source,) = scan_folder(folder, project).sources
    assert source.columns == {"prompt": "text", "completion": "label"}
    assert [row.completion for row in source.of("pairs")] == answers
    assert source.notes[-1] == "left out: 1 row without an answer or a vote"


@pytest.mark.parametrize(
    ("rejecting", "left"),
    [
        ({"text": "The mill turns.", "answer": "reject"}, 1),
        ({"text": "The mill turns.", "approved": "no"}, 1),
        ({"text": "The mill turns.", "accepted": True}, 2),
    ],
)
def test_scan_folder_leaves_out_text_that_a_later_file_rejects(
    project: Path, rejecting: dict[str, object], left: int
) -> None:
    folder = project / "own"
    write_jsonl(folder / "a" / "a.jsonl", {"text": "The mill turns."}, {"text": "The brook is low."})
    write_jsonl(folder / "b" / "b.jsonl", rejecting, {"text": "The hill is green."})
    found = scan_folder(folder, project)
    assert sum(source.count("text") for source in found.sources) == left + 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "is a named pipe; expected a file: remove it, or list other files"),
        (
            lambda path: path.symlink_to("/dev/zero"),
            "is a device; expected a file: remove it, or list other files",
        ),
        (lambda path: path.symlink_to("gone.txt"), "leads nowhere; fix or remove it"),
    ],
)
def test_scan_folder_special_file_is_reported_and_no_source_matches_it(
    project: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(project / "mine" / "texts" / "7b.txt")
    found = scan_folder(project / "mine" / "texts", project)
    assert found.others == [("mine/texts/7b.txt", reason)]
    assert found.unreadable == ["mine/texts/7b.txt"]
    (source,) = found.sources
    assert len(own_files(Source("s", files=source.files), project)) == 60


@pytest.mark.parametrize("folder", ["texts", "texts/deep", "texts/a/b"])
def test_scan_folder_folder_that_cannot_be_listed_is_refused(project: Path, folder: str) -> None:
    place = project / "mine" / folder
    write_texts(place, random.Random(3), 2)
    place.chmod(0o311)
    with as_any_user(), pytest.raises(UserError, match=f"the folder .*{folder} cannot be listed"):
        scan_folder(project / "mine", project)


def _scanned(project: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Proposal:
    monkeypatch.setattr("tasks.onboarding.source_proposal.READ", 4000)
    folder = project / "large"
    folder.mkdir()
    (folder / name).write_bytes(content)
    found = scan_folder(folder, project)
    assert not found.others
    return found.sources[0]


@pytest.mark.parametrize("cell", ["a line\nand one more", 'a "quoted"\nline, then\n\n"more"', "x\n" * 40])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_scan_folder_cut_table_ends_after_a_whole_row(
    project: Path, monkeypatch: pytest.MonkeyPatch, cell: str, end: str
) -> None:
    rows = [["prompt", "completion"], *([f"Question {n}?", f"{n} {cell}"] for n in range(200))]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows(rows)
    source = _scanned(project, "pairs.csv", text.getvalue().encode(), monkeypatch)
    assert source.faults == 0 and source.share < 1
    assert {row.completion.split()[0] for row in source.of("pairs")} >= {"0", "1", "2"}
    assert all(row.completion.strip().endswith(cell.strip()[-3:]) for row in source.of("pairs"))
    assert abs(source.count("pairs") - 200) <= 8


@pytest.mark.parametrize(
    ("name", "first", "rest"),
    [
        ("a.jsonl", json.dumps({"text": "word " * 4000}) + "\n", '{"text": "Short %d."}\n'),
        ("a.csv", "text,n\n" + '"' + "long, " * 4000 + '",1\n', "Short %d,2\n"),
        ("a.jsonl", json.dumps({"prompt": "q " * 9000, "completion": "a"}) + "\n",
         '{"prompt": "q%d", "completion": "b"}\n'),
    ],
)  # fmt: skip
def test_scan_folder_line_above_the_limit_is_read_to_its_end(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, first: str, rest: str
) -> None:
    content = first + "".join(rest % n for n in range(400))
    source = _scanned(project, name, content.encode(), monkeypatch)
    assert source.faults == 0
    assert len(source.rows) >= 1
    assert len(source.rows[0].text if isinstance(source.rows[0], Text) else source.rows[0].prompt) > 4000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_scan_folder_utf_16_above_the_limit_is_not_cut(
    project: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    text = "".join(f'{{"text": "Words {n} \u4e16."}}\n' for n in range(300))
    source = _scanned(project, "a.jsonl", mark + text.encode(encoding), monkeypatch)
    assert source.faults == 0 and source.count("text") == 300


@pytest.mark.parametrize("count", [50, 60])
def test_scan_folder_large_documents_are_counted_by_files(
    project: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("tasks.onboarding.source_proposal.READ", 4000)
    (project / "books").mkdir()
    for n in range(count):
        (project / "books" / f"b{n}.txt").write_text(f"Book {n}. " * 1000)
    (source,) = scan_folder(project / "books", project).sources
    assert abs(source.count("text") - count) <= count / 8


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfea",
        "Some words".encode("utf-16") + b"\x00\xd8",
        b"S\x00o\x00m\x00e\x00",
        b"\xff\xfe\x00\x00A",
    ],
)
def test_scan_folder_damaged_utf_16_among_texts_is_quarantined_as_one_row(
    project: Path, content: bytes
) -> None:
    (project / "notes").mkdir()
    for n in range(4):
        (project / "notes" / f"n{n}.md").write_text(f"Note {n} about birds.")
    (project / "notes" / "cut.md").write_bytes(content)
    found = scan_folder(project / "notes", project)
    assert not found.unreadable
    (source,) = found.sources
    assert source.files == ("notes/*.md",)
    assert source.faults == 1 and source.count("text") == 4


def test_scan_folder_many_subfolders_are_scanned_in_linear_time(project: Path) -> None:
    """Twice as many sources take about twice as long, not four times."""
    took = []
    for count in (150, 600):
        for n in range(count):
            write_jsonl(project / f"many{count}" / f"s{n}" / "a.jsonl", {"text": f"Words {n}."})
        begins = time.process_time()
        assert len(scan_folder(project / f"many{count}", project).sources) == count
        took.append(time.process_time() - begins)
    assert took[1] < 10 * took[0] + 1
