"""The check of a GPU: it runs on a CPU with few packages, finds faults, and keeps its time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.nn import transformer
from tests.benchmarks.gpu_check import correctness
from tests.benchmarks.gpu_check.__main__ import PARTS, Outcome, Part, run_part, run_parts
from tests.benchmarks.gpu_check.rows import SMALL, Row

ROOT = Path(__file__).parents[2]
# What the whole program needs; a machine for a check has none of them.
MISSING = (
    "prefect",
    "mlflow",
    "dvc",
    "tiktoken",
    "pydantic",
    "rich",
    "great_expectations",
    "pandas",
    "typer",
)


@pytest.mark.long
def test_gpu_check_without_other_packages_runs_all_parts_on_a_cpu(tmp_path: Path) -> None:
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text(f"import sys\nfor name in {MISSING}:\n    sys.modules[name] = None\n")
    out = tmp_path / "found.json"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "tests.benchmarks.gpu_check", "--device", "cpu", "--small"]
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert [part["part"] for part in found["parts"]] == [part.name for part in PARTS]
    assert not any(part["problem"] for part in found["parts"]) and found["failed"] == []
    verdicts = [row["verdict"] for part in found["parts"] for row in part["rows"]]
    assert verdicts.count("ok") >= 15 and "FAILED" not in verdicts
    assert all(row["what"] in done.stdout for part in found["parts"] for row in part["rows"])
    # The processor's time: other programs delay the clock.
    assert used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime < 90


def test_check_transformers_other_scale_of_scores_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    right = list(correctness.check_transformers(SMALL, "cpu"))
    original = transformer.cpu_attention
    monkeypatch.setattr(
        transformer, "cpu_attention", lambda *given: original(*given[:-1], scale=given[-1] * 1.5)
    )
    wrong = list(correctness.check_transformers(SMALL, "cpu"))
    assert [row.verdict for row in right] == ["ok"] and [row.verdict for row in wrong] == ["FAILED"]


def test_check_packed_rows_without_mask_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    original = transformer.causal_mask
    monkeypatch.setattr(
        transformer, "causal_mask", lambda length, documents, like, window=0: original(length, None, like)
    )
    rows = list(correctness.check_packed_rows(SMALL, "cpu"))
    assert rows and all(row.verdict == "FAILED" for row in rows)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("x", 1.0), ""), (Row("x", None), ""), (Row("x", 1.0, most=2), "ok"),
        (Row("x", 3.0, most=2), "FAILED"),
        (Row("x", 1.0, least=2), "FAILED"), (Row("x", float("nan"), most=2), "FAILED"),
        (Row("x", None, least=0), "FAILED"),
    ],
)  # fmt: skip
def test_row_verdict_follows_its_bounds(row: Row, verdict: str) -> None:
    assert row.verdict == verdict


def slow(size: object, device: str) -> Iterator[Row]:
    yield Row("before", 1.0)
    subprocess.run(["sleep", "60"], check=True)


def broken(size: object, device: str) -> Iterator[Row]:
    yield Row("before", 1.0)
    raise MemoryError("no room\nfor this")


def dead(size: object, device: str) -> Iterator[Row]:
    yield Row("before", 1.0)
    os.kill(os.getpid(), 9)


@pytest.mark.parametrize(
    ("measure", "problem"),
    [(slow, "stopped after 1 s, its limit"), (broken, "MemoryError: no room"), (dead, "code -9")],
)
def test_run_part_that_does_not_end_well_keeps_its_rows(measure: object, problem: str) -> None:
    began = time.monotonic()
    outcome = run_part(Part("x", measure, 1, 0), SMALL, "cpu", 1)  # type: ignore[arg-type]
    assert outcome.rows == [Row("before", 1.0)] and problem in outcome.problem and outcome.failed
    assert time.monotonic() - began < 30


def test_run_parts_names_parts_for_which_no_time_is_left() -> None:
    shown: list[Outcome] = []
    parts = (Part("long", slow, 2, 0), Part("next", broken, 9, 5), Part("short", broken, 9, 0))
    run_parts(parts, SMALL, "cpu", 3, shown.append)
    assert [outcome.part for outcome in shown] == ["long", "next", "short"]
    assert shown[1].left_out and not shown[1].failed and "needs about 5" in shown[1].problem
