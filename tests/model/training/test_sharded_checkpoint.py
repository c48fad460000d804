"""Checkpoints of shared weights: whole or absent, undamaged or renamed, for any number of processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.events import EventCallback
from model.training.checkpoint import DamagedFile
from model.training.launcher import launch_training
from model.training.process_group import ProcessGroup
from model.training.sharded_checkpoint import (
    ShardedWriter,
    load_sharded_checkpoint,
    load_shards,
    save_shards,
)

# One row, fewer rows than processes, rows that do not divide evenly.
ROWS = {"one": 1, "few": 2, "odd": 7}


def whole_state(step: int) -> dict[str, Any]:
    """Return a state with whole weights."""
    weights = {name: torch.arange(count * 3.0).view(count, 3) + step for name, count in ROWS.items()}
    return {"masters": weights, "best": {"weights": dict(weights)}, "other": [step, 0.5], "seed": 3}


def own_state(world: ProcessGroup, step: int) -> dict[str, Any]:
    """Return a process's rows of a state."""
    state = whole_state(step)
    own = {name: value[world.own_rows(len(value))] for name, value in state["masters"].items()}
    return {**state, "masters": own, "best": {"weights": own}}


def write(folder: str, on_event: EventCallback) -> dict[str, float]:
    """Write the checkpoints of three steps, and read the last one back, as a process of a group."""
    world = ProcessGroup.join_group("cpu", sharded=True)
    writer = ShardedWriter(Path(folder), ROWS, world)
    for step in (4, 5, 6):
        writer.save(step, own_state(world, step))
    writer.wait()
    world.wait_for_all()
    found = load_sharded_checkpoint(Path(folder), print, world)
    assert found is not None
    expected = own_state(world, 6)["masters"]
    assert all(torch.equal(found["masters"][name], expected[name]) for name in ROWS)
    return {}


def check_damaged(folder: str, on_event: EventCallback) -> dict[str, float]:
    """Load a damaged checkpoint as a process of a group: all processes take the one before."""
    world = ProcessGroup.join_group("cpu", sharded=True)
    said: list[str] = []
    found = load_sharded_checkpoint(Path(folder), said.append, world)
    assert found is not None
    return {"step": found["step"], "said": len(said)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write checkpoints by three processes."""
    root = tmp_path_factory.mktemp("shards")
    launch_training(write, {"folder": str(root / "checkpoints")}, processes=3, log=root / "log")
    return root / "checkpoints"


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "checkpoints")


def assert_step(found: dict[str, Any] | None, step: int) -> None:
    assert found is not None
    expected = whole_state(step)
    assert (found["step"], found["other"], found["seed"]) == (step, expected["other"], 3)
    for name in ROWS:
        assert torch.equal(found["masters"][name], expected["masters"][name])
        assert torch.equal(found["best"]["weights"][name], expected["masters"][name])


def test_sharded_writer_keeps_newest_two(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["00000005", "00000006"]
    assert len(list((folder / "00000006").iterdir())) == 3


def test_load_sharded_checkpoint_joins_rows_of_other_processes(folder: Path) -> None:
    assert_step(load_sharded_checkpoint(folder, print, ProcessGroup()), 6)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.index(torch.arange(3.0).add(6).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(("damage", "number"), [(flip, 0), (cut, 1), (remove, 2), (empty, 2)])
def test_load_sharded_checkpoint_damaged_file_is_renamed(
    folder: Path, damage: Callable[[Path], None], number: int
) -> None:
    damage(folder / "00000006" / f"0000{number}-of-00003.pt")
    said: list[str] = []
    assert_step(load_sharded_checkpoint(folder, said.append, ProcessGroup()), 5)
    assert len(said) == 1
    assert "00000006 is damaged" in said[0]
    assert (folder / "00000006.damaged").is_dir()
    assert not (folder / "00000006").exists()


def test_load_sharded_checkpoint_all_processes_pass_over_damage(folder: Path, tmp_path: Path) -> None:
    flip(folder / "00000006" / "00000-of-00003.pt")
    found = launch_training(check_damaged, {"folder": str(folder)}, processes=2, log=tmp_path / "log")
    assert found == {"step": 5, "said": 1}


def test_load_sharded_checkpoint_unfinished_folder_is_no_checkpoint(folder: Path) -> None:
    (folder / "00000006").rename(folder / "00000006.part")
    assert_step(load_sharded_checkpoint(folder, print, ProcessGroup()), 5)
    for path in folder.glob("*"):
        shutil.rmtree(path)
    assert load_sharded_checkpoint(folder, print, ProcessGroup()) is None


def test_save_shards_over_existing_folder_replaces_it(tmp_path: Path) -> None:
    world = ProcessGroup()
    for step in (1, 2):
        save_shards(tmp_path / "best", own_state(world, step), ROWS, world)
    assert load_shards(tmp_path / "best", world)["other"] == [2, 0.5]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_load_shards_kill_between_renames_gives_former_state(tmp_path: Path) -> None:
    world = ProcessGroup()
    save_shards(tmp_path / "best", own_state(world, 1), ROWS, world)
    (tmp_path / "best").rename(tmp_path / "best.former")
    assert load_shards(tmp_path / "best", world)["other"] == [1, 0.5]


def test_load_shards_missing_folder_or_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_shards(tmp_path / "best", ProcessGroup())
    (tmp_path / "best").mkdir()
    with pytest.raises(DamagedFile, match="0 files"):
        load_shards(tmp_path / "best", ProcessGroup())


def test_load_shards_unreadable_file_is_not_renamed(folder: Path) -> None:
    path = folder / "00000006" / "00000-of-00003.pt"
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        load_sharded_checkpoint(folder, print, ProcessGroup())
    assert (folder / "00000006").is_dir()
