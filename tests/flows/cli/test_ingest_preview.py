"""Test that the exit status of `chatmill ingest --dry-run` is that of `chatmill run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.ingest_preview import WIDTH, shorten_row
from flows.cli.main import app
from tasks.data.records import comparison_row, pair_row
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


def test_shorten_row_long_texts_hide_no_key_behind_them() -> None:
    row = comparison_row("Why? " * 90, "So. " * 90, "No.", "b", "tone", "ana", "votes", "")
    line = shorten_row(row)
    assert len(line) <= WIDTH and set(json.loads(line)) == {
        "prompt",
        "a",
        "b",
        "choice",
        "aspect",
        "annotator",
    }
    assert json.loads(line)["choice"] == "b" and json.loads(line)["annotator"] == "ana"


def test_shorten_row_short_row_is_whole() -> None:
    assert shorten_row(pair_row("Why?", "So.", "notes", "")) == (
        '{"prompt":"Why?","completion":"So.","references":["So."]}'
    )


def test_shorten_row_many_turns_end_at_width() -> None:
    turns = [{"role": "user", "content": f"Question {n}?"} for n in range(90)]
    line = shorten_row(pair_row("Why?", "So.", "notes", "", history=turns))
    assert len(line) == WIDTH and line.endswith("…")
