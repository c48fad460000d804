"""Two clones of the code, a first run of the smoke preset in one of them, and commands in such folders."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.servers.environment import checkout_environment
from tests.benchmarks.smoke import REPOSITORY, SMOKE

STAGES = [
    "ingest", "validate", "split", "tokenizer", "drift", "pretrain", "sft",
    "labels", "reward", "judge", "rlhf", "evaluate", "gate", "report",
]  # fmt: skip
HELD = (
    "flows", "tasks", "model", "configs", "tests/fixtures/exports/smoke", "requirements.txt", ".gitignore",
)  # fmt: skip
# The changed stage imports an untracked module.
MORE = "of the rooms"
IMPORTED = "\n\nfrom tasks.moreover import MORE\n"
# Run command lines one after the other in one process, which imports the libraries only once.
SEVERAL = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from flows.cli.main import main

said = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["chatmill", *words]
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text):
        try:
            main()
        except SystemExit as ended:
            said.append((ended.code, text.getvalue()))
print(json.dumps(said))
"""


@dataclass(frozen=True)
class Clones:
    """A clone with changed code, in which the smoke preset has run once, and another of the same commit.

    `records` has a copy of the records of that first run, and `later` a copy of the whole folder. Each test
    file changes one of them alone. `said` is the run's output.
    """

    first: Path
    second: Path
    records: Path
    later: Path
    said: str


def make_clones(place: Path) -> Clones:
    """Clone the current files twice, change the code of the first clone, and run the smoke preset there."""
    first, second, records, later = (place / name for name in ("first", "second", "records", "later"))
    for name in HELD:
        there, to = REPOSITORY / name, first / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if there.is_dir():
            # With the compiled modules, which fit as long as the times of the files are kept.
            shutil.copytree(there, to)
        else:
            shutil.copy(there, to)
    git(place, "init", "-q", "first")
    git(first, "add", ".")
    git(first, "commit", "-qm", "all")
    git(place, "clone", "-q", "first", "second")
    stage = first / "tasks" / "gate.py"
    changed, count = re.subn(r'"reason": reason,', '"reason": f"{reason} {MORE}",', stage.read_text())
    assert count == 1
    stage.write_text(changed + IMPORTED)
    (first / "tasks" / "moreover.py").write_text(f"MORE = {MORE!r}\n")
    said = chatmill(first, "run", "--config", str(SMOKE.relative_to(REPOSITORY)))
    shutil.copytree(first / "var", records / "var", symlinks=True)
    shutil.copytree(first, later, symlinks=True)
    return Clones(first, second, records, later, said)


def git(root: Path, *words: str) -> None:
    """Run git in a folder, as a user with a name."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)


def environment(root: Path) -> dict[str, str]:
    """Return the environment of a command in a folder: with the code of the clone, or of this repository.

    Settings of Prefect and MLflow for tests are left out.
    """
    code = root if (root / "flows").is_dir() else REPOSITORY
    return {**checkout_environment(code), "COLUMNS": "120"}


def call(root: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these words in a folder, with `settings` beside the environment."""
    return subprocess.run(
        [sys.executable, *words], cwd=root, env=environment(root) | settings, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def chatmill(root: Path, *words: str, code: int = 0, **settings: str) -> str:
    """Run a command line, check its exit code, and return all that it prints."""
    done = call(root, "-m", "flows.cli.main", *words, **settings)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def chatmill_each(
    root: Path, *commands: tuple[str, ...], codes: tuple[int, ...] = (), **settings: str
) -> list[str]:
    """Run command lines in one process, check their exit codes, and return what each one prints.

    Args:
        root: The folder.
        commands: The words of each.
        codes: The exit code of each; none: all are 0.
        settings: What is set beside the environment.
    """
    done = call(root, "-c", SEVERAL, json.dumps(commands), **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert len(said) == len(commands)
    for (code, text), wanted in zip(said, codes or [0] * len(commands), strict=True):
        assert code == wanted and "Traceback" not in text, text
    return [text for _, text in said]


def summary(root: Path) -> dict[str, Any]:
    """Return what the last run in a folder left."""
    found: dict[str, Any] = json.loads((root / "var" / "summary.json").read_text())
    return found


def asked(store: Path, query: str) -> list[Any]:
    """Return the rows that a database answers."""
    with sqlite3.connect(store) as opened:
        return opened.execute(query).fetchall()


def mlflow(root: Path, query: str) -> list[Any]:
    """Return the rows that MLflow's database of a folder answers."""
    return asked(root / "var" / "mlflow.db", query)
