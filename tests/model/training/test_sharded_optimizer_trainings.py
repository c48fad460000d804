"""Sharded training: the curve of one process, and resumption with another number of processes."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.events import Event, EventCallback, Resumed, Step
from model.training.base_model import adopt_base
from model.training.launcher import launch_training
from model.training.loop_config import LoopParameters
from model.training.process_group import ProcessGroup
from model.training.sharded_optimizer import ShardedOptimizer
from tests.model.conftest import Killed, Language
from tests.model.training.test_training_tasks import quiet, stage

STEPS = {"pretrain": 4, "sft": 4, "reward": 4, "rlhf": 2, "dpo": 4}


def settings(name: str, rank: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the settings of a few steps of a stage, in which processes have different numbers of passes."""
    values: dict[str, Any] = {"steps": STEPS[name], "eval_every": 2, "save_every": 1, "gradient_parts": 4}
    sizes = {"rlhf": (16, 3), "pretrain": (7, 1)}
    batch, micro = sizes.get(name, (7, 3))
    # One training has moments in 8 bits.
    eight = {"optimizer": {"adamw_bits": 8}} if name == "sft" else {}
    adapted = {"lora": {"rank": rank}} if rank and name != "pretrain" else {}
    return {**values, "batch_size": batch, "micro_batch_size": micro, **adapted, **eight, **changes}


def train_sharded(
    root: str,
    folders: dict[str, bool],
    names: list[str],
    bfloat16: bool,
    on_event: EventCallback,
    rank: int = 0,
) -> dict[str, float]:
    """Train stages from those in `root`/whole, as a process of a group.

    `folders` says whether a training in `root`/FOLDER is killed after half of its steps, and `rank` is that
    of adapters.
    """
    torch.set_num_threads(1)
    # Imported before the processes are forked.
    assert ShardedOptimizer
    if not bfloat16:
        # As a CPU without products in bfloat16.
        torch.cpu.get_capabilities = dict  # type: ignore[assignment]
    number = ProcessGroup.join_group("cpu", sharded=True).rank
    language = Language(Path(root) / f"language-{number}")
    made = {other: Path(root) / "whole" / other for other in STEPS}
    for name in names:
        for folder, stopped in folders.items():

            def listen(event: Event, last: int = STEPS[name] // 2 if stopped else STEPS[name]) -> None:
                if isinstance(event, Resumed):
                    on_event(event)
                if isinstance(event, Step) and event.step > last:
                    raise Killed

            with suppress(Killed):
                train = stage(name, language, made, **settings(name, rank, sharding="full"))
                train(Path(root) / folder / name, listen)
    return {}


def losses(folder: Path) -> list[float]:
    """Return all losses of a curve, in order."""
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    return [line[name] for line in lines for name in sorted(line) if name.endswith(("loss", "per_byte"))]


def train_whole(language: Language, root: Path, names: list[str], rank: int = 0) -> None:
    """Train each stage without sharding, in this process."""
    made = {other: root / "whole" / other for other in STEPS}
    for name in names:
        stage(name, language, made, **settings(name, rank))(made[name], quiet)


def test_training_sharded_follows_curve_of_one_process(
    language: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    train_whole(language, tmp_path, list(STEPS))
    resumed: list[int] = []

    def launch(processes: int, folders: dict[str, bool]) -> None:
        launch_training(
            train_sharded,
            {"root": str(tmp_path), "folders": folders, "names": list(STEPS), "bfloat16": False},
            processes=processes,
            on_event=lambda event: resumed.append(event.step) if isinstance(event, Resumed) else None,
            log=tmp_path / "log",
        )

    # Trainings that two processes begin, and that four continue.
    launch(2, {"shared": True})
    assert resumed == []
    launch(4, {"shared": False})
    assert resumed == [steps // 2 for steps in STEPS.values()]
    for name in STEPS:
        expected = losses(tmp_path / "whole" / name)
        assert len(expected) > STEPS[name]
        whole = load_file(tmp_path / "whole" / name / "model" / "model.safetensors")
        assert losses(tmp_path / "shared" / name) == pytest.approx(expected, rel=1e-5, abs=1e-5), name
        weights = load_file(tmp_path / "shared" / name / "model" / "model.safetensors")
        assert list(weights) == list(whole)
        for key, value in whole.items():
            torch.testing.assert_close(weights[key], value, rtol=0, atol=2e-4)
        assert {path.name for path in (tmp_path / "shared" / name).iterdir()} == {
            path.name for path in (tmp_path / "whole" / name).iterdir()
        }


def test_training_sharded_bfloat16_follows_curve_of_one_process(language: Language, tmp_path: Path) -> None:
    names = ["pretrain", "sft"]
    train_whole(language, tmp_path, names)
    arguments = {"root": str(tmp_path), "folders": {"two": False}, "names": names, "bfloat16": True}
    launch_training(train_sharded, arguments, processes=2, log=tmp_path / "log")
    for name in names:
        expected = losses(tmp_path / "whole" / name)
        assert losses(tmp_path / "two" / name) == pytest.approx(expected, rel=5e-3)


def test_training_sharded_adapters_follow_curve_of_one_process(
    language: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    train_whole(language, tmp_path, list(STEPS), rank=3)
    arguments = {"root": str(tmp_path), "folders": {"two": False}, "names": list(STEPS)[1:], "rank": 3}
    launch_training(train_sharded, {**arguments, "bfloat16": False}, processes=2, log=tmp_path / "log")
    for name in list(STEPS)[1:]:
        whole, shared = tmp_path / "whole" / name, tmp_path / "two" / name
        assert losses(shared) == pytest.approx(losses(whole), rel=1e-5, abs=1e-5), name
        expected = load_file(whole / "adapter" / "adapter_model.safetensors")
        found = load_file(shared / "adapter" / "adapter_model.safetensors")
        assert list(found) == list(expected)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=2e-4)


def adopt_sharded(base: str, tokenizer: str, folder: str, on_event: EventCallback) -> dict[str, float]:
    """Adopt an open model as a process of a group that shares its weights."""
    torch.set_num_threads(1)
    parameters = {"sharding": "full", "gradient_parts": 2}
    return adopt_base(parameters, base, tokenizer, 0, folder, 5, "cpu", on_event)


def test_adopt_base_sharded_measures_as_one_process(language: Language, tmp_path: Path) -> None:
    base = language.model(tmp_path / "base")
    alone = adopt_base({}, str(base), str(language.tokens), 0, str(tmp_path / "one"), 5, "cpu", quiet)
    arguments = {"base": str(base), "tokenizer": str(language.tokens), "folder": str(tmp_path / "two")}
    shared = launch_training(adopt_sharded, arguments, processes=2, log=tmp_path / "log")
    assert shared == pytest.approx(alone, rel=5e-3)
    for name in ("model.safetensors", "config.json"):
        one, two = (tmp_path / folder / "model" / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("units", [4, 5, 7, 16])
@pytest.mark.parametrize("size", [0, 1, 2, 3])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_micro_batches_of_sharded_group_are_equally_many(units: int, size: int, processes: int) -> None:
    groups = [ProcessGroup(rank, processes, parts=processes, sharded=True) for rank in range(processes)]
    passes = [group.micro_batches(part, units, size) for group in groups for part in group.shard_parts(units)]
    assert len({len(each) for each in passes}) == 1
    counted = [row for each in passes for rows, factor in each if factor for row in range(units)[rows]]
    assert counted == list(range(units))
    assert all(rows.stop > rows.start for each in passes for rows, _ in each)


@pytest.mark.parametrize("count", [1, 3, 8, 10])
def test_own_rows_of_all_processes_are_the_weight(count: int) -> None:
    for size in (1, 2, 3, 4):
        groups = [ProcessGroup(rank, size) for rank in range(size)]
        found = [row for group in groups for row in range(count)[group.own_rows(count)]]
        assert found == list(range(count))
        chunks = torch.arange(count).chunk(size)
        assert [len(chunk) for chunk in chunks] == [
            len(range(count)[group.own_rows(count)]) for group in groups[: len(chunks)]
        ]


@pytest.mark.parametrize("value", ["half", "", "FULL"])
def test_loop_parameters_unknown_sharding_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match="sharding is"):
        LoopParameters(sharding=value)
