"""Test that any name becomes a unique key of MLflow and a unique file name."""

import itertools
import unicodedata

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from tasks.common.names import LONGEST_KEY, file_name, mlflow_key, plain_key
from tasks.data.new_labels import known_labels
from tasks.engine.cache_key import flatten_values

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


@pytest.mark.parametrize("name", ["ж" * 400, "a/b", "..", "it's", "x" * 255, "a.b"])
def test_known_labels_preset_of_any_name_is_remembered(tmp_path, name):
    (tmp_path / "good").mkdir()
    known_labels(tmp_path, name).remember_labels(tmp_path / "good", "first", "data")
    assert known_labels(tmp_path, name).data == "data" and known_labels(tmp_path, name + "x").data == ""


def test_flatten_values_names_ending_in_dot_stay_apart():
    found = dict(flatten_values({"sources": {"x": 1, "x.": 2, "x..": 3}}))
    assert found == {"sources.x": "1", "sources.x.": "2", "sources.x..": "3"}
