"""Add up the findings of validation by kind, source and rule, and publish them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model.events import EventCallback, MarkdownTable
from tasks.common.counts import counted
from tasks.common.file_lock import exclusive_lock
from tasks.data.records import TYPES
from tasks.project.data_folder import is_quarantine
from tasks.project.owned_folder import replace_folder
from tasks.project.paths import DATA_DOCS, PAGES_LOCK
from tasks.validation.expectations import READABLE
from tasks.validation.failure_words import describe_failure
from tasks.validation.quarantine import Release
from tasks.validation.shard_validation import (
    FailedRow,
    ShardCheckResult,
    ShardFilterResult,
    earliest_examples,
)


@dataclass(frozen=True)
class RuleSummary:
    """A rule that rows of a kind broke, with their number and examples.

    A count of 0 means that the table as a whole broke the rule.
    """

    kind: str
    rule: str
    count: int
    examples: tuple[str, ...]


@dataclass
class Findings:
    """The findings of all shards, added up one by one. Its size does not depend on that of the data.

    Attributes:
        kept: Good rows by kind.
        total: Rows by kind and source.
        broken: Quarantined rows by kind and source.
        unreadable: Rows that could not be read, by kind and source.
        rules: Quarantined rows by kind and rule.
        examples: The first examples by kind and rule, in the order of the sources.
        shares: Labels by kind and by `annotator` or `choice`, counted by its value.
        faults: The rules that could not be evaluated, by kind, each with the reason.
        tables: The rules that a table as a whole broke.
    """

    kept: Counter[str] = field(default_factory=Counter)
    total: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)
    unreadable: Counter[tuple[str, str]] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], tuple[FailedRow, ...]] = field(default_factory=dict)
    shares: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    faults: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: list[RuleSummary] = field(default_factory=list)

    def __post_init__(self) -> None:
        for kind in TYPES:
            for name in ("annotator", "choice"):
                self.shares.setdefault((kind, name), Counter())

    def add(self, kind: str, looked: ShardCheckResult, sifted: ShardFilterResult) -> None:
        """Add the findings of a shard."""
        self.kept[kind] += sifted.kept
        for source, count in looked.sources.items():
            self.total[kind, source] += count
        for (source, rule), count in sifted.broken.items():
            self.broken[kind, source] += count
            self.unreadable[kind, source] += count if rule == READABLE else 0
            self.rules[kind, rule] += count
            known = set(self.examples.get((kind, rule), ()))
            self.examples[kind, rule] = earliest_examples({*known, *sifted.examples.get(rule, ())})
        for name, counts in looked.shares.items():
            self.shares[kind, name].update(counts)
        for failure in looked.failures:
            if failure.says:
                self.faults.setdefault(kind, {})[failure.rule] = failure.says

    def sources(self, kind: str) -> list[str]:
        """Return the sources that rows of a kind came from."""
        return sorted(source for found, source in self.total if found == kind)

    def metrics(self) -> dict[str, int]:
        """Return the number of rows kept and of rows quarantined by kind."""
        quarantined = Counter[str]()
        for (kind, _), count in self.rules.items():
            quarantined[kind] += count
        return {kind: self.kept[kind] for kind in TYPES} | {
            f"{kind}_quarantined": quarantined[kind] for kind in TYPES
        }

    def table(self) -> list[RuleSummary]:
        """Return the broken rules in the order of kinds, with the most broken first."""
        rows = [
            RuleSummary(kind, rule, count, tuple(each.shown for each in self.examples.get((kind, rule), ())))
            for kind in TYPES
            for (found, rule), count in sorted(self.rules.items(), key=lambda item: (-item[1], item[0]))
            if found == kind
        ]
        return [*self.tables, *rows]

    def lines(self) -> str:
        """Return the table as text for a terminal."""
        return "\n".join(
            f"  {row.kind}  {describe_failure(row.rule)}  {row.count or 'the table'}"
            + "".join(f"\n      {e}" for e in row.examples)
            for row in self.table()
        )


def publish_findings(
    findings: Findings, released: Mapping[str, Release], out: Path, root: Path, on_event: EventCallback
) -> None:
    """Write report.md and report.json, and publish the quarantine and the data docs in the project."""
    header = ["kind", "what is wrong", "rows", "for example"]
    cells = [
        [row.kind, describe_failure(row.rule), str(row.count or "the table"), "<br>".join(row.examples)]
        for row in findings.table()
    ]
    # An unescaped "|" in an example would start another cell of the Markdown table.
    table = [header, ["---"] * 4, *([cell.replace("|", "\\|") for cell in line] for line in cells)]
    if not cells:
        table.append(["all", "every rule", "none", ""])
    markdown = "\n".join("| " + " | ".join(line) + " |" for line in table)
    if released:
        authors = Counter(release.author for release in released.values())
        named = ", ".join(f"{count} by {name}" for name, count in sorted(authors.items()))
        markdown += f"\n\nReleased by hand: {named}."
    metrics = findings.metrics()
    counts = ", ".join(counted(metrics[kind], kind) for kind in TYPES)
    (out / "report.md").write_text(f"# What validation found\n\nGood rows: {counts}.\n\n{markdown}\n")
    (out / "report.json").write_text(json.dumps({"metrics": metrics, "broken": cells}, indent=1))
    kept = root / "data" / "quarantine"
    # `replace_folder` refuses a folder with files of another name, which may be the user's own.
    pages = {f"{kind}.html" for kind in TYPES} | {path.name for path in (out / "data_docs").iterdir()}
    # Two runs of a project, or of two presets, may end their validation at the same moment.
    with exclusive_lock(root / PAGES_LOCK, lambda event: None, ""):
        replace_folder(out / "quarantine" if findings.rules else None, kept, is_quarantine)
        replace_folder(out / "data_docs", root / DATA_DOCS, pages.__contains__)
    on_event(MarkdownTable(title="validation", markdown=markdown))
