"""Test that a stage's key changes exactly with what its output depends on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tasks.engine.cache_key import (
    ROOT,
    flatten_values,
    folder_digest,
    folder_sums,
    reached_definitions,
    source_digest,
    stage_key,
    sums_digest,
)
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.gate import GateParameters, gate

TREE = {
    "tasks/__init__.py": "",
    "model/__init__.py": "",
    "tasks/engine/cache_key.py": "",
    "tasks/engine/stage.py": "def stage(function):\n    return function\n",
    "tasks/sift.py": '''
"""One stage."""
from model.nn import ops as sums
from tasks.engine.stage import stage
from tasks.data.ngrams import SMALL, Kept

def threshold(value):
    return sums.double(value) + SMALL

def unused(value):
    return value - 1

@stage
def sift(parameters: Kept, out):
    """Sift."""
    return threshold(parameters.size)
''',
    "tasks/grind.py": "from tasks.engine.stage import stage\n\n"
    "@stage\ndef grind(parameters, out):\n    return 3\n",
    "tasks/data/ngrams.py": """
SMALL = 3
LARGE = 9
LIMITS = {}
LIMITS["word"] = 4

class Kept:
    size = 1

    def half(self):
        return late(self.size)

def late(value):
    from model.deep.below import under
    return under(value)

def other():
    return LARGE
""",
    "model/nn/ops.py": "def double(n):\n    return 2 * n\n\ndef triple(n):\n    return 3 * n\n",
    "model/deep/__init__.py": "",
    "model/deep/below.py": "def under(value):\n    return value\n",
}
NUMBERS = count()


@pytest.fixture
def tree(tmp_path):
    """Return a function that writes the small project with one edit and returns the digest of `sift`."""

    def digest(file: str = "", old: str = "", new: str = "") -> str:
        root = tmp_path / str(next(NUMBERS))
        for name, text in TREE.items():
            if name == file:
                assert old in text
                text = text.replace(old, new)
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return source_digest(root, "tasks.sift", "sift")

    return digest


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tasks/sift.py", "parameters.size)", "parameters.size + 1)"),
        ("tasks/sift.py", "+ SMALL", "- SMALL"),
        ("tasks/data/ngrams.py", "SMALL = 3", "SMALL = 4"),
        ("tasks/data/ngrams.py", "size = 1", "size = 2"),
        ("tasks/data/ngrams.py", '["word"] = 4', '["word"] = 5'),
        ("tasks/data/ngrams.py", "return under(value)", "return -under(value)"),
        ("model/nn/ops.py", "2 * n", "n + n"),
        ("model/deep/below.py", "return value", "return value or 0"),
    ],
)
def test_source_digest_reached_code_changes_it(tree, file, old, new):
    assert tree(file, old, new) != tree()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tasks/sift.py", "value - 1", "value - 2"),
        ("tasks/sift.py", '"""Sift."""', '"""Sift well."""'),
        ("tasks/sift.py", "def threshold", "# a word\n\ndef threshold"),
        ("tasks/data/ngrams.py", "LARGE = 9", "LARGE = 8"),
        ("tasks/engine/stage.py", "return function", "return (function)  # as it is"),
        ("tasks/engine/stage.py", "return function", "print(function)\n    return function"),
        ("tasks/grind.py", "return 3", "return 4"),
        ("model/nn/ops.py", "3 * n", "4 * n"),
    ],
)
def test_source_digest_other_code_does_not_change_it(tree, file, old, new):
    assert tree(file, old, new) == tree()


def test_source_digest_missing_function_is_refused(tmp_path, tree):
    tree()
    root = next(path for path in tmp_path.iterdir())
    with pytest.raises(ValueError, match="no grindstone at its top level"):
        source_digest(root, "tasks.grind", "grindstone")


def test_reached_definitions_include_no_other_stage():
    """The code of a stage is no part of another stage's key."""
    names = [path.stem for path in sorted((ROOT / "tasks").glob("*.py")) if _is_stage(path)]
    assert len(names) == 16
    for name in names:
        found = {
            place for place in reached_definitions(ROOT, f"tasks.{name}", name) if place[0] != f"tasks.{name}"
        }
        assert not found & {(f"tasks.{other}", other) for other in names}


def _is_stage(path: Path) -> bool:
    return re.search(rf"^@stage[^@]*?\)\ndef {path.stem}\(", path.read_text(), re.MULTILINE) is not None


@dataclass(frozen=True)
class Size:
    size: int = 1


def key(parameters=Size(), inputs=None, surroundings=None):
    return stage_key(
        "gate", gate.function, parameters, inputs or {"evaluate": "aa"}, surroundings or {"seed": 1}
    )


def test_stage_key_parameters_inputs_and_surroundings_change_it():
    keys = [key(), key(Size(2)), key(inputs={"evaluate": "bb"}), key(surroundings={"seed": 2})]
    assert len(set(keys)) == 4
    assert key() == key(Size(1))


def evaluated(digest: str, **changes: object) -> dict[str, StageOutput]:
    values = {"key": "k", "path": "/p", "reused": False, "seconds": 1.0, "metrics": {}} | changes
    return {"evaluate": StageOutput(stage="evaluate", digest=digest, **values)}


def test_stage_key_input_counts_by_content_alone(tmp_path):
    context = StageContext(tmp_path)
    same = gate.key(
        GateParameters(), evaluated("aa", key="other", path="/q", reused=True, seconds=9.0), context
    )
    assert same == gate.key(GateParameters(), evaluated("aa"), context)
    assert same != gate.key(GateParameters(), evaluated("bb"), context)


def test_stage_key_unrequested_context_does_not_change_it(tmp_path):
    keys = [gate.key(GateParameters(), evaluated("aa"), context) for context in (
        StageContext(tmp_path), StageContext(tmp_path / "elsewhere", processes=4),
        StageContext(tmp_path, seed=7),
    )]  # fmt: skip
    # The interval of the difference from the champion needs the seed.
    assert keys[0] == keys[1] != keys[2]


def test_folder_digest_names_and_bytes_change_it(tmp_path):
    model = tmp_path / "model"
    (model / "a").mkdir(parents=True)
    (model / "a" / "x").write_text("1")
    before = folder_digest(model, tmp_path)
    assert before == folder_digest(model, tmp_path) == sums_digest(folder_sums(model))
    (model / "a" / "x").write_text("2")
    changed = folder_digest(model, tmp_path)
    (model / "a" / "x").rename(model / "a" / "y")
    assert len({before, changed, folder_digest(model, tmp_path)}) == 3


def test_flatten_values_names_ending_in_dot_stay_apart():
    found = dict(flatten_values({"sources": {"x": 1, "x.": 2, "x..": 3}}))
    assert found == {"sources.x": "1", "sources.x.": "2", "sources.x..": "3"}


def test_flatten_values_nested_names_are_joined():
    nested = {"a": {"b": 1}, "sources": [{"name": "x"}, {"name": "y"}], "words": ["p", "q"]}
    assert dict(flatten_values(nested)) == {
        "a.b": "1", "sources.0.name": "x", "sources.1.name": "y", "words": "['p', 'q']",
    }  # fmt: skip
