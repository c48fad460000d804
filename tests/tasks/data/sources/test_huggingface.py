"""Test saved Hugging Face datasets, their splits, and errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.sources import huggingface
from tasks.data.sources.source_identity import sources_digest
from tasks.data.sources.source_reading import read_source
from tasks.data.sources.source_types import DataParameters, Source


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    train = datasets.Dataset.from_dict({"text": ["one", "two"], "tags": [["a"], []]})
    train.save_to_disk(str(tmp_path / "single"))
    both = datasets.DatasetDict({"train": train, "test": datasets.Dataset.from_dict({"text": ["three"]})})
    both.save_to_disk(str(tmp_path / "both"))
    return tmp_path


def rows(source: Source, root: Path) -> list[dict[str, Any]]:
    (file,) = read_source(source, DataParameters((source,)), root, print)
    return [item.values for item in file.items()]


def test_read_source_saved_dataset_is_read(saved: Path) -> None:
    assert rows(Source("s", dataset="single"), saved) == [
        {"text": "one", "tags": ["a"]}, {"text": "two", "tags": []},
    ]  # fmt: skip
    assert rows(Source("s", dataset="both", split="test"), saved) == [{"text": "three"}]
    assert not list((saved / "var").rglob("*.part"))


def test_read_source_ambiguous_dataset_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match="both has several splits; name one of train, test"):
        rows(Source("s", dataset="both"), saved)
    with pytest.raises(UserError, match="both has no split 'valid'; name one of train, test"):
        rows(Source("s", dataset="both", split="valid"), saved)
    (saved / "plain").mkdir()
    with pytest.raises(UserError, match="plain is not a folder of save_to_disk"):
        rows(Source("s", dataset="plain"), saved)
    with pytest.raises(UserError, match="our/set is not a folder here, and a Hub dataset needs its revision"):
        rows(Source("s", dataset="our/set"), saved)


def test_sources_digest_dataset_follows_its_files(saved: Path) -> None:
    def of(**values: str) -> str:
        return sources_digest(DataParameters((Source("s", **values),)), saved)

    before = of(dataset="single")
    (saved / "single" / "note").write_text("more")
    assert of(dataset="single") != before
    assert of(dataset="our/set", revision="1") != of(dataset="our/set", revision="2")


def test_read_source_without_datasets_library_names_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'chatmill\[hub\]'"):
        rows(Source("s", dataset="our/set", revision="1"), tmp_path)


def test_dataset_head_class_labels_become_names(tmp_path: Path) -> None:
    """Class labels become their names, also in lists and objects."""
    datasets = pytest.importorskip("datasets")
    classes = datasets.ClassLabel
    features = datasets.Features({
        "prompt": datasets.Value("string"), "label": classes(names=["good", "bad"]),
        "choice": classes(names=["b", "a", "tie"]), "score": classes(names=["5", "4", "3"]),
        "marks": datasets.Sequence(classes(names=["no", "yes"])),
        "turn": {"kind": classes(names=["x", "y"]), "at": datasets.Value("int64")},
        "all": [{"kind": classes(names=["x", "y"])}],
    })  # fmt: skip
    row = {"prompt": "What?", "label": 0, "choice": 1, "score": 2, "marks": [1, 0],
           "turn": {"kind": 1, "at": 0}, "all": [{"kind": 0}]}  # fmt: skip
    made = datasets.Dataset.from_list([row, {**row, "label": -1}], features=features)
    made.save_to_disk(str(tmp_path / "set"))
    expected = {"prompt": "What?", "label": "good", "choice": "a", "score": "3", "marks": ["yes", "no"],
                "turn": {"kind": "y", "at": 0}, "all": [{"kind": "x"}]}  # fmt: skip
    source = Source("s", dataset="set")
    shown = [item.values for item in huggingface.dataset_head(source.wanted, tmp_path, 2)[0].items()]
    assert shown == rows(source, tmp_path) == [expected, {**expected, "label": None}]
