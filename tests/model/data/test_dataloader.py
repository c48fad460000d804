"""Batches: every unit once an epoch, packing, windows and rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.dataloader import (
    IGNORED,
    Example,
    Examples,
    PackedBatch,
    Packing,
    TokenFile,
    WindowOrder,
    batch_order,
    each_row,
    pad_rows,
    read_rows,
)
from model.errors import UserError
from model.training.pretrain import token_lengths
from tests.model.conftest import CONTEXT, Language


def test_batch_order_yields_every_unit_once_per_epoch() -> None:
    seen = np.concatenate([batch_order(3, step, 5, 20) for step in range(8)])
    assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(20))
    assert list(seen[:20]) != list(seen[20:])


def test_batch_order_depends_only_on_seed_and_step() -> None:
    late = batch_order(3, 7, 5, 20)
    batch_order(4, 2, 5, 20)
    assert list(batch_order(3, 7, 5, 20)) == list(late)
    assert list(batch_order(4, 7, 5, 20)) != list(late)


def test_batch_order_batch_across_epochs_loses_no_unit() -> None:
    seen = np.concatenate([batch_order(3, step, 8, 20) for step in range(5)])
    assert sorted(seen[:20]) == list(range(20))


def test_read_windows_targets_are_next_tokens(language: Language) -> None:
    file = TokenFile(language.tokens, "train", token_lengths(language.tokenizer))
    windows = WindowOrder(file, CONTEXT, 4, seed=2)
    for step in range(60):
        inputs, targets = file.read_windows(windows.window_starts(step), CONTEXT)
        assert inputs.shape == targets.shape == (4, CONTEXT)
        assert torch.equal(inputs[:, 1:], targets[:, :-1])


def test_text_bytes_equals_encoded_length(language: Language) -> None:
    file = TokenFile(language.tokens, "valid", token_lengths(language.tokenizer))
    starts = np.arange(file.num_windows(CONTEXT)) * CONTEXT
    _, targets = file.read_windows(starts, CONTEXT)
    text = language.tokenizer.decode(targets.flatten().tolist())
    assert file.text_bytes(starts, CONTEXT) == len(text.encode())


def test_pack_examples_holds_every_fitting_example_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, size=300).tolist()
    packing = Packing.pack_examples(lengths, 32)
    packed = [i for row in packing.rows for i in row]
    assert sorted(packed) == [i for i, n in enumerate(lengths) if n <= 32]
    assert packing.dropped == sum(n > 32 for n in lengths)
    assert all(sum(lengths[i] for i in row) <= 32 for row in packing.rows)
    assert sum(lengths[i] for i in packed) > 0.95 * 32 * len(packing.rows)


def test_examples_returns_what_was_given() -> None:
    given = [Example([1, 70_000], [3], 2), Example([], [4, 0]), Example([5], [])]
    kept = Examples(iter(given))
    assert [kept[i] for i in range(3)] == list(kept) == given
    assert len(kept) == 3 and kept.lengths == [3, 2, 1]
    assert len(Examples([])) == 0 and Examples([]).lengths == []


def test_packed_batch_targets_only_completions() -> None:
    rows = [[Example([1, 2, 3], [4, 5, 0]), Example([1, 6], [7, 0])]]
    batch = PackedBatch.from_rows(rows, 10, padding=9)
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, 1, 6, 7, 9, 9]]
    no = IGNORED
    assert batch.targets.tolist() == [[no, no, 4, 5, 0, no, 7, 0, no, no]]
    assert batch.documents.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, -1, -1]]
    assert batch.num_targets == 5


def test_window_order_reads_long_document_to_last_token(language: Language, tmp_path: Path) -> None:
    tokenizer = language.tokenizer
    document = " and ".join(f"{i} films" for i in range(400))
    ids = tokenizer.encode_documents(["the film is good"] * 20 + [document] + ["the film is good"] * 20)
    place = len(tokenizer.encode_documents(["the film is good"] * 20))
    length = len(tokenizer.encode(document)) + 1
    assert length > 50 * CONTEXT
    (tmp_path / "tokens.json").write_text('{"dtype": "<u2"}')
    ids.tofile(tmp_path / "train.bin")
    windows = WindowOrder(TokenFile(tmp_path, "train", token_lengths(tokenizer)), CONTEXT, 5, seed=1)
    targets: set[int] = set()
    for step in range(-(-windows.windows // 5)):  # one epoch
        for start in windows.window_starts(step).tolist():
            targets |= set(range(start + 1, start + CONTEXT + 1))
    assert set(range(place, place + length)) <= targets


def test_read_rows_of_folder_follows_shard_order(tmp_path: Path) -> None:
    for name in ("00002", "00000", "00001"):
        (tmp_path / f"{name}.jsonl").write_text("" if name == "00000" else f'{{"id": "{name}"}}\n' * 2)
    (tmp_path / "other.txt").write_text("{")
    assert [row["id"] for row in read_rows(tmp_path)] == ["00001"] * 2 + ["00002"] * 2
    assert read_rows(tmp_path / "00001.jsonl") == [{"id": "00001"}] * 2
    with (tmp_path / "00001.jsonl").open("a") as file:
        file.write("{")
    rows = each_row(tmp_path)
    assert next(rows) == {"id": "00001"}
    with pytest.raises(UserError, match=r"00001\.jsonl, line 3: not a JSON object"):
        list(rows)


def test_read_rows_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing", "missing.jsonl"):
        with pytest.raises(UserError, match=f"{name} is missing"):
            read_rows(tmp_path / name)


def test_pad_rows_pads_on_right() -> None:
    tokens, lengths = pad_rows([[1, 2, 3], [4]], 0)
    assert tokens.shape == (2, 8) and lengths.tolist() == [3, 1]
    assert tokens[1].tolist() == [4] + [0] * 7


def test_window_order_too_short_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text('{"dtype": "<u2"}')
    np.array([1, 2, 3], dtype="<u2").tofile(tmp_path / "train.bin")
    assert TokenFile(tmp_path, "train", np.ones(4)).num_windows(8) == 0
    with pytest.raises(Exception, match=r"pretrain\.batch_size"):
        WindowOrder(TokenFile(tmp_path, "train", np.ones(4)), 8, 1, 0)
