"""The similarity of short texts, and the search for texts that are similar to earlier ones.

Near duplicates of whole documents are the concern of tasks/validation/near_dedup.py. Its runs of five words
say little about an answer of ten.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tasks.data.ngrams import gram_hashes, word_hashes


def short_grams(text: str) -> np.ndarray:
    """Return the hashes of a text's words and pairs of words, each once: uint64 [grams].

    Case and punctuation do not count. A text without words is represented by its characters.
    """
    words = word_hashes(text)
    if not len(words):
        words = word_hashes(" ".join(f"x{ord(character):x}" for character in text.strip()) or "x")
    return np.unique(gram_hashes(words, *range(1, min(2, len(words)) + 1)))


def text_similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of the words and pairs of words of two texts, from 0 to 1."""
    a, b = short_grams(one), short_grams(other)
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


class SeenTexts:
    """Texts that were seen, for finding those that are similar to an earlier one."""

    def __init__(self, most: float) -> None:
        """Take texts with a similarity above `most` for repeated; at 1, only those with equal words."""
        self.most = most
        self._sizes: list[int] = []
        self._with_gram: dict[int, list[int]] = defaultdict(list)

    def is_repeated(self, text: str) -> bool:
        """Return whether a similar text was seen; remember the text if not."""
        grams = short_grams(text)
        having = [number for gram in grams.tolist() for number in self._with_gram.get(gram, ())]
        if having:
            shared = np.bincount(having, minlength=len(self._sizes))
            similarity = shared / (np.array(self._sizes) + len(grams) - shared)
            if similarity.max() > self.most or similarity.max() == 1:
                return True
        for gram in grams.tolist():
            self._with_gram[gram].append(len(self._sizes))
        self._sizes.append(len(grams))
        return False
