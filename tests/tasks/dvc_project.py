"""Helpers for projects with a few versioned rows under `data/`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from tasks.data.records import Record, text_row
from tasks.project import data_folder
from tests.tasks.record_files import write_rows


def lay(root: Path, *rows: Record, shards: int = 2) -> None:
    """Write the rows to `data/`: each kind in `shards` files, each file with a range of ids."""
    shutil.rmtree(root / "data", ignore_errors=True)
    names = {"Text": "text", "Pair": "pairs"}
    for kind in ("text", "pairs", "comparisons", "ratings"):
        own = sorted((row for row in rows if names[type(row).__name__] == kind), key=lambda row: row.id)
        for number in range(shards):
            part = own[number * len(own) // shards : (number + 1) * len(own) // shards]
            write_rows(root / "data" / kind / f"{number:05}.jsonl", part)
    data_folder.list_files(root / "data", data_folder.data_files(root / "data"))


def three_texts(root: Path) -> Path:
    """Return a new project with three texts."""
    root.mkdir()
    lay(root, *texts("one", "two", "three"))
    return root


def meta(sources: str, **rows: int) -> dict[str, Any]:
    return {"sources": sources, "rows": rows}


def texts(*words: str) -> list[Record]:
    return [text_row(word, "tales") for word in words]


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", "-C", str(root), *identity, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bare_clone(root: Path, tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(root / "data.dvc", clone / "data.dvc")
    return clone


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root / "data")): path.read_bytes()
        for path in sorted((root / "data").rglob("*.jsonl"))
    }
