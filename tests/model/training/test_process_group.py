"""Test the process group: any number of processes that shares a batch's parts gives the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.events import EventCallback
from model.training.launcher import launch_training
from model.training.process_group import ProcessGroup, add_in_order
from tests.model.conftest import Killed, Language
from tests.model.training.test_training_tasks import Train, digest, quiet, stage

STEPS = {"pretrain": 5, "sft": 5, "reward": 5, "rlhf": 3, "dpo": 4}


def few_steps(name: str, root: Path, language: Language, parts: int) -> Train:
    """Return a function that trains a stage for a few steps, from the stages in `root`/whole."""
    settings = {"steps": STEPS[name], "eval_every": 3, "save_every": 2, "gradient_parts": parts}
    return stage(name, language, {other: root / "whole" / other for other in STEPS}, **settings)


def train_each(root: str, parts: int, on_event: EventCallback) -> dict[str, float]:
    """Train each stage in `root`/shared, and continue it in `root`/resumed, as a process of a group."""
    torch.set_num_threads(1)
    rank = ProcessGroup.join_group("cpu").rank
    language = Language(Path(root) / f"language-{rank}")
    for name in STEPS:
        for folder in ("shared", "resumed"):
            few_steps(name, Path(root), language, parts)(Path(root) / folder / name, on_event)
    return {}


@pytest.mark.parametrize(("processes", "parts"), [(2, 2), (3, 4)])
def test_training_processes_give_bits_of_one(
    processes: int,
    parts: int,
    language: Language,
    tmp_path: Path,
    killed_at: Callable[[int], EventCallback],
) -> None:
    for name in STEPS:
        train = few_steps(name, tmp_path, language, parts)
        train(tmp_path / "whole" / name, quiet)
        with pytest.raises(Killed):
            train(tmp_path / "resumed" / name, killed_at(2))
    launch_training(
        train_each, {"root": str(tmp_path), "parts": parts}, processes=processes, log=tmp_path / "log"
    )
    for name in STEPS:
        whole = digest(tmp_path / "whole" / name)
        assert len(whole) > 3
        assert digest(tmp_path / "shared" / name) == whole, name
        assert digest(tmp_path / "resumed" / name) == whole, name


def test_training_parts_change_rounding_only(language: Language, tmp_path: Path) -> None:
    folders = {parts: tmp_path / str(parts) for parts in (1, 2)}
    figures = {
        parts: few_steps("pretrain", tmp_path, language, parts)(folder, quiet)
        for parts, folder in folders.items()
    }
    assert figures[1]["loss"] == pytest.approx(figures[2]["loss"], rel=5e-3)


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 16])
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_process_group_parts_do_not_depend_on_processes(rows: int, parts: int) -> None:
    alone = ProcessGroup(parts=parts).shard_parts(rows)
    assert [row for part in alone for row in range(rows)[part]] == list(range(rows))
    assert all(part.stop > part.start for part in alone)
    for size in range(1, parts + 1):
        groups = [ProcessGroup(rank, size, parts=parts) for rank in range(size)]
        assert [part for group in groups for part in group.shard_parts(rows)] == alone
        shares = [group.shard_rows(rows) for group in groups]
        assert [row for share in shares for row in range(rows)[share]] == list(range(rows))


def test_process_group_sum_chunks_adds_each_chunk_once() -> None:
    found: list[slice] = []

    def chunk_sums(chunk: slice) -> torch.Tensor:
        found.append(chunk)
        return torch.tensor([float(chunk.stop - chunk.start), 1.0])

    assert ProcessGroup().sum_chunks(10, 4, chunk_sums).tolist() == [10.0, 3.0]
    assert found == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_add_in_order_rounds_from_first_to_last() -> None:
    big, one = torch.tensor([2.0**24]), torch.tensor([1.0])
    assert add_in_order([big, one, one]).item() == 2.0**24
    assert add_in_order([one, one, big]).item() == 2.0**24 + 2
    assert one.item() == 1.0
