"""Hash the words of a text and its runs of words (n-grams) to numbers that are the same on every machine.

Words are lower case and without punctuation, separated by white space, as in Brown et al. 2020. In scripts
written without spaces each character is a word.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import numpy as np

PUNCTUATION = re.compile(r"[^\w\s]+|_+")
# Thai, Lao, Burmese and Khmer, kana, and Han.
UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
# Odd, so that no power of it is zero modulo 2 ** 64, and it has an inverse.
BASE = np.uint64(0x9E3779B97F4A7C15)
KEPT_WORDS = 500_000


class _Words(dict[str, int]):
    """A cache from words to 64 bits of their BLAKE2b hash."""

    def __missing__(self, word: str) -> int:
        # Bounds the memory. Frequent words are soon hashed again, which is cheaper than to track their use.
        if len(self) >= KEPT_WORDS:
            self.clear()
        coded = word.encode("utf-8", "surrogatepass")
        self[word] = value = int.from_bytes(hashlib.blake2b(coded, digest_size=8).digest(), "little")
        return value


_kept = _Words()


def words_of(text: str) -> list[str]:
    """Return the words of a text, in order."""
    plain = PUNCTUATION.sub("", text.lower())
    if not plain.isascii():
        plain = UNSPACED.sub(r" \g<0> ", plain)
    return plain.split()


def word_hashes(text: str) -> np.ndarray:
    """Return a uint64 for each word of a text, in order: [words]."""
    words = words_of(text)
    return np.fromiter(map(_kept.__getitem__, words), dtype=np.uint64, count=len(words))


def gram_hashes(words: np.ndarray, *sizes: int) -> np.ndarray:
    """Return a uint64 for each n-gram of some sizes.

    Args:
        words: Hashes of words: uint64 [words].
        sizes: The sizes of n-grams, in words.

    Returns:
        For each size in turn [words - size + 1] hashes, or none if there are fewer words.
    """
    # The polynomial of an n-gram (Rabin and Karp) is the difference of two cumulated sums, so the cost does
    # not grow with the size. Rounded up to a power of two, so that few arrays are cached.
    powers, inverses = _base_powers(1 << len(words).bit_length())
    sums = np.zeros(len(words) + 1, dtype=np.uint64)
    np.cumsum(words * powers[: len(words)], out=sums[1:])
    total = np.concatenate(
        [(sums[size:] - sums[:-size]) * inverses[: max(0, len(sums) - size)] for size in sizes]
    )
    return mix_bits(total)


def mix_bits(values: np.ndarray) -> np.ndarray:
    """Mix an array in place, so that every bit of a uint64 depends on all of its bits, and return it.

    This is the finalizer of SplitMix64 (Steele et al. 2014).
    """
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


@lru_cache(maxsize=32)
def _base_powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first `count` powers of the base and of its inverse, modulo 2 ** 64."""
    inverse = np.uint64(pow(int(BASE), -1, 2**64))
    ones, others = np.full(count, BASE), np.full(count, inverse)
    ones[0] = others[0] = 1
    return np.cumprod(ones), np.cumprod(others)
