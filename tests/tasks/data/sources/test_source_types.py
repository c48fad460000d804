"""Test the description of sources, their files, and their digest."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.common import checksums
from tasks.data.records import ParsedRow, comparison_row, rating_row, text_row
from tasks.data.sources.source_identity import sources_digest
from tasks.data.sources.source_reading import check_annotators, own_files, read_source, reading_of
from tasks.data.sources.source_types import DataParameters, Source
from tasks.project.paths import DIGESTS
from tests.example_project import write_jsonl
from tests.tasks.data.source_reader import read


def names(source: Source, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in own_files(source, root)]


# What a source may be


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "one of files, urls, dataset, archive .*got none"),
        ({"archive": "x"}, "set members"),
        ({"archive": "x", "members": ("m",), "files": "f"}, "got files and archive"),
        ({"files": "f", "members": ("m",)}, "members needs archive"),
        ({"files": "f", "split": "train"}, "split needs dataset"),
        ({"archive": "x", "members": ("../m",)}, "leads out of its archive"),
        ({"archive": "x", "members": ("a.tar!/etc/m",)}, "leads out of its archive"),
        (
            {"files": "https://host/a.txt?key=1"},
            r"files has the address https://host/a\.txt; it goes under urls",
        ),
        ({"files": ("a", " ")}, "files contains an empty name"),
        ({"urls": "host/a.txt"}, "is not a valid address; expected for example https://"),
        ({"urls": "https://me:secret@host/a.txt"}, "address at host contains a user or password"),
        (
            {"urls": "https://host/a.txt#sha256=12"},
            "the sum of https://host/a.txt is '12'; expected 64 hex digits",
        ),
        ({"files": "f", "format": "plian"}, "unknown format 'plian'; expected one of plain"),
        (
            {"files": "f", "document_unit": "word"},
            "document_unit is 'word'; expected file, paragraph or line",
        ),
        ({"files": "f", "aspect": ""}, "aspect is .., which is blank"),
        ({"files": "f", "columns": {"text": ""}}, "'text' maps to no column"),
        ({"files": "f", "annotators": ("",)}, "annotators contains an empty name"),
        ({"files": "f", "max_bad_fraction": 1.5}, r"max_bad_fraction is 1\.5; expected a share"),
    ],
)
def test_source_invalid_values_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Source("mine", **values)
    assert str(caught.value).startswith("source mine: ") and "secret" not in str(caught.value)


OWN = Source("mine", files="texts/*.jsonl")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sources": ()}, "sources is empty"),
        ({"sources": (OWN, OWN)}, "mine is given twice"),
        ({"sources": (Source("a", archive="x", members=("m",)),)}, "not among archives"),
    ],
)
def test_data_parameters_invalid_sources_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataParameters(**values)


# Own files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "deep/c.md.gz", "deep/d.jsonl.zst", "picture.png", ".hidden.txt"):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_own_files_glob_folder_and_list_are_expanded(root: Path) -> None:
    assert names(Source("s", files="texts/*.txt"), root) == ["texts/a.txt", "texts/b.txt"]
    folder = ["texts/a.txt", "texts/b.txt", "texts/deep/c.md.gz", "texts/deep/d.jsonl.zst"]
    assert names(Source("s", files="texts"), root) == folder
    listed = Source("s", files=("texts/b.txt", "texts/*.txt"))
    assert names(listed, root) == ["texts/b.txt", "texts/a.txt"]


def test_read_source_files_are_opened_lazily(root: Path) -> None:
    source = Source("s", files="texts/a.txt")
    (file,) = read_source(source, DataParameters((source,)), root, print)
    assert (file.origin, file.content, file.path) == ("texts/a.txt", b"", root / "texts/a.txt")


def test_read_source_path_outside_project_is_read(root: Path) -> None:
    project = root / "project"
    project.mkdir()
    source = Source("s", files="../texts/a.txt")
    (file,) = read_source(source, DataParameters((source,)), project, print)
    assert file.origin == "../texts/a.txt"
    assert read(Source("s", files=str(root / "texts" / "a.txt")), project) == [b"a.txt"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("nowhere/*.txt", r"source s: nowhere/\*\.txt matches no file in "),
        ("texts/aa.txt", r"source s: the file texts/aa\.txt is missing; did you mean a\.txt\?"),
        ("none/zzz.txt", r"source s: the file none/zzz\.txt is missing in "),
        ("empty", r"source s: the folder empty holds no file that ends in \.txt, "),
        (("texts/a.txt", "texts/*.csv"), r"source s: texts/\*\.csv matches no file"),
    ],
)
def test_read_source_pattern_without_match_is_refused(root: Path, files: Any, said: str) -> None:
    (root / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        read(Source("s", files=files), root)


def test_reading_of_source_gives_parse_options(root: Path) -> None:
    (root / "view.xml").write_text("<View/>")
    source = Source("s", files="texts", columns={"text": "body"}, aspect="tone", label_config="view.xml")
    reading = reading_of(source, root)
    assert (reading.source, reading.labelling, reading.column("text"), reading.aspect) == (
        "s", "<View/>", "body", "tone",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"source s: the labelling configuration gone\.xml is missing"):
        reading_of(Source("s", files="texts", label_config="gone.xml"), root)


def test_check_annotators_unknown_person_is_refused() -> None:
    known = Source("s", files="f", annotators=("ana", "bo"))
    by = functools.partial(comparison_row, "q", "x", "y", "a", "tone", source="s", group="g")
    rated = functools.partial(rating_row, "q", "x", [1.0, 2.0], aspect="tone", source="s", group="g")
    check_annotators(known, ParsedRow(by(annotator="ana"), "f, line 1"))
    check_annotators(known, ParsedRow(rated(annotators=["bo", "ana"]), "f, line 1"))
    check_annotators(known, ParsedRow(text_row("words", "s"), "f, line 1"))
    check_annotators(Source("s", files="f"), ParsedRow(by(annotator="eve"), "f, line 1"))
    for row in (by(annotator="eve"), rated(annotators=["bo", "eve"])):
        with pytest.raises(UserError, match=r"^f, line 2: a label by 'eve', who is not among .* \(ana, bo\)"):
            check_annotators(known, ParsedRow(row, "f, line 2"))


# The digest of sources


def test_sources_digest_follows_content_and_row_options(root: Path) -> None:
    def of(**values: Any) -> str:
        return sources_digest(DataParameters((Source("s", files="texts/*.txt", **values),)), root)

    before = of()
    assert of(max_bad_fraction=0.5) == before != of(aspect="tone")
    (root / "texts/a.txt").write_text("other")
    changed = of()
    assert changed != before
    (root / "texts/new.txt").write_text("new")
    assert of() != changed


def test_sources_digest_unchanged_file_is_hashed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summed: list[Path] = []
    whole = checksums.file_sum
    monkeypatch.setattr(checksums, "file_sum", lambda path, kind: summed.append(path) or whole(path, kind))
    monkeypatch.setattr(checksums, "SETTLED_NS", -1)
    parameters = DataParameters((Source("s", files="texts/*.txt"),))
    first = sources_digest(parameters, root)
    assert len(summed) == 2 and sources_digest(parameters, root) == first and len(summed) == 2
    os.utime(root / "texts/a.txt", ns=(1, 1))
    assert sources_digest(parameters, root) == first and len(summed) == 3
    (root / DIGESTS).write_text("[broken")
    assert sources_digest(parameters, root) == first and len(summed) == 5


def test_sources_digest_column_order_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    one, two = ({"text": "x", "prompt": "y"}, {"prompt": "y", "text": "x"})
    assert json.dumps(one) != json.dumps(two)
    digest = [
        sources_digest(DataParameters((Source("s", files="a.txt", columns=c),)), tmp_path) for c in (one, two)
    ]
    assert digest[0] == digest[1]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("[a].jsonl", "[a].jsonl"), ("x[1]", "x[1]/c.jsonl"), ("d[[]1]/*.jsonl", "d[1]/b.jsonl"),
        ("q?.jsonl", "q?.jsonl"),
    ],
)  # fmt: skip
def test_own_files_prefers_literal_name_over_glob(tmp_path: Path, pattern: str, path: str) -> None:
    for name in ("a.jsonl", "qq.jsonl", "x1/c.jsonl", "d1/b.jsonl", path):
        write_jsonl(tmp_path / name, {"text": "a"})
    assert own_files(Source("own", files=pattern), tmp_path) == [tmp_path / path]
