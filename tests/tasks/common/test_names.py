"""Test names that users choose: blank names are refused, and keys made of names never collide."""

from __future__ import annotations

import itertools
import re
import unicodedata
from typing import Any

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from flows.config import load_preset
from model.errors import UserError
from tasks.common.names import (
    LONGEST_KEY,
    file_name,
    is_blank,
    mlflow_key,
    name_fault,
    plain_key,
    shorten,
    slugify_name,
    split_stratum,
    stratum_key,
)

BLANK = ("", "   ", "\t\n", "\x00", "\x1b\x7f", "\u200b\u200d", "\u00a0\u3000", "\u2028", "\u3164", "\ufeff ")
VISIBLE = ("a", " a ", "0", "-", "質問", "🙂", "\u0301a", "x\x00")


@pytest.mark.parametrize("name", BLANK)
def test_is_blank_invisible_name_is_true(name: str) -> None:
    assert is_blank(name)


@pytest.mark.parametrize("name", VISIBLE)
def test_is_blank_visible_name_is_false(name: str) -> None:
    assert not is_blank(name)


def values(**changed: Any) -> dict[str, Any]:
    source = {"name": "tales", "files": "*.txt", "format": "plain", **changed.pop("source", {})}
    return {"name": "mine", "data": {"sources": [source]}, **changed}


@pytest.mark.parametrize("blank", ["", " \t", "\x00\x07", "\u200b"])
@pytest.mark.parametrize(
    ("where", "key"),
    [
        (lambda name: {"name": name}, "name"),
        (lambda name: {"source": {"name": name}}, "data.sources.0"),
        (lambda name: {"source": {"aspect": name}}, "aspect"),
        (lambda name: {"source": {"columns": {name: "column"}}}, "columns"),
        (lambda name: {"source": {"annotators": ["ann", name]}}, "annotators"),
        (lambda name: {"labels": {"aspects": [name]}}, "labels.aspects"),
        (lambda name: {"validate": {"limits": {"aspects": [name]}}}, "aspects"),
        (lambda name: {"registry": {"model": name or " "}}, "registry.model"),
    ],
)
def test_load_preset_blank_name_is_refused(where: Any, key: str, blank: str) -> None:
    with pytest.raises(UserError) as refused:
        load_preset(values(**where(blank)))
    assert key in str(refused.value) and str(refused.value).isprintable()


def test_stratum_key_any_names_are_unique_and_reversible() -> None:
    parts = ("a", "a/b", "b", "b/c", "/", "a%2Fb", "%2F", "%", "a%25", "c")
    pairs = list(itertools.product(parts, repeat=2))
    keys = [stratum_key(*pair) for pair in pairs]
    assert len(set(keys)) == len(keys) and [split_stratum(key) for key in keys] == pairs
    tracked = [mlflow_key(f"accuracy/{key}") for key in keys]
    assert len(set(tracked)) == len(keys) and [plain_key(key) for key in tracked] == [
        f"accuracy/{key}" for key in keys
    ]
    assert stratum_key("tone", "films/old") == "tone/films/old"


@pytest.mark.parametrize(
    ("text", "most", "cut"),
    [
        ("as it is", 8, "as it is"), ("cut between words here", 17, "cut between…"), ("", 3, ""),
        ("x" * 30, 10, "x" * 9 + "…"), ("a " + "y" * 30, 10, "a yyyyyyy…"),
        ("質問は何ですか、教えて", 8, "質問は何ですか…"),
    ],
)  # fmt: skip
def test_shorten_long_text_is_cut_between_words(text: str, most: int, cut: str) -> None:
    assert shorten(text, most) == cut and len(cut) <= most


NAMES = [
    "plain_name/helpfulness/chat",
    "chat & replies (2024)",
    "film & tv",
    "a/../b",
    "..",
    ".",
    "/",
    "a//b",
    "/a",
    "a/",
    'it\'s "quoted"',
    "line\nbreak",
    "tab\t",
    "![x]",
    "a+b,c#d'e",
    "Ünïcode",
    "русский",
    "日本語",
    "🎬 film",
    "_u26_",
    "_u26",
    "_u5F_u26_",
    "__u26_",
    "&u26_",
    "_&_",
    "a_",
    "_",
    "x\x00y",
    "%26",
    "a.",
    ".a",
    "...",
    "a:b c",
    "Chat",
    "chat",
    unicodedata.normalize("NFD", "Ünïcode"),
    "\ud800",
    "",
]


def test_mlflow_key_any_name_is_valid_and_reversible():
    for name in NAMES:
        key = mlflow_key(name)
        if name:
            _validate_metric_name(key)
            _validate_param_name(key)
        assert plain_key(key) == name
    assert len({mlflow_key(name) for name in NAMES}) == len(NAMES)
    assert mlflow_key("drift.labels/helpfulness/chat") == "drift.labels/helpfulness/chat"


def test_mlflow_key_short_words_do_not_collide():
    words = ["".join(letters) for n in range(1, 6) for letters in itertools.product("_u2&/.", repeat=n)]
    keys = {mlflow_key(word) for word in words}
    assert len(keys) == len(words) and all(plain_key(mlflow_key(word)) == word for word in words)


def test_mlflow_key_and_file_name_long_names_stay_apart():
    one, two = "x" * 300 + "a", "x" * 300 + "b"
    assert mlflow_key(one) != mlflow_key(two) and len(mlflow_key("&" * 300)) <= LONGEST_KEY
    assert len(file_name("ж" * 400)) <= 200 and file_name("ж" * 400) != file_name("ж" * 401)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Daten für Größe", "daten-fuer-groesse"), ("Été à Paris", "ete-a-paris"), ("Łódź", "lodz"),
        ("Ærø", "aero"), ("İstanbul ışık", "istanbul-isik"), ("u\u0308ber", "ueber"), ("a--b__c", "a-b-c"),
        ("日本語", "mine-e1dd8b"), ("Привет", "mine-78b5f6"), ("!!!", "mine"), ("2024", "2024"),
        ("n" * 300, "n" * 41 + "-fd0bba"),
    ],
)  # fmt: skip
def test_slugify_name_gives_short_ascii_name(folder: str, name: str) -> None:
    assert slugify_name(folder)[:-6] == name[:-6] and len(slugify_name(folder)) == len(name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", slugify_name(folder)) and len(slugify_name(folder)) <= 48


@pytest.mark.parametrize("name", ["a\u202eb", "\u2067x\u2069", "press/\u202dfilms"])
def test_name_fault_sign_that_turns_text_round_is_refused(name):
    assert "turns text round" in name_fault(name)


@pytest.mark.parametrize("name", ["שלום\u200f", "نمونه\u200cها", "plain"])
def test_name_fault_marks_of_right_to_left_words_are_accepted(name):
    assert name_fault(name) == ""
