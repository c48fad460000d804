"""Laws of the house that sources show: imports go down, the model needs little, nothing runs at import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"model": {"model"}, "tasks": {"model", "tasks"}, "flows": {"model", "tasks", "flows"}}
MODEL_PACKAGES = {"torch", "numpy", "tokenizers", "tiktoken", "safetensors"}


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level package of each import in a file, those inside functions included."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{file}:{node.lineno}: name the package; a relative import hides the room"
            )
            yield node.lineno, (node.module or "").partition(".")[0]


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down_only(room: str) -> None:
    above = set(ROOMS) - ROOMS[room]
    breaches = [
        f"{file}:{line}: {name}" for file in files(room) for line, name in imported(file) if name in above
    ]
    assert not breaches


def test_the_model_needs_little() -> None:
    allowed = MODEL_PACKAGES | {"model"} | set(sys.stdlib_module_names)
    breaches = [
        f"{file}:{line}: {name}"
        for file in files("model")
        for line, name in imported(file)
        if name not in allowed
    ]
    assert not breaches


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_is_pickled(room: str) -> None:
    breaches = [
        f"{file}:{line}: {name}"
        for file in files(room)
        for line, name in imported(file)
        if name in {"pickle", "cloudpickle", "dill", "shelve", "joblib"}
    ]
    assert not breaches


def test_the_environment_is_read_in_flows_alone() -> None:
    # What starts a process hands its environment on, and the elastic launcher describes the group in it.
    launchers = {
        ROOT / name
        for name in (
            "model/training/launcher.py",
            "model/training/distributed.py",
            "tasks/data/package_archive.py",
        )
    }
    breaches = [
        f"{file}:{node.lineno}"
        for file in (*files("model"), *files("tasks"))
        if file not in launchers
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"}
    ]
    assert not breaches


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_happens_at_import(room: str) -> None:
    breaches = [
        f"{file}:{node.lineno}"
        for file in files(room)
        for node in ast.parse(file.read_text(), str(file)).body
        if isinstance(node, ast.For | ast.While | ast.With | ast.Try)
        or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant))
    ]
    assert not breaches
