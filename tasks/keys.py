"""The key of a stage: what its output depends on, and nothing else."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("tasks", "model")
LOCK = "requirements.txt"


def stage_key(
    name: str,
    function: Callable[..., Any],
    parameters: Any,
    inputs: Mapping[str, str],
    surroundings: Mapping[str, Any],
) -> str:
    """The first 20 hex digits of the digest of all that a stage's output depends on.

    `inputs` are content digests by stage name: an input that was made anew and came out the same leaves the
    key as it was. `surroundings` are the seed, the kind of device and the like, where the stage asks.
    """
    whole = {
        "stage": name,
        "code": code_digest(function),
        "lock": lock_digest(),
        "parameters": plain(parameters),
        "inputs": dict(inputs),
        "surroundings": dict(surroundings),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:20]


def plain(parameters: Any) -> Any:
    """Parameters as JSON-able values."""
    values = (
        asdict(parameters) if is_dataclass(parameters) and not isinstance(parameters, type) else parameters
    )
    return json.loads(json.dumps(values, default=str))


def code_digest(function: Callable[..., Any]) -> str:
    """Digest of every source file that a function's module reaches inside tasks/ and model/.

    Comments and layout do not count: what is digested is the syntax tree, without docstrings.
    """
    module = Path(inspect.getfile(inspect.unwrap(function))).resolve()
    parts = [[str(path.relative_to(ROOT)), file_digest(path)] for path in reached(module)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def reached(file: Path) -> list[Path]:
    """The project's files that a file imports, directly or not, itself among them; in order of name."""
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        waiting.extend(imports(path))
    return sorted(seen)


@cache
def imports(file: Path) -> tuple[Path, ...]:
    """The project's files that one file names in its imports, those inside functions included."""
    found: dict[Path, None] = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.partition(".")[0] in ROOMS and (path := _file_of(name)):
                found.setdefault(path)
    return tuple(found)


def _file_of(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.exists():
            return path
    return None


@cache
def file_digest(file: Path) -> str:
    """Digest of a source file's meaning: its syntax tree without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def lock_digest() -> str:
    """Digest of the lock: which packages, at which versions."""
    lines = (ROOT / LOCK).read_text(encoding="utf-8").splitlines()
    pins = sorted(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()


def folder_digest(folder: Path, without: tuple[str, ...] = ()) -> str:
    """SHA-256 of a folder's content: every file's path and bytes, in order of path."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in without:
            continue
        with path.open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
