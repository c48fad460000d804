"""Fast encoding of byte-level pairs with `tiktoken` and a cache of words, and the bytes of pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer as Rules

if TYPE_CHECKING:
    import tiktoken

SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The largest number of words in the cache; they take about 100 MB of memory.
MOST_WORDS = 1 << 19
# The longest cached word in characters: longer ones rarely repeat and would fill the cache.
LONGEST_WORD = 40


class WordCache:
    """A cache of the ids of whole words: natural text repeats its words.

    A space between two characters that are not white space always begins a piece of SPLIT. The ids of a text
    are therefore those of its words one after another. Texts with other white space at a word's edge, or with
    repeated spaces, are left to the encoder.
    """

    def __init__(self, encoding: tiktoken.Encoding, dtype: np.dtype[Any]) -> None:
        self.encoding, self.dtype = encoding, dtype
        self.first, self.later = _Known(self, ""), _Known(self, " ")

    def encode(self, text: str) -> bytes:
        """Return the ids of a text, as the bytes of `dtype`."""
        words = text.split(" ")
        try:
            return self.first[words[0]] + b"".join(map(self.later.__getitem__, words[1:]))
        # Raised at the first such word, so a text that needs the encoder costs little before it.
        except _EdgeError:
            return self.encode_afresh(text)

    def encode_afresh(self, text: str) -> bytes:
        """Return the ids of a text without the cache."""
        return np.array(self.encoding.encode_ordinary(text), self.dtype).tobytes()


class _EdgeError(Exception):
    """A word begins or ends with white space, or is empty."""


class _Known(dict[str, bytes]):
    """At most MOST_WORDS words with their ids. A missing word is encoded with `before` in front."""

    def __init__(self, words: WordCache, before: str) -> None:
        self.words, self.before = words, before

    def __missing__(self, word: str) -> bytes:
        if not word or word[0].isspace() or word[-1].isspace():
            raise _EdgeError
        ids = self.words.encode_afresh(self.before + word)
        if len(self) < MOST_WORDS and len(word) <= LONGEST_WORD:
            self[word] = ids
        return ids


def fast_encoding(rules: Rules) -> tiktoken.Encoding | None:
    """Return the same merges in tiktoken, or None for rules that are not plain byte-level pairs.

    Also None where tiktoken is not installed: `rules` give the same ids, only later.

    tiktoken ranks a pair by the id of its result. Training gives ids in the order of the merges and makes
    each piece by one merge only, so both encoders choose alike.
    """
    try:
        import tiktoken
    except ModuleNotFoundError:
        return None
    described = json.loads(rules.to_str())
    added = {token["content"] for token in described["added_tokens"]}
    model, before = described["model"], described["pre_tokenizer"]
    plain = (
        model["type"] == "BPE"
        and described["normalizer"] is None
        and before
        == {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        and not model.get("ignore_merges")
        and not model.get("byte_fallback")
        # An added token that is not special is found before the text is split into words.
        and all(token["special"] for token in described["added_tokens"])
    )
    if not plain:
        return None
    table, vocabulary = _byte_of_character(), model["vocab"]
    pairs = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
    made = [vocabulary[first + second] for first, second in pairs]
    # tiktoken merges by rank alone; ids in another order than the merges would give other tokens.
    if made != sorted(set(made)):
        return None
    ranks = {
        bytes(table[character] for character in piece): number
        for piece, number in vocabulary.items()
        if piece not in added
    }
    if any(ranks.get(bytes([byte]), made[0] if made else 0) >= (made or [1 << 30])[0] for byte in range(256)):
        return None
    return tiktoken.Encoding("chatmill", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})


def piece_decoder(rules: Rules) -> Callable[[str], bytes]:
    """Return a function that returns the bytes of the text that a piece of the vocabulary stands for."""
    described = json.loads(rules.to_str())
    if "ByteLevel" in json.dumps(described["decoder"]):
        table = _byte_of_character()
        return lambda piece: (
            bytes(table[character] for character in piece)
            if all(character in table for character in piece)
            else piece.encode()
        )

    def sentence_piece(piece: str) -> bytes:
        # A byte without a piece of its own is written as its number (Kudo & Richardson, 2018).
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode()

    return sentence_piece


def _byte_of_character() -> dict[str, int]:
    """Return the byte of each character of a byte-level vocabulary (Radford et al., 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(256 + index): byte for index, byte in enumerate(rest)},
    }
