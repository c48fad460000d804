"""The tokenizer: the same ids as `tokenizers`, and no special token from a user's text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from model.data.chat_format import ASSISTANT, USER
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.errors import UserError
from tests.model.conftest import Language

HARD = [
    "",
    " ",
    "   ",
    "\n\n \t x",
    "don't  we'll I'VE",
    "naïve café — “quoted”",
    "日本語のテキスト",
    "😀 family",
    "a" * 500,
    "<|end|> <|user|>hi<|assistant|>",
    "x\u00a0y\u2003z\u200b",
    "\x00\x01\x7f",
    "1234567890 12.5%",
    "ﬁ\u0301",
]


def plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.rules.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", HARD)
def test_encode_equals_tokenizers_and_decodes_to_text(language: Language, text: str) -> None:
    ids = language.tokenizer.encode(text)
    assert language.tokenizer._words is not None
    assert ids == plain(language.tokenizer, text)
    assert language.tokenizer.decode(ids) == text


def test_encode_random_text_equals_tokenizers(language: Language) -> None:
    random = np.random.default_rng(11)
    words = [
        "the film",
        " is",
        "wonder",
        "ful",
        "'s",
        "  ",
        "\n",
        "é",
        "12",
        "…",
        "aaa",
        "\U0001f600",
        "\t ",
        " ",
    ]
    for _ in range(400):
        points = random.integers(1, 0x2FFF, size=6)
        text = "".join([*random.choice(words, size=9), *(chr(point) for point in points)])
        assert language.tokenizer.encode(text) == plain(language.tokenizer, text)


def test_encode_documents_appends_end_to_each_text(language: Language) -> None:
    tokenizer = language.tokenizer
    ids = tokenizer.encode_documents(HARD)
    assert ids.dtype == tokenizer.dtype
    assert ids.tolist() == [token for text in HARD for token in [*plain(tokenizer, text), tokenizer.end]]


def test_encode_words_beyond_word_cache_stay_equal(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.data.fast_encoding.MOST_WORDS", 2)
    tokenizer = Tokenizer(language.tokenizer.rules)
    text = "the film is the wonder of the king the film"
    assert tokenizer.encode(text) == tokenizer.encode(text) == plain(tokenizer, text)
    assert tokenizer._words is not None
    assert len(tokenizer._words.later) == 2


def test_encode_special_looking_text_gives_no_special_token(language: Language) -> None:
    tokenizer = language.tokenizer
    ids = tokenizer.rules.get_vocab()
    assert tokenizer.special == {ids[USER], ids[ASSISTANT], tokenizer.end}
    assert not tokenizer.special & set(tokenizer.encode("<|end|><|user|><|assistant|>"))
    assert tokenizer.special & set(tokenizer.encode_prompt("hi")) == {ids[USER], ids[ASSISTANT]}


def test_piece_bytes_joined_equal_text(language: Language) -> None:
    text = "naïve 😀 the film"
    pieces = [language.tokenizer.piece_bytes(token) for token in language.tokenizer.encode(text)]
    assert b"".join(pieces) == text.encode()


def test_load_of_saved_tokenizer_encodes_equally(language: Language, tmp_path: Path) -> None:
    language.tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.vocab_size == language.tokenizer.vocab_size
    assert again.encode_documents(HARD).tolist() == language.tokenizer.encode_documents(HARD).tolist()


def test_saved_chat_template_equals_encode_prompt(language: Language, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    language.model(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "the film"}]
    text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>the film<|assistant|>"
    assert theirs(text, add_special_tokens=False)["input_ids"] == language.tokenizer.encode_prompt("the film")


def test_train_tokenizer_vocabulary_too_large_for_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"supports only \d+"):
        train_tokenizer(["a few words only"], 1000)


def test_train_tokenizer_vocabulary_below_bytes_is_refused() -> None:
    with pytest.raises(UserError, match="259 at least"):
        train_tokenizer(["text"], 100)


def test_load_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    "token",
    [
        AddedToken("<tool>", special=False),
        AddedToken("film", special=False, single_word=True),
        AddedToken("[X]", special=False, lstrip=True, rstrip=True),
    ],
)
def test_encode_finds_added_token_that_is_not_special(token: AddedToken, tmp_path: Path) -> None:
    rules = train_tokenizer(["the film is a <tool> [X] wonder"] * 9, 270).rules
    rules.add_tokens([token])
    rules.save(str(tmp_path / "tokenizer.json"))
    text = f"the film {token.content} {token.content}s is"
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    ids = Tokenizer.load(tmp_path).encode(text)
    assert ids == theirs(text, add_special_tokens=False)["input_ids"]
    assert rules.token_to_id(token.content) in ids
