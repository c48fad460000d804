"""Validation: rows that break a rule are set aside with its name; too many of them stop the flow."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from model.errors import UserError
from model.launch import Report
from tasks import versions
from tasks.records import TYPES, read_lines
from tasks.rules import Failure, Limits, check
from tasks.stage import stage

MOST_ROWS = 10**12


@dataclass(frozen=True)
class ValidateParameters:
    """How clean data must be.

    `quarantine` is the largest share of a table's rows that may break a rule; `shrink` the largest share by
    which a table may be smaller than in the last accepted version, the data.dvc that is committed.
    """

    quarantine: float = 0.02
    shrink: float = 0.5
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in ("quarantine", "shrink"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1")


def accepted_rows(parameters: ValidateParameters, root: Path) -> dict[str, int]:
    """Counts of the last accepted version, where that is another one than data.dvc names now."""
    command = ["git", "-C", str(root), "show", f"HEAD:./{versions.POINTER}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return {}
    now = versions.read_pointer(root)
    if done.returncode or now is None:
        return {}
    committed = yaml.safe_load(done.stdout)
    if committed["outs"][0]["md5"] == now["md5"]:
        return {}
    counts: dict[str, int] = (committed.get("meta") or {}).get("rows") or {}
    return counts


@stage(inputs=("ingest",), outside=accepted_rows)
def validate(
    parameters: ValidateParameters, ingest: Path, out: Path, report: Report, root: Path
) -> dict[str, int]:
    """Good rows in out/rows, the others with their rule in out/quarantine and data/quarantine; report.md.

    Raises UserError, with the table of what failed, where too many rows break a rule or a table breaks one.
    """
    import pandas as pd

    before = accepted_rows(parameters, root)
    metrics: dict[str, int] = {}
    lines: list[list[str]] = []
    stops: list[str] = []
    for number, kind in enumerate(TYPES):
        rows = list(read_lines(ingest / "rows" / f"{kind}.jsonl"))
        least = int(before.get(kind, 0) * (1 - parameters.shrink))
        failures = check(kind, pd.DataFrame(rows), parameters.limits, least, MOST_ROWS) if rows else []
        if not rows and before.get(kind, 0):
            failures = [Failure("count of rows", (), "0")]
        broken = _first_rule(failures)
        _write(
            out / "quarantine" / f"{kind}.jsonl", [{**rows[i], "rule": rule} for i, rule in broken.items()]
        )
        _write(out / "rows" / f"{kind}.jsonl", [row for i, row in enumerate(rows) if i not in broken])
        metrics |= {kind: len(rows) - len(broken), f"{kind}_quarantined": len(broken)}
        lines += [
            [kind, failure.rule, str(len(failure.rows) or "the table"), _example(failure, rows)]
            for failure in failures
        ]
        stops += [
            f"{kind}: {f.rule} ({f.says} rows, at least {least} are wanted)" for f in failures if not f.rows
        ]
        if len(broken) > parameters.quarantine * len(rows):
            stops.append(
                f"{len(broken)} of {len(rows)} {kind} break a rule, above {parameters.quarantine:.1%}"
            )
        report({"event": "step", "step": number + 1, "steps": len(TYPES), "metrics": {}})
    _publish(out, root, metrics, lines, report)
    if not sum(metrics[kind] for kind in ("text", "pairs")):
        stops.append("there is not one row of text or pairs")
    if stops:
        said = "\n".join("  ".join(line) for line in lines)
        raise UserError(
            f"the data was refused before any training: {'; '.join(stops)}. The rows are in data/quarantine; "
            f"mend the sources, or raise validate.quarantine.\n{said}"
        )
    return metrics


def _first_rule(failures: list[Failure]) -> dict[int, str]:
    """The first rule that each broken row breaks, by its place, in order."""
    broken: dict[int, str] = {}
    for failure in failures:
        for row in failure.rows:
            broken.setdefault(row, failure.rule)
    return dict(sorted(broken.items()))


def _example(failure: Failure, rows: list[dict[str, Any]]) -> str:
    if not failure.rows:
        return failure.says
    row = rows[failure.rows[0]]
    shown = str(row.get("text") or row.get("completion") or row.get("prompt"))
    return f"{row.get('source')}: {shown[:60]!r}"


def _publish(out: Path, root: Path, metrics: dict[str, int], lines: list[list[str]], report: Report) -> None:
    header = ["rows", "rule", "broken by", "for example"]
    table = [header, ["---"] * 4, *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    if not lines:
        table.append(["all", "every rule", "none", ""])
    markdown = "\n".join("| " + " | ".join(line) + " |" for line in table)
    counts = ", ".join(f"{metrics[kind]} {kind}" for kind in TYPES)
    (out / "report.md").write_text(f"# What validation found\n\nGood rows: {counts}.\n\n{markdown}\n")
    (out / "report.json").write_text(json.dumps({"metrics": metrics, "broken": lines}, indent=1))
    kept = root / "data" / "quarantine"
    shutil.rmtree(kept, ignore_errors=True)
    if lines:
        shutil.copytree(out / "quarantine", kept)
    report({"event": "table", "title": "validation", "markdown": markdown})


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
