"""Rules about the source files: imports, packages, and code that runs at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from tasks.data.records import TYPES
from tasks.project.data_folder import KINDS

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"model": {"model"}, "tasks": {"model", "tasks"}, "flows": {"model", "tasks", "flows"}}
MODEL_PACKAGES = {"torch", "jinja2", "numpy", "tokenizers", "tiktoken", "safetensors"}


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and top-level package of each import in a file, including those in functions."""
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


def test_model_imports_only_listed_packages() -> None:
    allowed = MODEL_PACKAGES | {"model"} | set(sys.stdlib_module_names)
    breaches = [
        f"{file}:{line}: {name}"
        for file in files("model")
        for line, name in imported(file)
        if name not in allowed
    ]
    assert not breaches


@pytest.mark.parametrize("module", ["flows.pipeline", "flows.config", "tasks.reproduction.reproduce"])
def test_import_of_pipeline_does_not_import_torch(module: str) -> None:
    # PyTorch takes more than a second to import, and a run that reuses all outputs needs none of it.
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("room", ROOMS)
def test_modules_import_no_pickle_package(room: str) -> None:
    breaches = [
        f"{file}:{line}: {name}"
        for file in files(room)
        for line, name in imported(file)
        if name in {"pickle", "cloudpickle", "dill", "shelve", "joblib"}
    ]
    assert not breaches


def test_environment_is_read_only_in_flows() -> None:
    # A module that starts processes passes the environment on, and a job describes its group in it.
    launchers = {
        ROOT / name
        for name in (
            "model/training/launcher.py",
            "model/training/job.py",
            "model/training/nodes.py",
            "model/processes.py",
            "model/training/devices.py",
            "model/training/process_group.py",
            "tasks/data/sources/package_archive.py",
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
def test_modules_execute_nothing_at_import(room: str) -> None:
    breaches = [
        f"{file}:{node.lineno}"
        for file in files(room)
        for node in ast.parse(file.read_text(), str(file)).body
        if isinstance(node, ast.For | ast.While | ast.With | ast.Try)
        or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant))
    ]
    assert not breaches


def modules() -> dict[str, Path]:
    """Return every module of the three packages by its dotted name."""
    found = {}
    for path in (path for room in ROOMS for path in files(room)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path, known: Collection[str]) -> set[str]:
    """Return the project's modules that a file imports anywhere, for types as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return found & set(known)


def find_circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a loop."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    reach = {name: reachable(name) for name in graph}
    circles = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in graph}
    return [list(circle) for circle in sorted(circles) if circle]


def test_find_circles_reports_only_loops() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert find_circles(graph) == [["b", "c"]]


def test_modules_have_no_import_circles() -> None:
    known = modules()
    graph = {name: imports_of(path, known) - {name} for name, path in known.items()}
    assert find_circles(graph) == []


def test_import_contracts_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0


def test_tasks_folder_holds_only_stages() -> None:
    pipeline = imports_of(ROOT / "flows" / "pipeline.py", modules())
    own = [path for path in (ROOT / "tasks").glob("*.py") if path.name != "__init__.py"]
    assert [path.name for path in own if f"tasks.{path.stem}" not in pipeline] == []
    assert [path.name for path in own if "@stage" not in path.read_text()] == []


def test_packages_of_tasks_import_no_stage() -> None:
    # Onboarding may import stages, because it runs them on samples.
    known = modules()
    stages = {f"tasks.{path.stem}" for path in (ROOT / "tasks").glob("*.py")} - {"tasks.__init__"}
    breaches = [
        f"{name}: {', '.join(sorted(found))}"
        for name, path in known.items()
        if name.startswith("tasks.") and name not in stages and not name.startswith("tasks.onboarding.")
        if (found := imports_of(path, known) & stages)
    ]
    assert breaches == []


def test_packages_have_docstring_of_two_sentences() -> None:
    packages = [path for path in modules().values() if path.name == "__init__.py"]
    said = [ast.get_docstring(ast.parse(path.read_text())) or "" for path in packages]
    short = [path.parent.name for path, text in zip(packages, said, strict=True) if text.count(".") < 2]
    assert short == []


def test_data_folder_knows_every_kind_of_record() -> None:
    assert tuple(TYPES) == KINDS


LONGEST_TEST_NAME = 80
# Each of these tests several modules.
SHARED_TESTS = {"tests/model/training/test_training_tasks.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_test_files_are_named_after_a_module(room: str) -> None:
    # `test_Y.py`, or `test_Y_TOPIC.py` for a second file, stands where `Y.py` is.
    strays = []
    for path in sorted((ROOT / "tests" / room).rglob("test_*.py")):
        name, folder = path.stem.removeprefix("test_"), ROOT / path.parent.relative_to(ROOT / "tests")
        if not any(f"{name}_".startswith(f"{module.stem}_") for module in folder.glob("*.py")):
            strays.append(str(path.relative_to(ROOT)))
    assert set(strays) <= SHARED_TESTS, strays


def test_test_names_are_short() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if len(node.name) > LONGEST_TEST_NAME
    ]
    assert wrong == [], "name a test test_<unit>_<condition>_<result>, without a sentence"


def test_import_of_commands_leaves_modules_of_a_run_to_its_snapshot() -> None:
    """Import the program, then a run's modules: what both need must hold no class of tasks/ or model/.

    A run imports from a snapshot of the sources. A module of flows/ that was imported before would still
    hold the former classes, so it would neither know a stage nor show a step.
    """
    code = """
import sys
import {first}
print(*(name for name in sys.modules if name.startswith("flows.")))
"""

    def modules(first: str) -> set[str]:
        words = [sys.executable, "-c", code.format(first=first)]
        return set(subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())

    both = modules("flows.cli.main") & modules("flows.pipeline")
    assert {name for name in both if not name.startswith(("flows.common", "flows.servers"))} == {
        "flows.orchestration"
    }
