"""`chatmill gc` with real stages, real locks and the real registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flows.cli.gc import collect_garbage
from flows.servers.environment import checkout_environment
from model.errors import UserError
from model.events import EventCallback
from tasks.cleanup.output_gc import list_outputs
from tasks.engine.output import MANIFEST, StageOutput
from tasks.engine.stage import StageContext, stage
from tasks.tracking.tracker import Tracker
from tests.benchmarks.smoke import REPOSITORY
from tests.flows.cli_runner import call, of
from tests.waiting import PATIENCE

MODEL = "chatmill"
HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@dataclass(frozen=True)
class Words:
    word: str = "a"


@stage()
def first(parameters: Words, out: Path, on_event: EventCallback) -> dict[str, Any]:
    """Write a file."""
    (out / "words.txt").write_text(parameters.word * 1000)
    return {}


@stage(inputs=("first",))
def second(parameters: Words, first: Path, out: Path, on_event: EventCallback) -> dict[str, Any]:
    """Write a file from the file of the first stage."""
    (out / "words.txt").write_text((first / "words.txt").read_text() + parameters.word)
    return {}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def tracker(root: Path) -> Tracker:
    (root / "var").mkdir()
    return Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow")


def make(root: Path, word: str, days: float, tracker: Tracker | None = None) -> list[StageOutput]:
    """Run both stages with this word and set their age in days."""
    context = StageContext(root)
    made: list[StageOutput] = []
    for one in (first, second):
        inputs = {found.stage: found for found in made}
        if tracker:
            with tracker.open_stage(one.name, {}, []) as run:
                made.append(one.run(Words(word), inputs, context, lambda event: None, run=run))
                tracker.close_stage(made[-1], "")
        else:
            made.append(one.run(Words(word), inputs, context, lambda event: None))
        then = time.time() - days * 86400
        os.utime(Path(made[-1].path) / MANIFEST, (then, then))
    return made


def say(*words: str) -> str:
    return call(of(collect_garbage), *words).output


def there(made: list[StageOutput]) -> list[bool]:
    return [Path(one.path).exists() for one in made]


def test_gc_empty_project_prints_one_sentence(root: Path) -> None:
    assert say().count("\n") == 1 and "Nothing to remove" in say()
    assert not (root / "var").exists()


def test_gc_removes_old_outputs_and_dry_run_only_lists_them(root: Path, tracker: Tracker) -> None:
    old, young = make(root, "a", 30), make(root, "b", 2)
    said = say("--dry-run")
    assert old[0].key in said and "would free" in said and "older than 14 days" in said
    assert there(old + young) == [True] * 4
    assert "freed" in say()
    assert there(old + young) == [False, False, True, True]
    names = [
        path.name for path in (root / "var" / "cache" / "artifacts").rglob("*") if old[0].key in path.name
    ]
    assert names == []


def test_gc_max_size_removes_oldest_unused_first(root: Path, tracker: Tracker) -> None:
    words = [make(root, word, days) for word, days in (("a", 3), ("b", 2), ("c", 1))]
    whole = sum(entry.size for entry in list_outputs(root / "var" / "cache" / "artifacts"))
    assert "the oldest, to keep under" in say("--max-size", f"{whole - 100}B")
    assert [all(there(made)) for made in words] == [False, True, True]


def test_gc_keeps_registered_models_newest_run_and_their_inputs(root: Path, tracker: Tracker) -> None:
    with tracker.open_run("demo", {}, {}, ""):
        model, run = make(root, "model", 90, tracker), tracker.run
    tracker.client.create_registered_model(MODEL)
    tags = {"digest": model[1].digest}
    tracker.client.create_model_version(MODEL, str(root), model[1].run, tags=tags)
    newest, other = make(root, "newest", 80), make(root, "other", 70)
    steps = [{"name": newest[1].stage, "key": newest[1].key}]
    (root / "var" / "summary.json").write_text(json.dumps({"stages": steps, "mlflow_run_id": run}))
    # Another run is the newest in MLflow, so only the registered version protects the model.
    time.sleep(0.01)
    with tracker.open_run("later", {}, {}, ""):
        pass
    said = say("--max-size", "1B")
    assert f"an input of version 1 of {MODEL}" in said and "an input of the newest run" in said
    assert there(model + newest) == [True] * 4 and there(other) == [False, False]
    assert "more than --max-size 1 B" in said


def test_gc_keeps_locked_outputs_until_lock_ends(root: Path, tracker: Tracker) -> None:
    locked = make(root, "locked", 90)
    part = root / "var" / "cache" / "artifacts" / "train" / ("a" * 20 + ".part") / "checkpoints"
    part.mkdir(parents=True)
    (part / "training.lock").touch()
    dead = part.parent.parent / ("b" * 20 + ".part")
    dead.mkdir()
    (dead / "step-7.pt").write_text("weights")
    os.utime(dead / "step-7.pt", (0, 0))
    os.utime(part / "training.lock", (0, 0))
    locks = [Path(locked[1].path).with_suffix(".lock"), part / "training.lock"]
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) for path in locks
    ]
    try:
        for holder in holders:
            assert holder.stdout is not None and holder.stdout.readline()
        assert "a process holds its file lock" in say()
        assert there(locked) == [False, True] and part.exists() and not dead.exists()
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()
    say()
    assert there(locked) == [False, False] and not part.exists()


def test_gc_keeps_outputs_of_running_run(root: Path, tracker: Tracker) -> None:
    old = make(root, "old", 60)
    with tracker.open_run("demo", {}, {}, ""):
        used = make(root, "used", 90, tracker)
        # A later run is newer, so only the file of the running process protects this run.
        tracker.client.create_run(tracker.experiment)
        with tracker.open_stage("second", {}, []):
            assert "a running run" in say()
            assert there(used) == [True, True] and there(old) == [True, True]
    say()
    assert there(old) == [False, False]


def test_gc_removes_half_removed_outputs(root: Path, tracker: Tracker) -> None:
    made = make(root, "a", 0)
    folder = Path(made[1].path)
    folder.rename(folder.with_name(folder.name + ".gone"))
    (Path(made[0].path) / MANIFEST).unlink()
    assert "half removed before" in say()
    assert there(made) == [False, False] and not folder.with_name(folder.name + ".gone").exists()
    assert not replace(made[1]).reused and make(root, "a", 0)[1].digest == made[1].digest


def test_gc_newest_run_unknown_to_store_is_refused(root: Path, tracker: Tracker) -> None:
    made = make(root, "a", 90)
    (root / "var" / "summary.json").write_text(json.dumps({"stages": [], "mlflow_run_id": "0" * 32}))
    with pytest.raises(UserError, match="does not contain the newest run"):
        say()
    assert there(made) == [True, True]


def say_as_user(root: Path, *words: str) -> tuple[int, str]:
    """Run `chatmill gc` without root's capabilities, so that the modes of files count."""
    taken = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*taken, sys.executable, "-m", "flows.cli.main", "gc", *words], cwd=root, timeout=PATIENCE,
        env=checkout_environment(REPOSITORY), capture_output=True, text=True, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="setpriv is not installed")
def test_gc_names_what_it_cannot_remove_and_removes_the_rest(root: Path, tracker: Tracker) -> None:
    old, young = make(root, "a", 30), make(root, "b", 2)
    log = root / "var" / "logs" / "deep" / "old.log"
    closed = [Path(old[0].path), log.parent, root / "var" / "cache" / "downloads" / "0123abcd"]
    for folder in closed[1:]:
        folder.mkdir(parents=True)
        (folder / "old.log").write_text("x")
        os.utime(folder / "old.log", (0, 0))
        os.utime(folder, (0, 0))
    for folder in closed:
        folder.chmod(0o555)
    code, said = say_as_user(root)
    assert code == 2 and said.count("\nerror: could not remove ") == 1
    error = said.partition("\nerror: ")[2]
    assert all(str(folder.relative_to(root)) in error for folder in closed) and "Permission denied" in error
    # The refused output is whole, the other one is gone, and no line says that refused files were removed.
    assert there(old + young) == [True, False, True, True] and (closed[0] / MANIFEST).exists()
    assert f"first {old[0].key} kept: it could not be removed" in said and "removed: " not in said
    # The download was renamed before its removal, so that no run uses what is left.
    download = closed[2].with_name(f"{closed[2].name}.gone")
    assert download.exists() and not closed[2].exists()
    for folder in (*closed[:2], download):
        folder.chmod(0o755)
    assert say_as_user(root)[0] == 0 and not download.exists()
    assert there(old + young) == [False, False, True, True] and not log.exists()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="setpriv is not installed")
@pytest.mark.parametrize("closed", ["", MANIFEST], ids=["folder", "manifest"])
def test_gc_keeps_output_whose_manifest_cannot_be_read(root: Path, tracker: Tracker, closed: str) -> None:
    old = make(root, "a", 30)
    place = Path(old[1].path) / closed
    mode = place.stat().st_mode
    place.chmod(0)
    code, said = say_as_user(root)
    place.chmod(mode)
    assert code == 0 and "its manifest cannot be read (Permission denied)" in said
    assert Path(old[1].path, "words.txt").exists()
