"""Tokenizers: byte-level byte-pair encoding that is trained here, and those of open models.

A new one is trained with `tokenizers` and encoded with `tiktoken`, with identical ids. Sennrich et al., 2016,
arXiv:1508.07909; Radford et al., 2019, for bytes and the split into words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Rules

from model.atomic_file import atomic_path
from model.data.chat_format import (
    ASSISTANT,
    END,
    MARKERS,
    USER,
    ChatFormat,
    MarkerFormat,
    TemplateFormat,
    Turn,
    marker_template,
)
from model.data.fast_encoding import WordCache, fast_encoding, piece_decoder
from model.data.hf_config import check_model_file, check_tokenizer_file, read_json_file
from model.errors import UserError

# The limits of tokenizer_config.json and its companions; a chat template has a few thousand characters.
_LARGEST = 16 << 20
_LARGEST_TEMPLATE = 1 << 20
TOKENIZER_CONFIG, SPECIAL_MAP = "tokenizer_config.json", "special_tokens_map.json"
TEMPLATE_FILE = "chat_template.jinja"
_TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "pad_token")


class Tokenizer:
    """A converter of text and conversations to token ids and back.

    Special tokens inside a text are encoded as ordinary text.
    """

    def __init__(self, rules: Rules, config: Mapping[str, Any] | None = None) -> None:
        """Complete a tokenizer for conversations.

        Args:
            rules: The tokenizer of the library. If there is no chat template, the tokens of `MarkerFormat`
                that are missing are added to it.
            config: The content of tokenizer_config.json, the chat template included; None: a new tokenizer.

        Raises:
            UserError: The chat template cannot be used.
        """
        self.rules, self.config = rules, dict(config or {})
        # Without this, "<|end|>" written by a user would end the conversation.
        rules.encode_special_tokens = True
        # Some foreign files ask for both, which would cut long texts without a word.
        rules.no_truncation()
        rules.no_padding()
        names: dict[str, str] = {
            key: name for key in _TOKEN_KEYS
            if (name := _token_text(self.config.get(key))) and rules.token_to_id(name) is not None
        }  # fmt: skip
        # As plain text: transformers does not read every form that a folder may have.
        self.config = {key: value for key, value in self.config.items() if key not in _TOKEN_KEYS} | names
        self.begin = _begin_tokens(rules, names.get("bos_token", ""))
        template = marker_template(names["bos_token"] if self.begin else "", names.get("eos_token", END))
        given = self.config.get("chat_template") or template
        self.keeps_template = given != template
        """Whether the chat template is that of an open model, which can answer before any training here."""
        self.added: tuple[int, ...] = ()
        """Ids of the tokens that were added here, which the weights of the model do not know yet."""
        if not self.keeps_template:
            self._add_markers(names, template)
        self.vocab_size = 1 + max(rules.get_vocab().values())
        # Little-endian explicitly: token files are read on other machines.
        self.dtype = np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")
        # Filled at first use: only evaluation and the report need the bytes of tokens.
        self._pieces: dict[int, bytes] = {}
        fast = fast_encoding(rules)
        self._words = WordCache(fast, self.dtype) if fast else None
        self.format: ChatFormat
        ids = rules.get_vocab()
        if fast and not self.keeps_template:
            end = ids[names.get("eos_token", END)]
            self.format = MarkerFormat(self.encode, self.begin, ids[USER], ids[ASSISTANT], end)
        else:
            # Also for markers if pieces depend on their place in a text, as those of SentencePiece do.
            self.format = TemplateFormat(rules, given, names)
        self.end = self.format.end
        self.document_end = ids[names["eos_token"]] if "eos_token" in names else self.end
        self.special = frozenset(
            number for number, token in rules.get_added_tokens_decoder().items() if token.special
        )

    def _add_markers(self, names: Mapping[str, str], template: str) -> None:
        """Add the tokens of `MarkerFormat` that are missing, and describe the format."""
        end = names.get("eos_token", END)
        missing = [token for token in (end, USER, ASSISTANT) if self.rules.token_to_id(token) is None]
        self.rules.add_special_tokens([AddedToken(token, special=True) for token in missing])
        ids = self.rules.get_vocab()
        self.added = tuple(ids[token] for token in missing)
        # The first three are those of a new tokenizer.
        self.config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": end,
            "pad_token": names.get("pad_token", end),
            **self.config,
            "additional_special_tokens": [USER, ASSISTANT],
            "chat_template": template,
            "clean_up_tokenization_spaces": False,
        }

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without any special token."""
        if self._words is None:
            return self.rules.encode(text, add_special_tokens=False).ids
        return np.frombuffer(self._words.encode(text), self.dtype).tolist()

    def encode_opening(self, text: str) -> list[int]:
        """Return the ids of a text that begins a document, with the tokens that stand at its beginning."""
        return [*self.begin, *self.encode(text)]

    def encode_documents(self, texts: Iterable[str]) -> np.ndarray:
        """Return the ids of texts one after another, [tokens] in `dtype`, each as a document of its own.

        A document begins with the tokens that the tokenizer begins a text with, and ends with its end token.
        """
        begin, end = self._token_bytes(self.begin), self._token_bytes([self.document_end])
        if self._words is None:
            parts = (begin + self._token_bytes([*self.encode(text), self.document_end]) for text in texts)
        else:
            words = self._words
            parts = (begin + words.encode(text) + end for text in texts)
        return np.frombuffer(b"".join(parts), self.dtype)

    def _token_bytes(self, ids: Sequence[int]) -> bytes:
        return np.array(ids, self.dtype).tobytes()

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; special tokens are left out."""
        return self.rules.decode(list(ids), skip_special_tokens=True)

    def piece_bytes(self, token: int) -> bytes:
        """Return the bytes that an id stands for; for a special token, those of its name.

        An id without a token, which is a spare row of a model's table, stands for none.
        """
        if not self._pieces:
            as_bytes = piece_decoder(self.rules)
            self._pieces = {
                number: piece.encode() if number in self.special else as_bytes(piece)
                for piece, number in self.rules.get_vocab().items()
            }
        return self._pieces.get(token, b"")

    def encode_prompt(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        """Return the tokens that an answer follows.

        Args:
            text: The user's text.
            history: The turns before it, as {"role", "content"}; a role is user, assistant or system.
        """
        return self.format.encode_prompt(text, history)

    def encode_answer(self, text: str) -> list[int]:
        """Return the tokens of an answer, with the token that ends it."""
        return self.format.encode_answer(text)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json with the chat template."""
        folder.mkdir(parents=True, exist_ok=True)
        # The class that reads tokenizer.json as it is; those of single families build parts of it anew.
        config = {**self.config, "tokenizer_class": "PreTrainedTokenizerFast"}
        _write_json(folder / "tokenizer.json", self.rules.to_str(pretty=True))
        _write_json(folder / TOKENIZER_CONFIG, json.dumps(config, indent=2))

    @staticmethod
    def load(folder: Path) -> Tokenizer:
        """Return the tokenizer of a folder.

        The tokens of chatmill's chat are added, after its own, to a foreign one without a chat template.

        Raises:
            UserError: A file is missing or broken, or the chat template cannot be used.
        """
        path = check_tokenizer_file(Path(folder))
        config = _read_config(Path(folder))
        try:
            return Tokenizer(Rules.from_file(str(path)), config)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error
        except BaseException as error:
            # The library raises bare Exception, and for its own bugs PanicException, which is not a subclass
            # of it.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise UserError(f"{path} cannot be read as a tokenizer: {error}") from error


def _read_config(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json with what other files of a folder add to it; {} if there is none."""
    config: dict[str, Any] = {}
    for name in (SPECIAL_MAP, TOKENIZER_CONFIG):
        if (folder / name).exists():
            config |= read_json_file(folder / name, _LARGEST)
    path = folder / TEMPLATE_FILE
    if path.exists():
        config["chat_template"] = _read_template(path)
    template = config.get("chat_template")
    if isinstance(template, list) and template:
        # Several templates by name; transformers takes this one unless asked for another.
        default = [
            entry.get("template")
            for entry in template
            if isinstance(entry, dict) and entry.get("name") == "default"
        ]
        if not default:
            raise UserError(
                f"{folder / TOKENIZER_CONFIG}: chat_template is a list without an entry named default; "
                f"write the template to use into {TEMPLATE_FILE}"
            )
        template = config["chat_template"] = default[0]
    # An empty list is no template.
    if template not in (None, []) and not isinstance(template, str):
        raise UserError(f"{folder / TOKENIZER_CONFIG}: chat_template must be a text")
    if len(template or "") > _LARGEST_TEMPLATE:
        raise UserError(
            f"{folder / TOKENIZER_CONFIG}: chat_template has more than {_LARGEST_TEMPLATE:,} characters; "
            "a chat template is smaller"
        )
    return config


def _read_template(path: Path) -> str:
    """Return the chat template of a file of its own. Raise UserError if it is too large or no UTF-8."""
    check_model_file(path)
    with path.open("rb") as file:
        content = file.read(_LARGEST_TEMPLATE + 1)
    if len(content) > _LARGEST_TEMPLATE:
        raise UserError(f"{path} has more than {_LARGEST_TEMPLATE:,} bytes; a chat template is smaller")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); copy it again") from None


def _token_text(entry: Any) -> str:
    """Return the text of a token that a configuration names, alone or in an object."""
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else ""


def _begin_tokens(rules: Rules, name: str) -> list[int]:
    """Return the token that the tokenizer puts before a text by itself, if it is the named one."""
    ids = rules.encode("a", add_special_tokens=True).ids
    return ids[:1] if name and ids and ids[0] == rules.token_to_id(name) else []


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Return a new tokenizer of exactly `vocabulary` tokens, special ones included.

    Args:
        texts: The training texts.
        vocabulary: The number of tokens.

    Raises:
        UserError: The texts do not hold that many repeated pieces.
    """
    least = 256 + len(MARKERS)
    if vocabulary < least:
        raise UserError(
            f"tokenizer.vocab_size is {vocabulary}; every byte and the chat need {least} at least"
        )
    rules = Rules(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(MARKERS),
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


def _write_json(path: Path, text: str) -> None:
    with atomic_path(path, path.with_suffix(".part")) as part:
        part.write_text(text, encoding="utf-8")
