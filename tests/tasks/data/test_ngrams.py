"""Test the hashes of words and n-grams."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from tasks.data.ngrams import gram_hashes, word_hashes


def test_gram_hashes_are_same_in_another_process() -> None:
    code = "from tasks.data.ngrams import *; print(gram_hashes(word_hashes('One two, three!'), 2).tolist())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == str(gram_hashes(word_hashes("one TWO three"), 2).tolist())
    assert word_hashes("don't do_it — now").tolist() == word_hashes("dont doit now").tolist()
    assert word_hashes("\ud800 a").size == 1


def test_gram_hashes_are_spread_and_ordered() -> None:
    words = word_hashes(" ".join(map(str, range(20_000))))
    grams = gram_hashes(words, 13)

    assert len(np.unique(grams)) == len(grams) == 20_000 - 12
    assert np.bincount(grams >> np.uint64(60), minlength=16).min() > 1000
    assert gram_hashes(words[:2], 2) != gram_hashes(words[:2][::-1], 2)
    assert not gram_hashes(words[:2], 3).size
