"""`chatmill data`: the log of versions and the differences between them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.cli.data import data
from model.errors import UserError
from tasks.data.records import pair_row, text_row
from tasks.dvc import versions
from tasks.dvc.pointer_file import read_pointer
from tests.flows.cli_runner import call
from tests.tasks.record_files import write_rows


def lay(root: Path, *texts: str) -> None:
    write_rows(root / "data" / "text" / "00000.jsonl", [text_row(text, "tales") for text in texts])
    write_rows(root / "data" / "pairs" / "00000.jsonl", [pair_row("Why?", texts[-1], "chat", "why")])


def say(*words: str) -> str:
    return call(data, *words, columns=160).output


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, "one", "two")
    versions.add_version(tmp_path, "", {"sources": "a", "rows": {"text": 2, "pairs": 1}})
    return tmp_path


def test_data_log_before_first_version_names_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "chatmill ingest" in say("log")
    assert not (tmp_path / ".dvc").exists()


def test_data_log_shows_rows_and_source_changes(root: Path) -> None:
    lay(root, "one", "three")
    versions.add_version(root, "", {"sources": "b", "rows": {"text": 2, "pairs": 1}})
    lay(root, "one", "four")
    last = versions.add_version(root, "", {"sources": "b", "rows": {"text": 12_345, "pairs": 1}})
    no_git, newest, same, _, other, _, rows = say("log").splitlines()
    assert "is not in a git repository" in no_git
    assert last[:12] in newest and "not committed" in newest
    assert same.strip() == "12,345 texts, 1 pair; the same sources"
    assert other.strip().endswith("other sources") and rows.strip() == "2 texts, 1 pair; the first"
    assert "2 more: `--limit 0`" in say("log", "--limit", "1")
    assert len(say("log", "--limit", "0").splitlines()) == 7


def test_data_diff_counts_rows_by_kind_and_source(root: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    git("init", "-q")
    git("add", "data.dvc")
    git("commit", "-qm", "first")
    assert "no row differs" in say("diff")
    lay(root, "one", "three", "[four]")
    said = say("diff", "--rows", "2")
    rows = [line.split() for line in said.splitlines()[1:]]
    assert ["text", "tales", "2", "1"] in rows and ["pairs", "chat", "1"] in rows
    assert ["all", "2", "1", "1"] in rows
    assert "+ text [four] [tales]" in said and "- text two [tales]" in said
    assert "- pairs Why? → two [chat]" in said and "+ pairs Why? → [four] [chat]" in said
    assert "no row differs" in say("diff", "HEAD", "HEAD")


def test_data_diff_with_config_fetches_from_preset_remote(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = tmp_path_factory.mktemp("kept")
    versions.push_data(root, str(kept))
    (root / ".dvc" / "config.local").unlink()
    shutil.rmtree(root / ".dvc" / "cache" / "files")
    first = read_pointer(root)["md5"][:8]
    lay(root, "one", "two", "three")
    with pytest.raises(UserError, match=r"no remote is set; give the preset .*--config"):
        say("diff", first)
    preset = root / "mine.yaml"
    preset.write_text(
        f"name: mine\ndata: {{sources: [{{name: a, files: x, format: rows}}], remote: {kept}}}\n"
    )
    assert ["text", "tales", "1"] in [
        line.split() for line in say("diff", first, "-c", str(preset)).splitlines()
    ]


def test_data_diff_unknown_version_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="nothing is not a version"):
        say("diff", "nothing")
    with pytest.raises(UserError, match="there is no earlier version"):
        say("diff")
