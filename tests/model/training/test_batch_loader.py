"""Batches that a thread makes one step ahead: the same as those made on demand, and ready when asked for."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.data.chat_template import examples_of
from model.data.dataloader import PackedBatch, TokenFile, WindowOrder, each_row
from model.training.batch_loader import BatchLoader, own_slice
from model.training.process_group import ProcessGroup
from tests.model.conftest import Language


def numbers(step: int) -> tuple[Tensor, Tensor]:
    if step == 7:
        raise ValueError("step 7 has no batch")
    random = torch.Generator().manual_seed(step)
    return torch.rand(3, generator=random), torch.full((2,), step)


@pytest.mark.parametrize("steps", [(0, 1, 2, 3), (4, 5, 2, 3, 3, 9), (8, 6)])
def test_load_batch_ahead_equals_the_batch_on_demand(steps: tuple[int, ...]) -> None:
    ahead, plain = (BatchLoader(numbers, "cpu", ahead) for ahead in (True, False))
    for step in steps:
        found, right = ahead.load_batch(step), plain.load_batch(step)
        assert all(map(torch.equal, found, right)) and int(found[1][0]) == step


def test_load_batch_error_comes_with_its_own_step() -> None:
    loader = BatchLoader(numbers, "cpu", ahead=True)
    assert int(loader.load_batch(6)[1][0]) == 6
    with pytest.raises(ValueError, match="step 7"):
        loader.load_batch(7)
    assert int(loader.load_batch(8)[1][0]) == 8


def test_load_batch_begins_the_next_one_and_only_that() -> None:
    made: list[tuple[int, str]] = []
    ready = threading.Event()

    def make(step: int) -> tuple[Tensor]:
        made.append((step, threading.current_thread().name))
        ready.set()
        return (torch.zeros(1),)

    loader = BatchLoader(make, "cpu", ahead=True)
    loader.load_batch(0)
    loader.load_batch(1)
    time.sleep(0.2)
    assert [step for step, _ in made] == [0, 1, 2] and all(name.startswith("batches") for _, name in made)


def test_load_batch_of_the_124m_preset_takes_a_millisecond_of_the_host(tmp_path: Path) -> None:
    rows, context = 512, 1024
    (tmp_path / "tokens.json").write_text('{"dtype": "<u2"}')
    drawn = np.random.default_rng(0).integers(0, 50304, 4 * rows * context, dtype=np.uint16)
    drawn.tofile(tmp_path / "train.bin")
    file = TokenFile(tmp_path, "train", np.ones(50304))
    order = WindowOrder(file, context, rows, 1)
    took = {}
    for ahead in (True, False):
        loader = BatchLoader(lambda step: file.read_windows(order.window_starts(step), context), "cpu", ahead)
        times = []
        for step in range(4):
            began = time.thread_time()
            loader.load_batch(step)
            times.append(1000 * (time.thread_time() - began))
            time.sleep(0.3)
        # The first batch is made on demand.
        took[ahead] = sorted(times[1:])[1]
    assert took[True] < 1 < took[False]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_own_slice_covers_each_unit_once(size: int) -> None:
    seen = []
    for rank in range(size):
        world = ProcessGroup(rank, size, "cpu", max(size, 4))
        own = world.shard_rows(10)
        loaded = list(range(10))[own]
        for part in world.shard_parts(10):
            seen += loaded[own_slice(part, own)]
    assert seen == list(range(10))


def test_num_targets_equals_the_count_in_the_packed_rows(language: Language) -> None:
    examples = examples_of(each_row(language.split / "train" / "pairs"), language.tokenizer, 60)
    for chosen in ([0], [3, 4, 5], list(range(10, 40))):
        batch = PackedBatch.from_rows([[examples[i]] for i in chosen], 60, language.tokenizer.end)
        assert batch.num_targets == sum(examples.num_targets(i) for i in chosen)
