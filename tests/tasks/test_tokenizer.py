"""Test the stage `tokenizer`: the result does not depend on shards or processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.data.tokenizer import Tokenizer
from model.errors import UserError
from tasks.data.records import canonical_line, pair_row, text_row
from tasks.data.splits import SPLITS
from tasks.engine.cache_key import folder_sums, sums_digest
from tasks.engine.parallel import ParallelMap, process_pool, serial_map
from tasks.tokenizer import TokenizerParameters, sample_texts, tokenizer
from tests.tasks.event_sink import ignore_event

TEXTS = [f"the film number {n} is good, and the {n % 7}th of its kind\n\nagain " for n in range(300)]


def divided(root: Path, shards: int) -> Path:
    """Write splits that hold the same rows in `shards` files."""
    rows = sorted((text_row(text, "film") for text in TEXTS), key=lambda row: row.id)
    for name in SPLITS:
        for kind in ("text", "pairs"):
            (root / name / kind).mkdir(parents=True)
            (root / name / kind / "00000.jsonl").touch()
        each = -(-len(rows) // shards)
        for number in range(shards):
            lines = "".join(canonical_line(row) + "\n" for row in rows[number * each : (number + 1) * each])
            (root / name / "text" / f"{number:05}.jsonl").write_text(lines)
    return root


def made(root: Path, split: Path, parallel_map: ParallelMap = serial_map, **given: Any) -> str:
    out = root / "tokens"
    out.mkdir(parents=True)
    tokenizer(
        TokenizerParameters(300, **given),
        split=split,
        out=out,
        on_event=ignore_event,
        root=root,
        parallel_map=parallel_map,
    )
    return sums_digest(folder_sums(out))


def test_tokenizer_shards_and_processes_do_not_matter(tmp_path: Path) -> None:
    wanted = made(tmp_path / "one", divided(tmp_path / "split-1", 1))
    assert {path.name for path in (tmp_path / "one" / "tokens").iterdir()} == {
        "tokenizer.json", "tokenizer_config.json", "tokens.json", "train.bin", "valid.bin", "test.bin",
    }  # fmt: skip
    with process_pool(2, patience=0.0) as parallel_map:
        for count in (2, 8):
            split = divided(tmp_path / f"split-{count}", count)
            assert made(tmp_path / str(count), split, parallel_map) == wanted


def test_tokenizer_tokens_follow_texts_in_order(tmp_path: Path) -> None:
    split = divided(tmp_path / "split", 3)
    made(tmp_path, split)
    encoder = Tokenizer.load(tmp_path / "tokens")
    texts = [
        json.loads(line)["text"]
        for path in sorted((split / "valid" / "text").iterdir())
        for line in path.open()
    ]
    ids = np.fromfile(tmp_path / "tokens" / "valid.bin", encoder.dtype)
    assert np.array_equal(ids, encoder.encode_documents(texts))
    described = json.loads((tmp_path / "tokens" / "tokens.json").read_text())["valid"]
    assert described == {
        "tokens": len(ids), "documents": len(TEXTS), "bytes": sum(len(text.encode()) for text in texts),
    }  # fmt: skip


def test_sample_texts_takes_share_of_each_shard(tmp_path: Path) -> None:
    split = divided(tmp_path, 4)
    paths = sorted((split / "train" / "text").iterdir())
    size = sum(path.stat().st_size for path in paths)
    assert sorted(sample_texts(paths, size)) == sorted(TEXTS)
    chosen = list(sample_texts(paths, size // 10))
    assert len(TEXTS) // 10 <= len(chosen) <= len(TEXTS) // 10 + len(paths)
    firsts = [json.loads(path.read_text().splitlines()[0])["text"] for path in paths]
    assert set(firsts) < set(chosen)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(canonical_line(pair_row("what is it?", " a film", "film", "g")) + "\n")
    assert list(sample_texts([pairs], 10)) == ["what is it? a film"]


def test_tokenizer_smaller_sample_gives_other_tokens(tmp_path: Path) -> None:
    split = divided(tmp_path / "split", 2)
    assert made(tmp_path / "a", split) != made(tmp_path / "b", split, sample_bytes=4000)


def test_tokenizer_parameters_zero_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="sample_bytes is 0"):
        TokenizerParameters(sample_bytes=0)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    folder = tmp_path / "split"
    for name in SPLITS:
        for kind in ("text", "pairs"):
            (folder / name / kind).mkdir(parents=True)
        rows = [
            {"id": f"{i}", "text": f"the {name} film number {i} is good", "source": "x", "group": ""}
            for i in range(40)
        ]
        (folder / name / "text" / "00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / name / "pairs" / "00000.jsonl").write_text("")
    return folder


def test_tokenizer_tokens_of_each_split_are_its_text(tmp_path: Path, split: Path) -> None:
    out = tmp_path / "tokens"
    out.mkdir()
    figures = tokenizer(TokenizerParameters(280), split=split, out=out, on_event=ignore_event, root=tmp_path)
    encoder, described = Tokenizer.load(out), json.loads((out / "tokens.json").read_text())
    assert figures["vocabulary"] == encoder.vocab_size == 280
    for name in SPLITS:
        ids = np.fromfile(out / f"{name}.bin", dtype=described["dtype"])
        assert len(ids) == described[name]["tokens"] and described[name]["documents"] == 40
        documents = encoder.decode(ids.tolist()).count(f"the {name} film number")
        assert (ids == encoder.end).sum() == documents == 40


def test_tokenizer_unfillable_vocabulary_is_refused(tmp_path: Path, split: Path) -> None:
    with pytest.raises(UserError, match="vocab_size"):
        tokenizer(TokenizerParameters(4000), split=split, out=tmp_path, on_event=ignore_event, root=tmp_path)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("replayed", [("wiki",), ("wiki", "news"), ("film",)])
def test_tokenizer_replayed_sources_have_files_of_their_own(
    tmp_path: Path, shards: int, replayed: tuple[str, ...]
) -> None:
    split = divided(tmp_path / "split", shards)
    for name in SPLITS:
        more = [
            text_row(f"{source} says {n} in {name}", source) for source in ("wiki", "news") for n in range(9)
        ]
        with (split / name / "text" / "00000.jsonl").open("a") as file:
            file.writelines(canonical_line(row) + "\n" for row in more)
    made(tmp_path, split, replay_sources=replayed)
    encoder = Tokenizer.load(tmp_path / "tokens")
    counts = json.loads((tmp_path / "tokens" / "tokens.json").read_text())
    for name in SPLITS:
        rows = [
            json.loads(line) for path in sorted((split / name / "text").iterdir()) for line in path.open()
        ]
        for ending, wanted in (("", False), (".replay", True)):
            texts = [row["text"] for row in rows if (row["source"] in replayed) == wanted]
            found = np.fromfile(tmp_path / "tokens" / f"{name}{ending}.bin", encoder.dtype)
            assert found.tolist() == encoder.encode_documents(texts).tolist()
            assert counts[f"{name}{ending}"]["tokens"] == len(found)
            assert counts[f"{name}{ending}"]["documents"] == len(texts)
