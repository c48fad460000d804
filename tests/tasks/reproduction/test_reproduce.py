"""Test the reproduction of a run on a small project: interrupted, failed and kept."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.common.git_checkout import code_state
from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.output import read_manifest
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.project.private_folder import make_private_folder
from tasks.reproduction.checkout import checked_out
from tasks.reproduction.known_code import remember_code
from tasks.reproduction.recorded_run import RecordedRun
from tasks.reproduction.reproduce import ReproductionFailed, make_anew
from tasks.reproduction.verdict import StageResult
from tests.killed_process import run_killed
from tests.waiting import PATIENCE

SOURCE = {"name": "mine", "files": "texts/*.jsonl", "format": "rows"}
# Stands for chatmill's command: it ends on SIGTERM and leaves a mark.
COMMAND = """
import json, pathlib, signal, sys, time
assert sys.argv[1] == "ingest" and "tracking" not in json.loads(pathlib.Path(sys.argv[3]).read_text())
def end(*_):
    pathlib.Path("ended").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
# The test interrupts a run that has begun: the second one ends by itself.
if not pathlib.Path("ended").exists():
    pathlib.Path("began").touch()
    time.sleep(600)
sys.exit(3)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (
        ("flows/cli/main.py", COMMAND),
        ("flows/__init__.py", ""),
        ("texts/a.jsonl", json.dumps({"text": "one"}) + "\n"),
        (".gitignore", "var/\ndata/\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path


@pytest.fixture
def original(root: Path) -> RecordedRun:
    reference = ingest.run(DataParameters((Source(**SOURCE),)), {}, StageContext(root), lambda event: None)
    made = StageResult("ingest", reference.digest, reference.metrics, read_manifest(Path(reference.path)))
    preset: dict[str, Any] = {"tracking": {}, "data": {"sources": [SOURCE], "pinned_version": ""}}
    version, code = str(reference.metrics["data_hash"]), code_state(root)
    remember_code(root, code, json.dumps(preset))
    return RecordedRun("12" * 16, "mine", code, preset, version, {}, [made])


def test_make_anew_interrupted_run_waits_and_resumes(root: Path, original: RecordedRun) -> None:
    said: list[str] = []
    environment = {**os.environ, "PYTHONPATH": ""}

    def attempt() -> None:
        with checked_out(root, original, False, said.append) as checkout:
            began = checkout.project / "began"
            sent: list[bool] = []

            def interrupt(*_: object) -> None:
                # Once, although a second alarm may be due: it would end the handling of the first.
                if began.exists() and not sent:
                    sent.append(True)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    signal.raise_signal(signal.SIGINT)

            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
            try:
                make_anew(checkout, original, Path(sys.executable), environment)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        attempt()
    assert time.monotonic() - start < PATIENCE
    (tree,) = (root / "var" / "cache" / "reproduce").glob("*/tree")
    assert (tree / "ended").exists() and "read again from its unchanged sources" in said[-1]
    (tree / "began").unlink()
    with pytest.raises(ReproductionFailed, match="before its first stage was done with exit code 3"):
        attempt()
    assert any("resuming from var/cache/reproduce/" in text for text in said)


def test_checked_out_leaves_only_kept_checkout(root: Path, original: RecordedRun) -> None:
    said: list[str] = []
    with checked_out(root, original, True, said.append) as kept:
        pass
    assert kept.project.exists() and "stay in var/cache/reproduce/" in said[-1]
    # The run closes a folder that others may enter, and says so.
    assert not make_private_folder(kept.project / "var")
    # A kept checkout is finished: the next reproduction starts with a new one.
    (kept.project / "left").touch()
    with checked_out(root, original, False, said.append) as checkout:
        assert not (checkout.project / "left").exists()
        with (
            pytest.raises(UserError, match="being reproduced already"),
            checked_out(root, original, False, said.append),
        ):
            pass
    assert not list((root / "var" / "cache" / "reproduce").iterdir())
    with pytest.raises(UserError, match="no package"), checked_out(root, original, False, said.append):
        raise UserError("no package can be had")
    assert not list((root / "var" / "cache" / "reproduce").glob("*/*"))


def test_checked_out_killed_at_its_end_is_not_resumed_from_the_rest(
    root: Path, original: RecordedRun
) -> None:
    def reproduce() -> None:
        with checked_out(root, original, False, lambda text: None):
            left.touch()

    left, place = root / "judged", root / "var" / "cache" / "reproduce"
    resumed = 0
    for number in itertools.count():
        if not run_killed(reproduce, number, place):
            break
        if left.exists():
            resumed += 1
            left.unlink()
            with checked_out(root, original, False, lambda text: None) as checkout:
                assert (checkout.project / "flows" / "__init__.py").exists(), number
            assert not list(place.iterdir()), number
    assert resumed > 3
