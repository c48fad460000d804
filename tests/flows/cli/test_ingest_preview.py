"""Test that the exit status of `chatmill ingest --dry-run` is that of `chatmill run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import app
from tests.flows.cli_runner import call

PAIRS = [{"prompt": f"Question {n}?", "completion": f"Answer {n} is here."} for n in range(600)]
TEXTS = [{"text": f"The tale number {n} is short and about a mill."} for n in range(600)]
RATINGS = [{**pair, "scores": [n % 3], "annotators": ["ann"]} for n, pair in enumerate(PAIRS)]


@pytest.mark.parametrize(
    ("rows", "changes", "says"),
    [
        (TEXTS, ["tokenizer.vocab_size=300"], "no pairs"),
        ([*TEXTS, *PAIRS], ["tokenizer.vocab_size=300"], "no labels"),
        ([*TEXTS, *PAIRS, *RATINGS], ["tokenizer.vocab_size=60000"], "vocab_size"),
        ([*TEXTS[:1]], [], "the only text does not fall into the"),
    ],
)
def test_ingest_dry_run_of_run_that_would_stop_exits_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], changes: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("x.yaml").write_text("name: x\ndata:\n  sources:\n    - {name: x, files: s.jsonl}\n")
    sets = [word for change in changes for word in ("--set", change)]
    done = call(app, "ingest", "--config", "x.yaml", "--dry-run", *sets)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("`chatmill ingest` would succeed, but `chatmill run` would stop: ")
    assert says in last and done.exit_code == 2
