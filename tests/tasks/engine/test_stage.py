"""Test that a stage runs once for each key, completely, and in one process at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from model.errors import UserError
from model.events import Message
from tasks.engine.output import MANIFEST, publish_output, read_manifest
from tasks.engine.parallel import process_pool
from tasks.engine.stage import StageContext, stage
from tests.tasks.event_sink import ignore_event
from tests.waiting import PATIENCE


@dataclass(frozen=True)
class Words:
    words: tuple[str, ...] = ("a", "b")
    seconds: float = 0.0


@stage()
def write(parameters: Words, out: Path, on_event, root: Path):
    """Write a file of words; append a line to `made` at each run. Waits `seconds`, or until `go` exists."""
    with (root / "made").open("a") as file:
        file.write(f"{os.getpid()}\n")
    (out / "first.txt").write_text("half")
    end = time.monotonic() + parameters.seconds
    while time.monotonic() < end and not (root / "go").exists():
        time.sleep(0.01)
    if "fail" in parameters.words:
        raise UserError("the words are wrong")
    (out / "words.txt").write_text(" ".join(parameters.words))
    on_event(Message("written"))
    return {"words": len(parameters.words)}


@stage(inputs=("write", "other"))
def count(parameters: Words, write: Path, other: Path | None, out: Path, on_event, seed: int):
    """Count the words of the file."""
    words = len((write / "words.txt").read_text().split())
    (out / "count.json").write_text(json.dumps({"words": words, "other": other and str(other), "seed": seed}))
    return {"words": words}


@stage()
def divide(parameters: Words, out: Path, on_event):
    """Write words and labels of two parts."""
    for part in ("train", "test"):
        for kind in ("words", "labels"):
            (out / part / kind).mkdir(parents=True)
            (out / part / kind / "0").write_text(" ".join(parameters.words) if kind == "labels" else part)
    return {}


@stage(inputs=("divide",), input_patterns={"divide": ("*/words",)})
def look(parameters: Words, divide: Path, out: Path, on_event):
    """List the files of the input that are visible."""
    seen = sorted(path.relative_to(divide).as_posix() for path in divide.glob("*/*/*"))
    (out / "seen").write_text(" ".join(seen))
    return {}


@stage(resumable=True)
def climb(parameters: Words, out: Path, on_event):
    """Resume from the step at which the process was killed."""
    for step in range(1, 4):
        mark = out / f"step-{step}"
        if not mark.exists():
            mark.touch()
            time.sleep(parameters.seconds)
    return {"steps": 3}


@stage(output_is_current=lambda folder, root: (root / "data").exists())
def publish(parameters: Words, out: Path, on_event, root: Path):
    """Write outside the output folder too."""
    (root / "data").write_text("rows")
    (out / "rows").write_text("rows")
    return {}


@stage()
def fill(parameters: Words, out: Path, on_event):
    """Write to a full disk."""
    (out / "first.txt").write_text("half")
    Path("/dev/full").write_text("words")
    return {}


@stage()
def share(parameters: Words, out: Path, on_event, parallel_map):
    """Map a function over items."""
    return {"squares": list(parallel_map(abs, [-1, -2]))}


def made(root: Path) -> int:
    return len((root / "made").read_text().split())


def test_stage_run_second_time_is_reused(tmp_path):
    context = StageContext(tmp_path)
    first = write.run(Words(), {}, context, ignore_event, run="run-1")
    second = write.run(Words(), {}, context, ignore_event, run="run-2")
    assert (first.reused, second.reused) == (False, True)
    assert replace(first, reused=True) == second and second.run == "run-1"
    assert made(tmp_path) == 1
    assert Path(first.path) == tmp_path / "var" / "cache" / "artifacts" / "write" / first.key
    manifest = json.loads((Path(first.path) / MANIFEST).read_text())
    wanted = {
        "stage",
        "key",
        "parameters",
        "inputs",
        "code",
        "lock",
        "device",
        "seconds",
        "metrics",
        "digest",
    }
    assert wanted <= set(manifest)
    assert manifest["parameters"] == {"words": ["a", "b"], "seconds": 0.0}


def test_stage_run_other_parameter_makes_other_folder(tmp_path):
    context = StageContext(tmp_path)
    first = write.run(Words(), {}, context, ignore_event)
    other = write.run(Words(("c",)), {}, context, ignore_event)
    assert first.key != other.key and not other.reused and Path(first.path).exists()


def test_stage_run_inputs_arrive_as_folders(tmp_path):
    context = StageContext(tmp_path, seed=5)
    words = write.run(Words(), {}, context, ignore_event)
    found = count.run(Words(), {"write": words}, context, ignore_event)
    assert json.loads((Path(found.path) / "count.json").read_text()) == {"words": 2, "other": None, "seed": 5}
    assert read_manifest(Path(found.path))["inputs"] == {
        "write": {"key": words.key, "digest": words.digest, "read": words.digest}
    }


def test_stage_run_sees_only_declared_part_of_input(tmp_path):
    context = StageContext(tmp_path)
    first = look.run(
        Words(), {"divide": divide.run(Words(), {}, context, ignore_event)}, context, ignore_event
    )
    assert (Path(first.path) / "seen").read_text() == "test/words/0 train/words/0"
    relabelled = divide.run(Words(("c",)), {}, context, ignore_event)
    assert not relabelled.reused
    assert look.run(Words(), {"divide": relabelled}, context, ignore_event) == replace(first, reused=True)
    told = read_manifest(Path(first.path))["inputs"]["divide"]
    assert told["read"] != told["digest"]
    assert look.key(Words(), {"divide": relabelled}, context) == first.key


def test_stage_run_remade_input_with_same_content_reuses_output(tmp_path):
    context = StageContext(tmp_path)
    first = count.run(
        Words(), {"write": write.run(Words(), {}, context, ignore_event)}, context, ignore_event
    )
    slower = write.run(Words(seconds=0.01), {}, context, ignore_event)
    assert not slower.reused
    assert count.run(Words(), {"write": slower}, context, ignore_event) == replace(first, reused=True)


def test_stage_call_runs_plain_function(tmp_path):
    assert write(Words(), out=tmp_path, on_event=ignore_event, root=tmp_path) == {"words": 2}


def test_stage_run_failure_leaves_no_output(tmp_path):
    context = StageContext(tmp_path)
    with pytest.raises(UserError, match="the words are wrong"):
        write.run(Words(("fail",)), {}, context, ignore_event)
    [part] = (tmp_path / "var" / "cache" / "artifacts" / "write").glob("*.part")
    (part / "left-over").touch()
    with pytest.raises(UserError):
        write.run(Words(("fail",)), {}, context, ignore_event)
    assert [path.name for path in part.iterdir()] == ["first.txt"]


def test_stage_run_missing_outside_file_is_made_again(tmp_path):
    context = StageContext(tmp_path)
    assert not publish.run(Words(), {}, context, ignore_event).reused
    assert publish.run(Words(), {}, context, ignore_event).reused
    before = (Path(publish.run(Words(), {}, context, ignore_event).path) / "rows").stat().st_ino
    (tmp_path / "data").unlink()
    made = publish.run(Words(), {}, context, ignore_event)
    assert not made.reused and (tmp_path / "data").exists()
    # Another run may be reading the equal output: its files stay.
    assert (Path(made.path) / "rows").stat().st_ino == before


def test_publish_output_replaces_former_output(tmp_path):
    folder, part = tmp_path / "write" / "0" / "a", tmp_path / "write" / "0" / "a.part"
    for number in range(3):
        part.mkdir(parents=True)
        (part / "rows").write_text(str(number))
        publish_output(part, folder)
        assert (folder / "rows").read_text() == str(number)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["a"]


def test_stage_run_full_disk_is_one_error_and_leaves_nothing(tmp_path):
    context = StageContext(tmp_path)
    kept = write.run(Words(), {}, context, ignore_event)
    with pytest.raises(UserError, match=r"the disk of .* is full; free disk space .* fill starts over"):
        fill.run(Words(), {}, context, ignore_event)
    assert not list((tmp_path / "var" / "cache" / "artifacts" / "fill").glob("*.part"))
    assert read_manifest(Path(kept.path))


def test_stage_run_parallel_map_is_no_part_of_key(tmp_path):
    first = share.run(Words(), {}, StageContext(tmp_path), ignore_event)
    with process_pool(2) as parallel_map:
        second = share.run(Words(), {}, StageContext(tmp_path, parallel_map=parallel_map), ignore_event)
    assert second.reused and first.metrics == {"squares": [1, 2]}


# A fork would inherit what earlier tests left in this process.
FRESH = multiprocessing.get_context("spawn")


def in_process(name, parameters, root, said):
    globals()[name].run(parameters, {}, StageContext(root), said.put)


def start(stage_made, *arguments):
    process = FRESH.Process(target=in_process, args=(stage_made.name, *arguments))
    process.start()
    return process


def test_stage_run_second_process_waits_and_reuses(tmp_path):
    said = FRESH.Queue()
    slow = Words(seconds=PATIENCE)
    first = start(write, slow, tmp_path, said)
    while not (tmp_path / "made").exists():
        time.sleep(0.01)
    second = start(write, slow, tmp_path, said)
    assert said.get(timeout=PATIENCE).text == "another run is computing this stage; waiting for it"
    (tmp_path / "go").touch()
    first.join(PATIENCE), second.join(PATIENCE)
    assert (first.exitcode, second.exitcode) == (0, 0)
    assert made(tmp_path) == 1 and said.get(timeout=PATIENCE).text == "written"


def test_stage_run_killed_run_is_resumed(tmp_path):
    said = FRESH.Queue()
    process = start(climb, Words(seconds=30.0), tmp_path, said)
    folder = tmp_path / "var" / "cache" / "artifacts" / "climb"
    while not list(folder.glob("*.part/step-1")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)
    assert not [path for path in folder.iterdir() if path.is_dir() and path.suffix != ".part"]
    began = time.monotonic()
    [part] = folder.glob("*.part")
    (part / "step-2").touch()
    (part / "step-3").touch()
    found = climb.run(Words(seconds=30.0), {}, StageContext(tmp_path), ignore_event)
    assert time.monotonic() - began < 10
    assert sorted(path.name for path in Path(found.path).glob("step-*")) == ["step-1", "step-2", "step-3"]
