"""Test the differences between two manifests of small stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tasks.engine.cache_key import ROOT, code_digest, definition_digests
from tasks.engine.output import read_manifest
from tasks.engine.stage import StageContext, stage
from tasks.tracking.cache_explanation import InputDifference, explain_differences
from tests.tasks.event_sink import ignore_event


@dataclass(frozen=True)
class Words:
    words: tuple[str, ...] = ("a", "b")
    size: dict[str, int] = field(default_factory=lambda: {"width": 4})


@stage()
def write(parameters: Words, out: Path, on_event):
    """Write a file of words."""
    (out / "words.txt").write_text(" ".join(parameters.words))
    return {}


@stage(inputs=("write",), external_inputs=lambda parameters, root: (root / "source").read_text())
def count(parameters: Words, write: Path, out: Path, on_event, seed: int):
    """Count the words; an outside file is a part of the key."""
    (out / "count").write_text(str(len((write / "words.txt").read_text().split())))
    return {}


def manifest(reference):
    return read_manifest(Path(reference.path))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "source").write_text("one")
    return tmp_path


def counted(root: Path, parameters: Words = Words(), seed: int = 0):
    context = StageContext(root, seed=seed)
    return manifest(
        count.run(Words(), {"write": write.run(parameters, {}, context, ignore_event)}, context, ignore_event)
    )


def test_explain_differences_same_key_gives_none(root):
    assert explain_differences(counted(root), counted(root)) == []


def test_explain_differences_parameter_has_both_values(root):
    context = StageContext(root)
    before = manifest(write.run(Words(), {}, context, ignore_event))
    now = manifest(write.run(Words(size={"width": 8}), {}, context, ignore_event))
    assert explain_differences(before, now) == [InputDifference("parameter", "size.width", "4", "8")]


def test_explain_differences_input_outside_and_seed_are_named(root):
    before = counted(root)
    (root / "source").write_text("two")
    now = counted(root, Words(("c",)), seed=3)
    old, new = (found["inputs"]["write"]["digest"] for found in (before, now))
    assert explain_differences(before, now) == [
        InputDifference("input", "write", old, new),
        InputDifference("outside", "outside", "one", "two"),
        InputDifference("seed", "seed", "0", "3"),
    ]


def test_explain_differences_unused_seed_is_not_named(root):
    before = manifest(write.run(Words(), {}, StageContext(root), ignore_event))
    now = manifest(write.run(Words(("c",)), {}, StageContext(root, seed=3), ignore_event))
    assert [found.kind for found in explain_differences(before, now)] == ["parameter"]


def test_explain_differences_code_lock_and_device_are_named(root):
    before = counted(root)
    here = f"{__name__}.count"
    assert here in before["definitions"]
    now = {
        **before,
        "key": "other",
        "code": "other",
        "definitions": {**before["definitions"], here: "changed", "model.new": "added"},
        "lock": "pins",
        "surroundings": {**before["surroundings"], "device": "cuda: H100"},
    }
    assert explain_differences(before, now) == [
        InputDifference("code", "model.new", None, "added"),
        InputDifference("code", here, before["definitions"][here], "changed"),
        InputDifference("lock", "requirements.txt", before["lock"], "pins"),
        InputDifference("device", "device", None, "cuda: H100"),
    ]


def test_explain_differences_older_manifest_has_one_code_digest(root):
    now = counted(root)
    before = {name: value for name, value in now.items() if name not in ("definitions", "surroundings")}
    before |= {"key": "older", "code": "old", "seed": 9, "device": "cuda"}
    # The stage uses the seed and not the device.
    assert explain_differences(before, now) == [
        InputDifference("code", "all definitions", "old", now["code"]),
        InputDifference("seed", "seed", "9", "0"),
    ]


def test_explain_differences_renamed_modules_are_one_entry(root):
    now = counted(root)
    before = {
        **now,
        "key": "older",
        "code": "old",
        "definitions": {"model.loop.Loop": "1", "model.launch.run": "2"},
    }
    assert explain_differences(before, now) == [
        InputDifference("code", "all definitions (modules were renamed)", "old", now["code"])
    ]


def test_definition_digests_include_all_code_of_stage():
    from tasks.gate import gate

    found = definition_digests(gate.function)
    assert "tasks.gate.gate" in found and "tasks.gate" in found
    assert not any(name.startswith(("tasks.engine.stage", "tasks.engine.cache_key")) for name in found)
    assert (ROOT / "tasks" / "gate.py").exists() and code_digest(gate.function)
