"""Batches that the flow label-batch adds: none beside an unfinished one, and one of two processes at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.config import Preset, read_preset
from flows.orchestration.label_batches import add_made_batch, find_unfinished_batch
from flows.servers.environment import configure_database
from tasks.data.labels.label_selection import item_values
from tasks.engine.output import StageOutput
from tasks.label_batch import COUNTS, ITEMS
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch, list_batches, open_batch
from tasks.labelling.schema import open_label_store
from tests.benchmarks.postgres import REPOSITORY, postgresql, programs
from tests.tasks.labelling.label_project import judge, person

SMOKE = REPOSITORY / "configs" / "smoke.yaml"
ADD = """
import json, os, sys
from pathlib import Path
from tests.flows.orchestration.test_label_batches import add_output
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(add_output(Path.cwd(), sys.argv[1])))
"""


@pytest.fixture(scope="module")
def preset() -> Preset:
    return read_preset(SMOKE, [])


def leave_output(root: Path, number: str, count: int = 3) -> StageOutput:
    """Write what the stage label_batch leaves."""
    folder = root / f"output{number}"
    folder.mkdir(parents=True)
    items = [LabelItem(f"Question {number}.{n}?", "Yes.", "No.", reason="random") for n in range(count)]
    (folder / ITEMS).write_text("".join(json.dumps(item_values(item)) + "\n" for item in items))
    (folder / COUNTS).write_text(json.dumps({"random": count}))
    return StageOutput("label_batch", number, str(folder), f"digest{number}", False, 0.0, {})


def add_output(root: Path, number: str) -> list[str]:
    """Add the batch of an output; return its name and what is said."""
    configure_database(root)
    made = add_made_batch(read_preset(SMOKE, []), leave_output(root, number), root)
    return [made.name, made.describe()]


def test_add_made_batch_beside_unfinished_one_adds_none_unless_asked(preset: Preset, tmp_path: Path) -> None:
    assert find_unfinished_batch(preset, tmp_path) == ""
    with open_label_store(tmp_path) as store:
        # What people import by hand is theirs.
        add_batch(store, BatchSettings("imported"), [LabelItem("Q", "a", "b")])
        assert find_unfinished_batch(preset, tmp_path) == ""
        first = add_made_batch(preset, leave_output(tmp_path, "1"), tmp_path)
        assert (first.name, first.is_new, first.missing) == ("smoke-1", True, 0)
        told = "batch smoke-1 is open and still needs 6 judgements, so no batch was added"
        assert told in find_unfinished_batch(preset, tmp_path)
        again = add_made_batch(preset, leave_output(tmp_path, "2"), tmp_path)
        assert (again.name, again.is_new, again.missing) == ("smoke-1", False, 6)
        assert told in again.describe()
        names = [batch.name for batch in list_batches(store)]
        assert names == ["imported", "smoke-1"]
        forced = add_made_batch(preset, leave_output(tmp_path, "3"), tmp_path, add_another=True)
        assert (forced.name, forced.is_new) == ("smoke-2", True)
        # A closed batch asks nobody, and a judged one needs nothing.
        open_batch(store, "smoke-2", False)
        for who in (person(store, "ana"), person(store, "ben")):
            for item in range(2, 5):
                judge(store, who, item)
        assert find_unfinished_batch(preset, tmp_path) == ""
        assert add_made_batch(preset, leave_output(tmp_path, "4"), tmp_path).name == "smoke-3"


def race(roots: list[Path]) -> list[list[str]]:
    """Let two processes add a batch while the store is held, so that both wait for it."""
    for root in roots:
        root.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(number)], cwd=root, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for number, root in enumerate(roots)
    ]  # fmt: skip
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    configure_database(roots[0])
    with open_label_store(roots[0]) as store, store.write():
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            running[0].wait(1)
    return [json.loads(process.communicate(timeout=60)[0]) for process in running]


def check_race(root: Path, results: list[list[str]]) -> None:
    with open_label_store(root) as store:
        assert [batch.name for batch in list_batches(store)] == ["smoke-1"]
    winner, loser = sorted((said for _, said in results), key=lambda said: "meanwhile" in said)
    assert winner == "batch smoke-1 has 3 items: 3 at random"
    assert loser.startswith(
        "another process added a batch meanwhile: batch smoke-1 is open and still needs 6"
    )


def test_add_made_batch_two_processes_at_once_one_adds_its_batch(tmp_path: Path) -> None:
    check_race(tmp_path, race([tmp_path, tmp_path]))


@pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed (Debian's postgresql)")
@pytest.mark.usefixtures("restored_environment")
def test_add_made_batch_two_hosts_at_once_one_adds_its_batch(tmp_path: Path) -> None:
    with postgresql() as address:
        os.environ["CHATMILL_DATABASE"] = address
        roots = [tmp_path / "one", tmp_path / "two"]
        check_race(roots[0], race(roots))
