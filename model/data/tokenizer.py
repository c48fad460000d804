"""Byte-level byte-pair encoding: trained with `tokenizers`, encoded with `tiktoken`, with identical ids.

Sennrich et al., 2016, arXiv:1508.07909; Radford et al., 2019, for bytes and the split into words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Rules

from model.atomic_file import atomic_path
from model.errors import UserError

END, _USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
SPECIAL = (END, _USER, ASSISTANT)
SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The largest number of words in the cache; they take about 100 MB of memory.
MOST_WORDS = 1 << 19
# The longest cached word in characters: longer ones rarely repeat and would fill the cache.
LONGEST_WORD = 40
# A system line has no token of its own; it is put before the text of the following user's turn.
TEMPLATE = (
    "{% set said = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set said.system = said.system + message['content'] + '\\n\\n' %}"
    "{% elif message['role'] == 'user' %}<|user|>{{ said.system + message['content'] }}"
    "{% set said.system = '' %}"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


class Tokenizer:
    """A converter of text to token ids and back.

    Special tokens inside a text are encoded as ordinary text.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        # Without this, "<|end|>" written by a user would end the conversation.
        rules.encode_special_tokens = True
        missing = [token for token in SPECIAL if rules.token_to_id(token) is None]
        if missing:
            rules.add_special_tokens([AddedToken(token, special=True) for token in missing])
        ids = rules.get_vocab()
        self.end, self.user, self.assistant = (ids[token] for token in SPECIAL)
        self.vocab_size = len(ids)
        # Little-endian explicitly: token files are read on other machines.
        self.dtype = np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")
        # Filled at first use: only evaluation and the report need the bytes of tokens.
        self._pieces: dict[int, bytes] = {}
        fast = _fast_encoding(rules)
        self._words = _Words(fast, self.dtype) if fast else None

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without any special token."""
        if self._words is None:
            return self.rules.encode(text, add_special_tokens=False).ids
        return np.frombuffer(self._words.encode(text), self.dtype).tolist()

    def encode_documents(self, texts: Iterable[str]) -> np.ndarray:
        """Return the ids of texts one after another, [tokens] in `dtype`, with the end token after each."""
        end = self._token_bytes([self.end])
        if self._words is None:
            parts = (self._token_bytes([*self.encode(text), self.end]) for text in texts)
        else:
            words = self._words
            parts = (words.encode(text) + end for text in texts)
        return np.frombuffer(b"".join(parts), self.dtype)

    def _token_bytes(self, ids: Sequence[int]) -> bytes:
        return np.array(ids, self.dtype).tobytes()

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; special tokens are left out."""
        return self.rules.decode(list(ids), skip_special_tokens=True)

    def piece_bytes(self, token: int) -> bytes:
        """Return the bytes that an id stands for; for a special token, those of its name."""
        if not self._pieces:
            table = _byte_of_character()
            for piece, number in self.rules.get_vocab().items():
                whole = piece not in SPECIAL and all(character in table for character in piece)
                self._pieces[number] = (
                    bytes(table[character] for character in piece) if whole else piece.encode()
                )
        return self._pieces[token]

    def encode_prompt(self, text: str, history: Sequence[Mapping[str, str]] = ()) -> list[int]:
        """Return the tokens that an answer follows, as in TEMPLATE: <|user|>text<|assistant|>.

        Args:
            text: The user's text.
            history: The turns before it, as {"role", "content"}. Each becomes <|user|>… or
                <|assistant|>…<|end|>; a system line and an empty line go before the text of the user's next
                turn.
        """
        ids: list[int] = []
        system = ""
        for turn in (*history, {"role": "user", "content": text}):
            if turn["role"] == "system":
                system += turn["content"] + "\n\n"
            elif turn["role"] == "user":
                ids += [self.user, *self.encode(system + turn["content"])]
                system = ""
            elif turn["role"] == "assistant":
                ids += [self.assistant, *self.encode(turn["content"]), self.end]
        return [*ids, self.assistant]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json with the chat template."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": END,
            "additional_special_tokens": [_USER, ASSISTANT],
            "chat_template": TEMPLATE,
            "clean_up_tokenization_spaces": False,
        }
        _write_json(folder / "tokenizer.json", self.rules.to_str(pretty=True))
        _write_json(folder / "tokenizer_config.json", json.dumps(config, indent=2))

    @staticmethod
    def load(folder: Path) -> Tokenizer:
        """Return the tokenizer of a folder; the chat's tokens are added to a foreign one, after its own.

        Raises:
            UserError: tokenizer.json is missing or broken.
        """
        path = Path(folder) / "tokenizer.json"
        if not path.exists():
            raise UserError(f"{path} is missing; a model folder has it beside config.json")
        try:
            return Tokenizer(Rules.from_file(str(path)))
        except UserError:
            raise
        except BaseException as error:
            # The library raises bare Exception, and for its own bugs PanicException, which is not a subclass
            # of it.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise UserError(f"{path} cannot be read as a tokenizer: {error}") from error


class _Words:
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

    def __init__(self, words: _Words, before: str) -> None:
        self.words, self.before = words, before

    def __missing__(self, word: str) -> bytes:
        if not word or word[0].isspace() or word[-1].isspace():
            raise _EdgeError
        ids = self.words.encode_afresh(self.before + word)
        if len(self) < MOST_WORDS and len(word) <= LONGEST_WORD:
            self[word] = ids
        return ids


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Return a new tokenizer of exactly `vocabulary` tokens, special ones included.

    Args:
        texts: The training texts.
        vocabulary: The number of tokens.

    Raises:
        UserError: The texts do not hold that many repeated pieces.
    """
    least = 256 + len(SPECIAL)
    if vocabulary < least:
        raise UserError(
            f"tokenizer.vocab_size is {vocabulary}; every byte and the chat need {least} at least"
        )
    rules = Rules(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rules.train_from_iterator(texts, trainer)
    # The library stops silently when no pair repeats any more.
    if rules.get_vocab_size() < vocabulary:
        raise UserError(
            f"tokenizer.vocab_size is {vocabulary}, but the training text supports only "
            f"{rules.get_vocab_size()}; lower it, or add text"
        )
    return Tokenizer(rules)


def _fast_encoding(rules: Rules) -> tiktoken.Encoding | None:
    """Return the same merges in tiktoken, or None for rules that are not plain byte-level pairs.

    tiktoken ranks a pair by the id of its result. Training gives ids in the order of the merges and makes
    each piece by one merge only, so both encoders choose alike.
    """
    described = json.loads(rules.to_str())
    model, before = described["model"], described["pre_tokenizer"]
    plain = (
        model["type"] == "BPE"
        and described["normalizer"] is None
        and before
        == {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        and not model.get("ignore_merges")
        and not model.get("byte_fallback")
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
        if piece not in SPECIAL
    }
    if any(ranks.get(bytes([byte]), made[0] if made else 0) >= (made or [1 << 30])[0] for byte in range(256)):
        return None
    return tiktoken.Encoding("chatmill", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})


def _byte_of_character() -> dict[str, int]:
    """Return the byte of each character of a byte-level vocabulary (Radford et al., 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(256 + index): byte for index, byte in enumerate(rest)},
    }


def _write_json(path: Path, text: str) -> None:
    with atomic_path(path, path.with_suffix(".part")) as part:
        part.write_text(text, encoding="utf-8")
