"""Test the overlap of texts with benchmarks: n-grams of 13 words, and shorter examples whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.errors import UserError
from tasks.validation.contamination import grams_of, overlaps_benchmark

LONG = [f"word{number}" for number in range(20)]
SHORT = "What is the capital city of France, please?"


@pytest.fixture
def grams(tmp_path: Path) -> np.ndarray:
    path = tmp_path / "bench.jsonl"
    rows = [
        {"question": " ".join(LONG), "choices": [{"text": SHORT}], "n": 3},
        {"question": "only seven words are here in all"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    return grams_of([path])


def test_grams_of_every_thirteen_words_count_once(grams: np.ndarray) -> None:
    assert grams.dtype == np.uint64
    assert len(grams) == len(LONG) - 13 + 1 + 1
    assert (np.diff(grams) > 0).all()


@pytest.mark.parametrize("first", range(8))
def test_overlaps_benchmark_thirteen_words_overlap(grams: np.ndarray, first: int) -> None:
    run = " ".join(LONG[first : first + 13])

    assert overlaps_benchmark(f"before it, {run} and after", grams)
    assert overlaps_benchmark(run.upper().replace(" ", ',\n"'), grams)


def test_overlaps_benchmark_twelve_words_do_not_overlap(grams: np.ndarray) -> None:
    assert not overlaps_benchmark(" ".join([*LONG[:12], "other", *LONG[13:]]), grams)
    assert not overlaps_benchmark(" ".join(LONG[:12]), grams)
    assert not overlaps_benchmark(" ".join(reversed(LONG)), grams)


def test_overlaps_benchmark_short_example_counts_whole(grams: np.ndarray) -> None:
    words = SHORT.split()

    assert overlaps_benchmark(f"They asked me: {SHORT} I did not know what to say to them then", grams)
    assert overlaps_benchmark(SHORT.lower(), grams)
    assert not overlaps_benchmark(" ".join(words[:-1]) + " then", grams)
    assert not overlaps_benchmark("only seven words are here in all", grams)


def test_overlaps_benchmark_empty_text_or_benchmark_does_not_overlap(
    grams: np.ndarray, tmp_path: Path
) -> None:
    assert not overlaps_benchmark("", grams)
    assert not overlaps_benchmark(" ".join(LONG), grams_of([]))


def test_grams_of_text_file_is_one_text(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text("\ufeff" + "\n".join(LONG), encoding="utf-8")

    assert overlaps_benchmark(" ".join(LONG[:13]), grams_of([path]))


def test_grams_of_script_without_spaces_uses_characters(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text("春眠不覺曉，處處聞啼鳥。", encoding="utf-8")

    assert overlaps_benchmark("孟浩然：春眠不覺曉處處聞啼鳥夜來風雨聲", grams_of([path]))
    assert not overlaps_benchmark("孟浩然：春眠不覺曉處處聞啼", grams_of([path]))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"a": "b"}\n{"a":\n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1: not JSON"),
        ("a.txt", b"\xff\xfe", "a.txt: not UTF-8"),
        ("a.csv", b"a,b", r"expected a .jsonl or .txt file"),
        ("a.txt", None, "a.txt cannot be read"),
    ],
)
def test_grams_of_unreadable_file_is_refused(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(UserError, match=says):
        grams_of([tmp_path / name])
