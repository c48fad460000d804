"""Files that are about the data: `init` leaves them out, and a glob of the preset names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.data.sources.guide_names import guide_files, names_guide
from tasks.data.sources.source_types import DataParameters, Source
from tasks.onboarding.folder_scan import scan_folder
from tasks.onboarding.preset_writer import _source_section
from tasks.onboarding.source_preview import dry_run
from tasks.validate import ValidateParameters
from tests.tasks.ingest_project import run


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "readme.txt", "README_en.md", "LICENSE.txt", "guidelines.md", "legend.csv",
        "Annotation-Guidelines-v2.md", "codebook.csv", "data_dictionary.jsonl", "instructions.txt",
        "Anleitung.txt", "Liesmich.txt", "lisez-moi.md", "leggimi.txt", "凡例.csv", "legende.tsv.gz",
    ],
)  # fmt: skip
def test_names_guide_name_about_the_data_is_one(name: str) -> None:
    assert names_guide(name)


@pytest.mark.parametrize(
    "name",
    [
        "instructions.jsonl", "legends_of_the_north.txt", "license_plates.csv", "my readme draft notes.txt",
        "texts.txt", "guidelines.jsonl", "history of the codebook.md", "notice board.txt",
    ],
)  # fmt: skip
def test_names_guide_name_of_data_is_none(name: str) -> None:
    assert not names_guide(name)


def test_guide_files_of_a_corpus_are_data() -> None:
    many = [Path(f"repo-{n}/README.md") for n in range(3)]
    assert guide_files([*many, Path("a.md")]) == []
    assert guide_files([many[0], Path("LICENSE.md")]) == []
    assert guide_files([many[0], Path("a.md")]) == many[:1]


def folder(root: Path, *names: str) -> Path:
    """Write three documents and the named files to `in/`."""
    (root / "in").mkdir()
    for number in range(3):
        (root / "in" / f"page {number}.md").write_text(f"# Mill {number}\n\nThe mill {number} is old.\n")
    for name in names:
        text = "value,meaning\n1,bad\n" if name.endswith(".csv") else f"# About {name}\n\nRead this first.\n"
        (root / "in" / name).write_text(text)
    return root / "in"


def test_scan_folder_guides_are_named_and_excluded(tmp_path: Path) -> None:
    found = scan_folder(folder(tmp_path, "README.md", "guidelines.md", "codebook.csv"), tmp_path)
    (source,) = found.sources
    assert source.files == ("in/*.md",) and source.exclude == ("in/README.md", "in/guidelines.md")
    assert source.count("text") == 3 and not found.unreadable
    assert {"in/README.md", "in/guidelines.md", "in/codebook.csv"} == {name for name, _ in found.others}
    (told,) = yaml.safe_load("\n".join(["sources:", *_source_section(source)]))["sources"]
    assert told["exclude"] == ["in/README.md", "in/guidelines.md"]
    assert run(tmp_path, DataParameters((Source(**told),)))["text"] == 3


def test_scan_folder_guide_that_the_earlier_preset_names_is_learned(tmp_path: Path) -> None:
    place = folder(tmp_path, "README.md")
    earlier = [Source("mine", files=("in/*.md", "in/README.md"))]
    (source,) = scan_folder(place, tmp_path, earlier).sources
    assert source.count("text") == 4 and not source.exclude


@pytest.mark.parametrize(
    ("files", "exclude", "count", "named"),
    [
        ("in/*.md", (), 4, True),
        ("in", (), 4, True),
        (("in/*.md", "in/README.md"), (), 4, False),
        ("in/*.md", "in/README.md", 3, False),
    ],
)
def test_ingest_guide_below_glob_is_learned_and_named(
    tmp_path: Path, files: Any, exclude: Any, count: int, named: bool
) -> None:
    folder(tmp_path, "README.md")
    said: list[str] = []
    known = DataParameters((Source("mine", files=files, exclude=exclude),))
    assert run(tmp_path, known, said)["text"] == count
    assert any('exclude: ["in/README.md"]' in line for line in said) is named
    heard: list[Any] = []
    with dry_run(known, ValidateParameters(), tmp_path, heard.append) as found:
        assert found.rows is not None and found.rows.counts["text"] == count
    assert any("in/README.md" in str(event) for event in heard) is named
