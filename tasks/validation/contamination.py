"""Detect benchmark text in training rows by shared n-grams of 13 words.

The rule is that of Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C: lower case, no
punctuation. An example of 8 to 12 words is one n-gram of its own. A shorter example is skipped, as too many
texts would contain it by chance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import UserError, file_error
from tasks.data.ngrams import gram_hashes, word_hashes

_WORDS = 13
FEWEST = 8
# The top bits of a hash encode its n-gram size, so that a sorted array holds each size in one contiguous
# range.
SIZE_BITS = 3
SHIFT = np.uint64(64 - SIZE_BITS)
_SIZES = range(FEWEST, _WORDS + 1)
# The lower bound of each size's range in the sorted array, and the end of the last range.
_EDGES = np.arange(len(_SIZES) + 1, dtype=np.uint64) << SHIFT


def grams_of(paths: Sequence[Path]) -> np.ndarray:
    """Return the hashes of the n-grams in benchmark files.

    Args:
        paths: Files with the benchmark's texts. In a `.jsonl` file every string value, at any depth, is a
            text. A `.txt` file is one text.

    Returns:
        Unique hashes in ascending order: uint64 [grams].

    Raises:
        UserError: A file cannot be read as its suffix says.
    """
    grams = [np.empty(0, dtype=np.uint64)]
    for path in paths:
        for text in _benchmark_texts(path):
            words = word_hashes(text)
            if len(words) >= FEWEST:
                grams.append(_overlap_spans(words, [min(len(words), _WORDS)]))
    return np.unique(np.concatenate(grams))


def overlaps_benchmark(text: str, grams: np.ndarray) -> bool:
    """Return whether a text contains an n-gram of a benchmark.

    Args:
        text: The text to look up.
        grams: The hashes that `grams_of` returned.
    """
    words = word_hashes(text)
    if len(words) < FEWEST:
        return False
    edges = np.searchsorted(grams, _EDGES)
    held = [size for size in _SIZES if size <= len(words) and edges[size - FEWEST] < edges[size - FEWEST + 1]]
    if not held:
        return False
    # `grams` may be a memory-mapped file: sorted lookups touch its pages in order.
    sought = np.sort(_overlap_spans(words, held))
    # searchsorted gives len(grams) for a hash above all others, which is no valid index.
    places = np.minimum(np.searchsorted(grams, sought), len(grams) - 1)
    return bool((grams[places] == sought).any())


def _overlap_spans(words: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    # The hash gives up its low bits to make room for the size, so that n-grams of two sizes cannot collide.
    marks = np.array(sizes, dtype=np.uint64) - np.uint64(FEWEST) << SHIFT
    return gram_hashes(words, *sizes) >> np.uint64(SIZE_BITS) | np.repeat(
        marks, [len(words) - size + 1 for size in sizes]
    )


def _benchmark_texts(path: Path) -> Iterator[str]:
    if path.suffix not in (".jsonl", ".txt"):
        raise UserError(f"{path}: expected a .jsonl or .txt file for a benchmark")
    try:
        # Editors on Windows save UTF-8 with a byte order mark, which `json` rejects.
        with path.open(encoding="utf-8-sig") as file:
            if path.suffix == ".txt":
                yield file.read()
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield from _nested_strings(_parse_value(line, f"{path}, line {number}"))
    except OSError as error:
        raise file_error(path, "cannot be read", error) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def _parse_value(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    # `json` raises RecursionError for deep nesting such as a line of 100,000 brackets.
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON; each line must be one JSON value") from error


def _nested_strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _nested_strings(inner)
