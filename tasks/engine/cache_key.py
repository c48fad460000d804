"""The cache key of a stage: a digest of everything that its output depends on, and of nothing else."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import psutil

from model.errors import UserError
from model.parameter_bounds import KEYED_IF_SET
from tasks.common.checksums import sums_by_name
from tasks.engine.digest_cache import forget_digest, read_digest, write_digest
from tasks.engine.source_snapshot import KEPT_MODULES, ORIGIN

ROOT = Path(__file__).resolve().parents[2]
_KEYED_PACKAGES = ("tasks", "model")
# Modules that decide when a stage is made, not what it computes. A change in them must not make every output
# again.
_EXCLUDED_MODULES = (
    "tasks.engine.stage",
    "tasks.engine.declaration",
    "tasks.engine.input_view",
    "tasks.engine.output",
    "tasks.engine.cache_key",
    "tasks.engine.digest_cache",
    "tasks.engine.parallel",
    "tasks.engine.source_snapshot",
)
# The start time of a process and the ctime of a file come from different clocks; they may differ by this
# much.
CLOCK_SECONDS = 2.0
LOCK = "requirements.txt"


def stage_key(
    name: str,
    function: Callable[..., Any],
    parameters: Any,
    inputs: Mapping[str, str],
    surroundings: Mapping[str, Any],
) -> str:
    """Return a stage's cache key: the first 20 hex digits of a digest over all that its output depends on.

    Args:
        name: The stage's name.
        function: The stage's function; its code is part of the key.
        parameters: The stage's parameters, a dataclass or a mapping.
        inputs: Digests of what the stage reads, by the name of the input stage. An input that was made again
            with the same content leaves the key unchanged.
        surroundings: The seed, the kind of device and the like, if the stage asks for them.
    """
    whole = {
        "stage": name,
        "code": code_digest(function),
        # Another version of a library may compute another result from the same code.
        "lock": lock_digest(),
        "parameters": plain_parameters(parameters),
        "inputs": dict(inputs),
        "surroundings": dict(surroundings),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:20]


def plain_parameters(parameters: Any) -> Any:
    """Return parameters as JSON-serializable values.

    A field with the metadata `KEYED_IF_SET` is left out while it has its default.
    """
    is_object = is_dataclass(parameters) and not isinstance(parameters, type)
    values = _keyed_values(parameters) if is_object else parameters
    return json.loads(json.dumps(values, default=str))


def _keyed_values(parameters: Any) -> dict[str, Any]:
    values = asdict(parameters)
    for each in fields(parameters):
        own = getattr(parameters, each.name)
        if each.metadata.get(KEYED_IF_SET) and own == each.default:
            del values[each.name]
        elif is_dataclass(own):
            values[each.name] = _keyed_values(own)
    return values


def code_digest(function: Callable[..., Any]) -> str:
    """Return a digest of all definitions in tasks/ and model/ that a module-level function reaches.

    Comments, docstrings and layout do not count. Definitions that are not reached do not count either, even
    in the same file.
    """
    return named_code_digest(_module_of(function), function.__name__)


def named_code_digest(module: str, name: str) -> str:
    """Return `code_digest` of the function `name` of a module, without importing the module."""
    known = read_digest(ROOT, module, name)
    if known is None:
        known = source_digest(ROOT, module, name)
        write_digest(ROOT, module, name, known)
    return known


def check_code_digest(function: Callable[..., Any]) -> None:
    """Parse the sources that a stage is about to run, and compare them with `code_digest`.

    Raises:
        UserError: The digest that the snapshot kept is not that of its sources. It is removed.
    """
    module, name = _module_of(function), function.__name__
    if code_digest(function) != source_digest(ROOT, module, name):
        path = forget_digest(ROOT, module, name)
        raise UserError(f"{path} does not belong to the sources beside it and was removed; run again")


def definition_digests(function: Callable[..., Any]) -> dict[str, str]:
    """Return the digest of each definition that `code_digest` includes, by its dotted name.

    The name of a module alone denotes its statements that define nothing.
    """
    found = reached_definitions(ROOT, _module_of(function), function.__name__)
    return {".".join(filter(None, names)): each.meaning for names, each in found.items()}


def changed_source(function: Callable[..., Any], imported: Mapping[str, str]) -> Path | None:
    """Return a file that `code_digest` included but that has changed or is not the file that ran; else None.

    Args:
        function: The stage's function.
        imported: SHA-256 of module files as another process imported them, by module name.
    """
    began = psutil.Process().create_time()
    for module in sorted(
        {module for module, _ in reached_definitions(ROOT, _module_of(function), function.__name__)}
    ):
        source = parse_module(ROOT, module)
        loaded = getattr(sys.modules.get(module), "__file__", None)
        moved = loaded is not None and Path(loaded).resolve() != source.path.resolve()
        elsewhere = moved and module not in KEPT_MODULES
        other = imported.get(module, source.digest) != source.digest
        try:
            # This process may have imported the file before the key was computed, so a change since counts.
            changed = source.path.stat().st_ctime > began + CLOCK_SECONDS
            # `source.digest` was taken when the key was computed. A difference means an edit while the stage
            # ran.
            now = hashlib.sha256(source.path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return source.path
        # In a snapshot the ctime is that of the copy, which may be later than the start of the process.
        if elsewhere or other or now != source.digest or (changed and ROOT == ORIGIN):
            return source.path
    return None


def _module_of(function: Callable[..., Any]) -> str:
    place = Path(inspect.getfile(function)).resolve().relative_to(ROOT)
    return ".".join(place.with_suffix("").parts)


@cache
def source_digest(root: Path, module: str, name: str) -> str:
    """Return `code_digest` of the function `name` in `module` of the source tree at `root`."""
    parts = [[*place, found.meaning] for place, found in reached_definitions(root, module, name).items()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def reached_definitions(root: Path, module: str, name: str) -> dict[tuple[str, str], Definition]:
    """Return the definitions that one definition names, directly or indirectly, sorted by module and name.

    A module that is reached also contributes its statements that define nothing (name ""), since an import
    runs them.
    """
    if name not in parse_module(root, module).defined:
        raise ValueError(f"{module} has no {name} at its top level; a stage's function stands there")
    found: dict[tuple[str, str], Definition] = {}
    waiting = [(module, name)]
    while waiting:
        place = waiting.pop()
        if place in found:
            continue
        source = parse_module(root, place[0])
        found[place] = source.defined[place[1]] if place[1] else source.loose
        waiting.append((place[0], ""))
        for chain in found[place].chains:
            waiting.extend(_resolve_chain(root, place[0], chain))
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Definition:
    """The statements that assign one name, without docstrings."""

    statements: list[ast.stmt] = field(default_factory=list)

    @cached_property
    def meaning(self) -> str:
        """Digest of the statements' syntax trees."""
        # `ast.dump` omits line numbers, comments and layout, so that only a change of meaning changes the
        # digest.
        dumped = "\n".join(ast.dump(statement) for statement in self.statements)
        return hashlib.sha256(dumped.encode()).hexdigest()

    @cached_property
    def chains(self) -> list[tuple[str, ...]]:
        """All names that are used, each with the attributes that follow it: `a.b.c` as (a, b, c)."""
        found: dict[tuple[str, ...], None] = {}
        inner: set[ast.AST] = set()
        for node in (node for statement in self.statements for node in ast.walk(statement)):
            chain: list[str] = []
            step: ast.AST = node
            # `a.b.c` is nested in the tree. Its inner parts are noted, so that `a.b` and `a` are not found
            # again.
            while isinstance(step, ast.Attribute):
                chain.append(step.attr)
                inner.add(step.value)
                step = step.value
            if isinstance(step, ast.Name) and node not in inner:
                found.setdefault((step.id, *reversed(chain)))
        return list(found)


@dataclass(frozen=True)
class ModuleSource:
    """A module's top level: its definitions, the bindings of its imports, and all other statements."""

    path: Path
    digest: str
    defined: dict[str, Definition] = field(default_factory=dict)
    imported: dict[str, list[str]] = field(default_factory=dict)
    loose: Definition = field(default_factory=Definition)


@cache
def parse_module(root: Path, module: str) -> ModuleSource:
    """Parse a module.

    An import inside a function binds its names as one at the top of the module does.
    """
    path = _file_of(root, module)
    assert path is not None, module
    content = path.read_bytes()
    tree = ast.parse(content, str(path))
    source = ModuleSource(path, hashlib.sha256(content).hexdigest())
    for node in (tree, *_statements(tree)):
        _without_docstring(node)
        _without_declaration(node)
        for name, target in _import_bindings(node):
            source.imported.setdefault(name, []).append(target)
    for statement in tree.body:
        names = _defined_names(statement)
        for name in names:
            source.defined.setdefault(name, Definition()).statements.append(statement)
        if not names and not isinstance(statement, ast.Import | ast.ImportFrom):
            source.loose.statements.append(statement)
    return source


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield all statements below a node, without a visit to the expressions, which are most of a tree."""
    for block in ("body", "handlers", "cases", "orelse", "finalbody"):
        for inner in getattr(node, block, ()):
            if isinstance(inner, ast.stmt):
                yield inner
            yield from _statements(inner)


def _without_docstring(node: ast.AST) -> None:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:]


def _without_declaration(node: ast.AST) -> None:
    """Remove `@stage(...)`: its values either enter the key by themselves or do not change the output."""
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = [each for each in node.decorator_list if not _is_declaration(each)]


def _is_declaration(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id == "stage"


def _import_bindings(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that an import binds, each with the dotted name of its target."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            first = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (first, first)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _defined_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    # An assignment to an attribute or an item defines no name; it changes another object, so it counts as
    # loose.
    if any(not isinstance(node, ast.Name | ast.Tuple) for node in targets):
        return []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _resolve_chain(root: Path, module: str, chain: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the definitions in the project that a chain of names refers to inside a module."""
    source = parse_module(root, module)
    if chain[0] in source.defined:
        yield module, chain[0]
    for target in source.imported.get(chain[0], ()):
        yield from _look_up(root, (*target.split("."), *chain[1:]))


def _look_up(root: Path, parts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield definitions by their full dotted name; a module's name yields all its definitions."""
    if parts[0] not in _KEYED_PACKAGES:
        return
    size = next((n for n in range(len(parts), 0, -1) if _file_of(root, ".".join(parts[:n]))), 0)
    module = ".".join(parts[:size])
    if not size or module in _EXCLUDED_MODULES:
        return
    source = parse_module(root, module)
    rest = parts[size:]
    if rest and rest[0] != "*":
        # A package may only re-export the name, so it is resolved again where it is defined.
        yield from _resolve_chain(root, module, rest)
    else:
        yield from ((module, name) for name in source.defined)


@cache
def _file_of(root: Path, module: str) -> Path | None:
    place = root.joinpath(*module.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.exists():
            return path
    return None


@cache
def lock_digest(root: Path = ROOT) -> str:
    """Return a digest of a project's lock file: the packages and their versions."""
    lines = (root / LOCK).read_text(encoding="utf-8").splitlines()
    # The order of lines and the comments depend on the tool that wrote the lock file.
    pins = sorted(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()


def folder_digest(folder: Path, root: Path) -> str:
    """Return the SHA-256 of a folder's content: the path and bytes of each file, in order of path.

    An unchanged file is not read again.

    Args:
        folder: The folder.
        root: The project's folder, which holds the cached checksums.
    """
    return sums_digest(sums_by_name(folder, root))


def folder_sums(folder: Path, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder by its path in it, in order of path.

    Args:
        folder: The folder.
        without: Names of files and folders at its top that are left out.
    """
    sums = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.partition("/")[0] in without:
            continue
        with path.open("rb") as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def output_digest(sums: Mapping[str, str], apart: Collection[str] = ()) -> str:
    """Return the digest of an output.

    Args:
        sums: SHA-256 of its files by path.
        apart: Folders at the top of the output that are left out.
    """
    return sums_digest({name: found for name, found in sums.items() if name.partition("/")[0] not in apart})


def sums_digest(sums: Mapping[str, str]) -> str:
    """Return one digest over the paths and checksums of files, in the given order."""
    whole = hashlib.sha256()
    for name, found in sums.items():
        # A path cannot contain NUL, so two different lists of files never give the same text.
        whole.update(f"{name}\0{found}\n".encode())
    return whole.hexdigest()


def flatten_values(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested values as pairs of a dotted path, such as `a.b.0.c`, and text."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from flatten_values(value, f"{prefix}{key}.")
    elif isinstance(values, list) and any(isinstance(value, Mapping) for value in values):
        for index, value in enumerate(values):
            yield from flatten_values(value, f"{prefix}{index}.")
    else:
        # Only the last dot comes from this function; a user's own name may end in one.
        yield prefix.removesuffix("."), str(values)
