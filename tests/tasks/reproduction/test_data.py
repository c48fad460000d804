"""Test the data of a past run in another checkout: from its sources or from its version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.output import read_manifest
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.reproduction.data import place_data, standalone_preset

QUIET: Any = {"tracking": {"mlflow": "http://there"}, "name": "mine"}


def preset(**data: Any) -> dict[str, Any]:
    source = {"name": "mine", "files": "texts/*.jsonl", "format": "rows"}
    return {**QUIET, "data": {"sources": [source], "pinned_version": "", **data}}


def made(root: Path, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Run ingestion on a preset's data; return the version and the manifest."""
    sources = tuple(Source(**source) for source in data["sources"])
    rest = {name: data[name] for name in ("remote", "pinned_version") if name in data}
    parameters = DataParameters(sources, **rest)
    reference = ingest.run(parameters, {}, StageContext(root), lambda event: None)
    manifest = read_manifest(Path(reference.path))
    assert manifest is not None
    return str(reference.metrics["data_hash"]), manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    (found / "texts").mkdir(parents=True)
    (found / "texts" / "a.jsonl").write_text(json.dumps({"text": "one"}) + "\n")
    return found


@pytest.fixture
def tree(root: Path) -> Path:
    found = root / "var" / "cache" / "reproduce" / "tree"
    found.mkdir(parents=True)
    return found


def test_place_data_unchanged_sources_are_read_again(root: Path, tree: Path) -> None:
    version, manifest = made(root, preset()["data"])
    placed = place_data(root, tree, preset(), version, manifest)
    assert "read again" in placed.how and placed.preset["data"]["pinned_version"] == ""
    again, found = made(tree, placed.preset["data"])
    assert again == version and found["digest"] == manifest["digest"]
    assert "tracking" not in standalone_preset(placed.preset)


@pytest.mark.parametrize("remote", [False, True])
def test_place_data_changed_sources_use_version(root: Path, tree: Path, remote: bool) -> None:
    data = {"remote": "../store"} if remote else {}
    version, manifest = made(root, preset(**data)["data"])
    (root / "texts" / "a.jsonl").write_text(json.dumps({"text": "two"}) + "\n")
    if remote:
        shutil.rmtree(root / ".dvc" / "cache")
    placed = place_data(root, tree, preset(**data), version, manifest)
    assert "replaces its sources" in placed.how and placed.preset["data"]["pinned_version"] == version
    again, found = made(tree, placed.preset["data"])
    assert again == version
    assert {name: one for name, one in found["sums"].items() if name.startswith("rows/")} == {
        name: one for name, one in manifest["sums"].items() if name.startswith("rows/")
    }


def test_place_data_sources_and_version_gone_is_refused(root: Path, tree: Path) -> None:
    version, manifest = made(root, preset()["data"])
    shutil.rmtree(root / "texts")
    shutil.rmtree(root / ".dvc" / "cache")
    with pytest.raises(UserError, match="not in DVC's cache, and its sources are missing"):
        place_data(root, tree, preset(), version, manifest)


def test_ingest_pinned_version_must_be_that_of_data_dvc(root: Path) -> None:
    version, _ = made(root, preset()["data"])
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "texts")
    assert made(root, preset(pinned_version=version)["data"])[0] == version
    with pytest.raises(UserError, match="git checkout COMMIT"):
        made(root, preset(pinned_version="0.dir")["data"])
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "var")
    shutil.rmtree(root / ".dvc" / "cache")
    with pytest.raises(UserError, match="in neither data/ nor DVC's cache"):
        made(root, preset(pinned_version=version)["data"])


def test_place_data_links_nothing_outside_checkout(root: Path, tree: Path) -> None:
    (root.parent / "admitted.jsonl").write_text("")
    given = {
        **preset(),
        "validate": {"overrides_file": "../admitted.jsonl", "decontaminate_against": ["../*.jsonl"]},
    }
    before = {path for path in root.parent.rglob("*") if tree not in path.parents}
    version, manifest = made(root, preset()["data"])
    after = {path for path in root.parent.rglob("*") if tree not in path.parents}
    placed = place_data(root, tree, given, version, manifest)
    found = {path for path in root.parent.rglob("*") if tree not in path.parents}
    assert before <= after and {path for path in found - after if path.is_symlink()} == set()
    assert Path(placed.preset["validate"]["overrides_file"]) == root.parent / "admitted.jsonl"
