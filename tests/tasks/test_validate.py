"""Every rule with a row that breaks it, and what happens then."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from model.errors import UserError
from tasks.records import TYPES, digest
from tasks.rules import Limits, check
from tasks.validate import ValidateParameters, accepted_rows, validate

COMMON = {"source": "film", "group": "g1"}
GOOD: dict[str, dict[str, Any]] = {
    "text": {"id": "1", "text": "The mill is old.", **COMMON},
    "pairs": {
        "id": "1", "prompt": "What is old?", "completion": " The mill.", "references": [" The mill."],
        **COMMON,
    },
    "comparisons": {
        "id": "1", "prompt": "What is old?", "a": " The mill.", "b": " Us?", "choice": "a",
        "aspect": "truthfulness", "annotator": "ann", **COMMON,
    },
    "ratings": {
        "id": "1", "prompt": "Finish: the film", "completion": " is lovely.", "scores": [3.0, 2.0],
        "annotators": ["ann", "bob"], "aspect": "tone", **COMMON,
    },
}  # fmt: skip
BROKEN = [
    ("text", {"text": None}, "text is there"),
    ("text", {"source": None}, "source is there"),
    ("pairs", {"completion": None}, "completion is there"),
    ("text", {"text": 3}, "text is a string"),
    ("ratings", {"prompt": ["x"]}, "prompt is a string"),
    ("text", {"text": "x"}, "text has a fit length"),
    ("pairs", {"prompt": "p" * 60}, "prompt has a fit length"),
    ("text", {"text": "one\x00two"}, "text is printable"),
    ("pairs", {"completion": " half \ufffd"}, "completion is printable"),
    ("comparisons", {"aspect": "beauty"}, "aspect is known"),
    ("comparisons", {"choice": "left"}, "choice is known"),
    ("ratings", {"scores": [], "annotators": []}, "scores are there"),
    ("ratings", {"scores": [1.0]}, "each score has its annotator"),
    ("ratings", {"scores": [1.0, "2"]}, "each score has its annotator"),
    ("ratings", {"scores": [-11.0, 1.0]}, "lowest score in range"),
    ("ratings", {"scores": [1.0, 11.0]}, "highest score in range"),
    ("text", {"id": "1", "text": "Another text."}, "id is unique"),
    ("text", {"text": "the  MILL is old."}, "content is not there twice"),
    ("text", {"text": "the  MILL is old.", "group": "g2"}, "held out of training"),
]


def second(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    """A good row that is another one, with changes."""
    row = {**GOOD[kind], "id": "2"}
    for key in ("text", "prompt"):
        if key in row:
            row[key] = "Another one stands here."
    return {**row, **changes}


@pytest.mark.parametrize(("kind", "changes", "rule"), BROKEN)
def test_each_rule_is_broken_by_its_row_alone(kind: str, changes: dict[str, Any], rule: str) -> None:
    table = pd.DataFrame([GOOD[kind], second(kind, changes)])
    failures = {failure.rule: failure.rows for failure in check(kind, table, Limits(longest=50), 0, 10)}
    assert failures.get(rule) == (1,)


@pytest.mark.parametrize("kind", TYPES)
def test_good_rows_break_none(kind: str) -> None:
    assert check(kind, pd.DataFrame([GOOD[kind], second(kind, {})]), Limits(longest=50), 0, 10) == []


@pytest.mark.parametrize(("least", "most"), [(3, 10), (0, 1)])
def test_the_count_of_rows_is_a_rule_of_the_table(least: int, most: int) -> None:
    (failure,) = check("text", pd.DataFrame([GOOD["text"], second("text", {})]), Limits(), least, most)
    assert (failure.rule, failure.rows, failure.says) == ("count of rows", (), "2")


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": digest(i), "text": f"Text number {i} is here.", "source": "film", "group": digest("g", i)}
        for i in range(count)
    ]


def ingested(root: Path, text: list[dict[str, Any]]) -> Path:
    folder = root / "ingest" / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in TYPES:
        lines = text if kind == "text" else []
        (folder / f"{kind}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root / "ingest"


def run(
    root: Path, text: list[dict[str, Any]], events: list[dict[str, Any]], **settings: Any
) -> dict[str, int]:
    return validate(
        ValidateParameters(**settings),
        ingest=ingested(root, text),
        out=root / "out",
        report=events.append,
        root=root,
    )


def test_a_broken_row_is_set_aside_with_its_rule(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    figures = run(tmp_path, [*rows(99), {**rows(100)[-1], "text": "bad \x07 bell"}], events)
    assert (figures["text"], figures["text_quarantined"]) == (99, 1)
    for folder in (tmp_path / "out" / "quarantine", tmp_path / "data" / "quarantine"):
        (line,) = (folder / "text.jsonl").read_text().splitlines()
        assert json.loads(line)["rule"] == "text is printable"
    good = (tmp_path / "out" / "rows" / "text.jsonl").read_text()
    assert good.count("\n") == 99 and "bell" not in good
    (table,) = [event for event in events if event["event"] == "table"]
    assert "text is printable" in table["markdown"]
    assert "text is printable" in (tmp_path / "out" / "report.md").read_text()


def test_good_rows_are_written_as_they_came(tmp_path: Path) -> None:
    run(tmp_path, rows(5), [])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["broken"] == []
    assert not (tmp_path / "data" / "quarantine").exists()


def test_too_many_stop_before_any_training_with_a_table(tmp_path: Path) -> None:
    bad = [{**row, "text": "\x01\x02"} for row in rows(10)[5:]]
    events: list[dict[str, Any]] = []
    with pytest.raises(
        UserError, match=r"refused before any training: 5 of 10 text break a rule, above 2\.0%"
    ) as caught:
        run(tmp_path, [*rows(5), *bad], events)
    assert "text is printable" in str(caught.value)
    assert any(event["event"] == "table" for event in events)
    assert len((tmp_path / "data" / "quarantine" / "text.jsonl").read_text().splitlines()) == 5
    assert run(tmp_path, [*rows(5), *bad], [], quarantine=0.6)["text"] == 5


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not one row of text or pairs"):
        run(tmp_path, [], [])


def test_a_table_that_shrank_against_the_accepted_version_stops(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    def point(md5: str, count: int) -> None:
        meta = f"meta: {{sources: s, rows: {{text: {count}}}}}\n"
        (tmp_path / "data.dvc").write_text(f"outs:\n- {{md5: {md5}, path: data}}\n{meta}")

    git("init")
    point("a.dir", 100)
    git("add", "data.dvc")
    git("commit", "-m", "accepted")
    assert accepted_rows(ValidateParameters(), tmp_path) == {}
    point("b.dir", 10)
    assert accepted_rows(ValidateParameters(), tmp_path) == {"text": 100}
    with pytest.raises(UserError, match="count of rows"):
        run(tmp_path, rows(10), [])
    assert run(tmp_path, rows(60), [])["text"] == 60


@pytest.mark.parametrize(("key", "value"), [("quarantine", 1.5), ("shrink", -0.1)])
def test_shares_out_of_range_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        ValidateParameters(**{key: value})
