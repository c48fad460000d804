"""How a command starts: what is heavy waits until it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
HEAVY = ("torch", "mlflow", "prefect", "pandas", "dvc", "great_expectations")
SAYS = (
    "import json, sys; from flows.cli.main import main; sys.argv[1:] = {words!r}\n"
    "try: main()\n"
    "except SystemExit as end: print(json.dumps([end.code, sorted(sys.modules)]), file=sys.stderr)"
)


def modules(folder: Path, *words: str) -> tuple[int, set[str]]:
    """The exit code of a command and the modules that it imported."""
    program = SAYS.format(words=list(words))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, found = json.loads(done.stderr.splitlines()[-1])
    return code, set(found)


@pytest.mark.parametrize("words", [("--help",), ("explain", "--help"), ("models", "--help")])
def test_main_help_imports_no_heavy_package(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, found = modules(tmp_path, *words)
    assert code == 0
    assert found.isdisjoint(HEAVY)


def test_main_models_imports_neither_torch_nor_prefect(tmp_path: Path) -> None:
    code, found = modules(tmp_path, "models")
    assert code == 0
    assert "mlflow" in found
    assert found.isdisjoint({"torch", "prefect", "dvc", "great_expectations"})
