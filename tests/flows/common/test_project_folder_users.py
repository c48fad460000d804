"""Commands of a second user, in a project of the first: one sentence, and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.servers.environment import checkout_environment
from tests.example_project import write_jsonl

REPOSITORY = Path(__file__).parents[3]
AS_ANY_USER = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner,-chown")
# A user that no system lists.
FIRST_USER = 54_321
PRESET = "data: {sources: [{name: mine, files: texts/a.jsonl}]}\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another user")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project of the first user."""
    root = tmp_path / "project"
    write_jsonl(root / "texts" / "a.jsonl", {"text": "one"})
    (root / "configs").mkdir()
    (root / "configs" / "mine.yaml").write_text(PRESET)
    return root


def call(root: Path, *words: str) -> str:
    """Run a command as a second user, which must end with exit code 2 and one sentence; return it."""
    for path in (*root.rglob("*"), root):
        os.chown(path, FIRST_USER, FIRST_USER)
    before = sorted(root.rglob("*"))
    command = [*AS_ANY_USER, sys.executable, "-m", "flows.cli.main", *words]
    environment = {**checkout_environment(REPOSITORY), "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert sorted(root.rglob("*")) == before
    return done.stderr


RUN = ("run", "--config", "configs/mine.yaml")
COMMANDS = [
    RUN, (*RUN, "--dry-run"), ("models",), ("up",), ("chat", "-p", "hello"), ("gc",), ("backup", "kept.tgz"),
    ("init", "texts"), ("restore", "kept.tgz"),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_main_private_records_of_other_user_are_named(project: Path, words: tuple[str, ...]) -> None:
    (project / "var").mkdir(mode=0o700)
    said = call(project, *words)
    assert said == f"error: {project / 'var'} belongs to user {FIRST_USER}; run chatmill as that user\n"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_main_closed_folder_of_other_user_is_named(project: Path, words: tuple[str, ...]) -> None:
    project.chmod(0o700)
    said = call(project, *words)
    assert f"{project} belongs to user {FIRST_USER}, and your user may not enter it" in said


@pytest.mark.parametrize("words", [RUN, ("ingest", *RUN[1:]), ("up",), ("models",), ("init", "texts")])
def test_main_folder_without_write_access_is_named(project: Path, words: tuple[str, ...]) -> None:
    said = call(project, *words)
    assert str(project) in said and "cannot be written" in said
    assert "run chatmill in a folder that you own" in said
