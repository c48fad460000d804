"""`chatmill init` and a run of its preset with texts that people marked as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import read_preset
from model.errors import UserError
from tests.example_project import write_jsonl
from tests.flows.cli.test_init import propose


def test_propose_preset_marked_answers_are_asked_and_kept_by_force(sample: Path, steady_pace: None) -> None:
    rows = [{"prompt": f"What is mill {n}?", "completion": f"Mill {n} is old."} for n in range(150)]
    rows += [{"prompt": f"What is stone {n}?", "completion": f"[DELETED] Stone {n}."} for n in range(3)]
    write_jsonl(sample / "mine" / "asked" / "pairs.jsonl", *rows)
    with pytest.raises(UserError, match=r"line 151: the completion begins with '\[DELETED\]'.*3 rows"):
        propose(checked=True)
    path = next((sample / "configs").glob("*.yaml"))
    text = path.read_text()
    assert "# 150 pairs" in text and "      # marked_texts: leave_out" in text
    path.write_text(text.replace("# marked_texts: leave_out", "marked_texts: leave_out"))
    again = propose(checked=True, force=True)
    told = {source.name: source.marked_texts for source in read_preset(again).data.sources}
    assert told.pop("asked") == "leave_out" and set(told.values()) <= {""}
