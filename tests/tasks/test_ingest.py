"""Ingestion: pinned archives, one's own files, the same bytes anywhere, and versions that are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks import versions
from tasks.ingest import ingest
from tasks.records import read_rows
from tasks.sources import DataParameters, Source
from tasks.stage import Surroundings

OWN = Source("mine", "rows", files="texts/*.jsonl")


def write(root: Path, *lines: dict[str, Any], name: str = "a") -> None:
    (root / "texts").mkdir(parents=True, exist_ok=True)
    (root / "texts" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def run(
    root: Path, parameters: DataParameters | None = None, said: list[str] | None = None
) -> dict[str, Any]:
    def report(event: dict[str, Any]) -> None:
        if said is not None and event["event"] == "message":
            said.append(event["text"])

    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    return ingest(parameters or DataParameters((OWN,)), out=out, report=report, root=root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, {"text": "one"}, {"text": "two"}, {"prompt": "a", "completion": "b"})
    return tmp_path


def test_rows_are_canonical_and_versioned(root: Path) -> None:
    said: list[str] = []
    figures = run(root, said=said)
    assert (figures["text"], figures["pairs"]) == (2, 1)
    lines = (root / "data" / "text.jsonl").read_text().splitlines()
    assert lines == sorted(lines) and '"text":"one"' in "".join(lines)
    assert (root / "out" / "rows" / "text.jsonl").read_bytes() == (root / "data" / "text.jsonl").read_bytes()
    pointer = yaml.safe_load((root / "data.dvc").read_text())
    assert pointer["outs"][0]["md5"] == figures["data_hash"]
    assert pointer["meta"]["rows"]["text"] == 2
    assert any("data.dvc has a new version" in text and "commit" in text for text in said)


def test_a_fresh_clone_makes_the_same_version_again(root: Path, tmp_path: Path) -> None:
    figures = run(root)
    clone = tmp_path / "clone"
    shutil.copytree(root / "texts", clone / "texts")
    shutil.copy(root / "data.dvc", clone / "data.dvc")
    said: list[str] = []
    assert run(clone, said=said)["data_hash"] == figures["data_hash"]
    assert said == []
    assert (clone / "data" / "text.jsonl").read_bytes() == (root / "data" / "text.jsonl").read_bytes()


def test_changed_sources_are_a_new_version(root: Path) -> None:
    before = run(root)["data_hash"]
    write(root, {"text": "three"}, name="b")
    said: list[str] = []
    assert run(root, said=said)["data_hash"] != before
    assert len(said) == 1


def test_other_rows_of_the_same_sources_are_refused_unless_accepted(root: Path) -> None:
    run(root)
    pointer = yaml.safe_load((root / "data.dvc").read_text())
    pointer["outs"][0]["md5"] = "0" * 32 + ".dir"
    (root / "data.dvc").write_text(yaml.safe_dump(pointer))
    with pytest.raises(UserError, match=r"data\.accept=true"):
        run(root)
    assert run(root, DataParameters((OWN,), accept=True))["data_hash"] != "0" * 32 + ".dir"


def test_what_a_remote_has_is_pulled(root: Path, tmp_path: Path) -> None:
    remote = DataParameters((OWN,), remote=str(tmp_path / "remote"))
    figures = run(root, remote)
    clone = tmp_path / "clone"
    shutil.copytree(root / "texts", clone / "texts")
    shutil.copy(root / "data.dvc", clone / "data.dvc")
    versions.pull(clone, remote.remote)
    assert versions.folder_hash(clone) == figures["data_hash"]
    assert (clone / "data" / "text.jsonl").read_bytes() == (root / "data" / "text.jsonl").read_bytes()


def test_a_remote_that_lacks_it_is_no_end(root: Path, tmp_path: Path) -> None:
    figures = run(root)
    shutil.rmtree(root / "data")
    shutil.rmtree(root / ".dvc" / "cache", ignore_errors=True)
    again = run(root, DataParameters((OWN,), remote=str(tmp_path / "empty")))
    assert again["data_hash"] == figures["data_hash"]


def test_rows_set_aside_are_no_part_of_the_version(root: Path) -> None:
    (root / ".dvcignore").write_text("/data/quarantine\n")
    before = run(root)["data_hash"]
    (root / "data" / "quarantine").mkdir()
    (root / "data" / "quarantine" / "text.jsonl").write_text("{}\n")
    assert versions.folder_hash(root) == before


def test_the_stage_is_reused_while_nothing_changed(root: Path) -> None:
    around = Surroundings(root)
    parameters = DataParameters((OWN,))
    assert not ingest.run(parameters, {}, around, print).reused
    assert ingest.run(parameters, {}, around, print).reused
    shutil.rmtree(root / "data")
    assert not ingest.run(parameters, {}, around, print).reused
    write(root, {"text": "three"}, name="b")
    assert not ingest.run(parameters, {}, around, print).reused


def test_the_first_source_keeps_a_row_that_two_have(root: Path) -> None:
    (root / "z.jsonl").write_text('{"text": "one"}\n')
    twice = DataParameters((Source("first", "rows", files="z.jsonl"), OWN))
    run(root, twice)
    rows = {row.text: row.source for row in read_rows(root / "data" / "text.jsonl", "text")}
    assert rows == {"one": "first", "two": "mine"}


def test_an_empty_source_is_named(root: Path) -> None:
    write(root, name="empty")
    with pytest.raises(UserError, match=r"source none: no rows in texts/empty\.jsonl"):
        run(root, DataParameters((Source("none", "rows", files="texts/empty.jsonl"),)))


def test_a_broken_line_leaves_nothing_half_written(root: Path) -> None:
    run(root)
    before = (root / "data.dvc").read_bytes(), (root / "data" / "text.jsonl").read_bytes()
    with (root / "texts" / "a.jsonl").open("a") as file:
        file.write('{"text": \n')
    with pytest.raises(UserError, match=r"texts/a\.jsonl, line 4: broken JSON"):
        run(root)
    assert before == ((root / "data.dvc").read_bytes(), (root / "data" / "text.jsonl").read_bytes())


def test_a_broken_pointer_is_named(root: Path) -> None:
    (root / "data.dvc").write_text("outs: [")
    with pytest.raises(UserError, match=r"data\.dvc is broken"):
        run(root)
