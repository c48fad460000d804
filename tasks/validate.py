"""Validation: quarantines rows that break a rule, and stops the flow if they are too many."""

from __future__ import annotations

import difflib
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from model.errors import UserError
from model.events import EventCallback, Message
from tasks.common.annotators import describe_similar_names
from tasks.common.checksums import file_sums
from tasks.common.counts import counted
from tasks.data.records import TYPES, list_shards
from tasks.engine.declaration import named_counts
from tasks.engine.parallel import ParallelMap, report_pace, serial_map
from tasks.engine.stage import stage
from tasks.validation import contamination, exact_dedup, near_dedup, unicode_scripts
from tasks.validation.data_docs import write_page
from tasks.validation.expectations import (
    BrokenRule,
    Limits,
    Rules,
    across_expectations,
    build_expectations,
    check_totals,
    own_expectations,
)
from tasks.validation.group_links import find_links, join_links, link_tasks
from tasks.validation.pii_hint import describe_unsought_pii
from tasks.validation.quarantine import RELEASES_FILE, read_releases
from tasks.validation.row_loss import accepted_rows, least_rows, lost_rows
from tasks.validation.shard_validation import (
    ShardCheckResult,
    ShardCheckTask,
    ShardFilterTask,
    check_shard,
    filter_shard,
)
from tasks.validation.summary import Findings, RuleSummary, publish_findings

PII = Literal["off", "quarantine", "mask"]
_SHARES = {"annotator": "one annotator's share", "choice": "one choice's share"}


@dataclass(frozen=True)
class ValidateParameters:
    """The rules of validation and their limits."""

    max_bad_fraction: float = 0.02
    """Largest share of a table's rows, from 0 to 1, that may break a rule. Beyond it the run stops."""

    max_bad_fraction_by_source: dict[str, float] = field(default_factory=dict)
    """The same limit for single sources by name. A source's own `max_bad_fraction` does the same."""

    max_row_drop: float = 0.5
    """Largest share, from 0 to 1, by which a table may be smaller than in the committed data.dvc."""

    limits: Limits = field(default_factory=Limits)
    """Limits of lengths and scores."""

    allowed_scripts: tuple[str, ...] = ()
    """Scripts, such as `Latin`, to which at least nine letters in ten must belong; empty: any."""

    pii: PII = "off"
    """What is done with e-mail addresses, phone and card numbers, and keys. `off`: nothing; `quarantine`:
    their rows are quarantined; `mask`: they are masked."""

    near_duplicate_threshold: float = 0.0
    """Similarity (Jaccard, from 0 to 1) from which a text is quarantined as a near-duplicate of another; 0:
    off."""

    decontaminate_against: tuple[str, ...] = ()
    """Globs of benchmark files whose questions must not be learned."""

    max_label_share: dict[str, float] = field(default_factory=dict)
    """Largest shares of the labels, from 0 to 1. `annotator`: of the labels by one person; `choice`: of one
    choice."""

    expectations: dict[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)
    """Further expectations of Great Expectations, by kind of row."""

    source_order: tuple[str, ...] = ()
    """Sources in the order in which examples of broken rows are shown; empty: that of `data.sources`."""

    overrides_file: str = RELEASES_FILE
    """File of the rows that a person released although they break a rule."""

    def __post_init__(self) -> None:
        shares = {
            **{
                name: getattr(self, name)
                for name in ("max_bad_fraction", "max_row_drop", "near_duplicate_threshold")
            },
            **{
                f"max_bad_fraction_by_source.{name}": share
                for name, share in self.max_bad_fraction_by_source.items()
            },
            **{f"max_label_share.{name}": share for name, share in self.max_label_share.items()},
        }
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; expected a share from 0 to 1")
        if not self.overrides_file.strip():
            raise ValueError("overrides_file is empty; expected the name of a file")
        if self.pii not in get_args(PII):
            raise ValueError(f"pii is {self.pii!r}; expected {', '.join(get_args(PII))}")
        for name, known in (("max_label_share", _SHARES), ("expectations", TYPES)):
            for key in getattr(self, name):
                if key not in known:
                    raise ValueError(f"{name} has {key!r}; there are {', '.join(known)}")
        # Built here for its errors: a wrong expectation must be refused before any data is read.
        for kind, rules in self.expectations.items():
            own_expectations(kind, rules)
        for script in self.allowed_scripts:
            if script not in unicode_scripts.SCRIPTS:
                near_ones = difflib.get_close_matches(script, unicode_scripts.SCRIPTS, n=1)
                hint = (
                    f"did you mean {near_ones[0]}?"
                    if near_ones
                    else f"known are {', '.join(unicode_scripts.SCRIPTS)}"
                )
                raise ValueError(f"allowed_scripts has {script!r}; {hint}")


class ValidationFailed(UserError):
    """Too many rows broke a rule, or a table broke one; nothing is trained on this data."""


def _external_inputs(parameters: ValidateParameters, root: Path) -> list[Any]:
    """Return what a verdict depends on besides the rows: rows that are lost, releases, benchmarks."""
    released = [release.to_json() for release in read_releases(root, parameters.overrides_file).values()]
    return [
        lost_rows(root, parameters.max_row_drop),
        released,
        file_sums(_read_benchmarks(parameters, root), root),
    ]


def _read_benchmarks(parameters: ValidateParameters, root: Path) -> list[Path]:
    found = []
    for pattern in parameters.decontaminate_against:
        paths = sorted(path for path in root.glob(pattern) if path.is_file())
        if not paths:
            raise UserError(f"validate.decontaminate_against: {pattern} matches no file in {root}")
        found += paths
    return found


@stage(
    inputs=("ingest",),
    input_patterns={"ingest": ("rows/*", "origins/*")},
    external_inputs=_external_inputs,
    row_folders=("rows", "quarantine"),
    origin_files=("quarantine/", "report.md", "data_docs/"),
    artifacts=("report.md",),
    headline=named_counts(
        ("text_quarantined", "text quarantined", "texts quarantined"),
        ("pairs_quarantined", "pair quarantined", "pairs quarantined"),
        ("comparisons_quarantined", "comparison quarantined", "comparisons quarantined"),
        ("ratings_quarantined", "rating quarantined", "ratings quarantined"),
        none="no row quarantined",
    ),
)
def validate(
    parameters: ValidateParameters,
    ingest: Path,
    out: Path,
    on_event: EventCallback,
    root: Path,
    parallel_map: ParallelMap = serial_map,
) -> dict[str, int]:
    """Write good rows to out/rows, quarantined ones to out/quarantine and data/quarantine; write report.md.

    out/data_docs gets Great Expectations' own pages.

    Raises:
        ValidationFailed: Too many rows break a rule, or a table breaks one; the text has the table.
    """
    # Said first: Great Expectations takes seconds before the first shard is done.
    on_event(Message("checking the rows against every rule"))
    # Read once, and passed on: the dry run gives its own.
    before = accepted_rows(root)
    findings, stops = check_rows(parameters, ingest, out, on_event, root, parallel_map, before)
    pages = [_page_task(kind, parameters, findings, out) for kind in TYPES]
    # In the processes that checked the rows: they have imported Great Expectations, which takes seconds.
    for _ in parallel_map(_write_page_of, pages):
        pass
    publish_findings(findings, read_releases(root, parameters.overrides_file), out, root, on_event)
    if stops:
        raise refusal_error(stops, findings)
    return findings.metrics()


def check_rows(
    parameters: ValidateParameters,
    ingest: Path,
    out: Path,
    on_event: EventCallback,
    root: Path,
    parallel_map: ParallelMap,
    before: Mapping[str, int],
) -> tuple[Findings, list[str]]:
    """Check the rows of ingestion against every rule; write the good and the quarantined ones below `out`.

    The stage and the dry run both call it, so that their counts and verdicts are the same.

    Args:
        parameters: The rules.
        ingest: Ingestion's output, with `rows` and `origins`.
        out: Gets `rows` and `quarantine`.
        on_event: The event callback.
        root: The project's folder; its releases and benchmarks are read.
        parallel_map: The map over shards.
        before: Rows of each kind in the last accepted version, from `accepted_rows`.

    Returns:
        The findings, and the reasons to stop the flow (empty: none).
    """
    work = out / "work"
    work.mkdir(parents=True)
    looking = _check_tasks(parameters, ingest, root, work, parallel_map)
    looked = list(
        report_pace(
            parallel_map(check_shard, looking), len(looking), on_event, lambda shard: (shard.rows, shard.size)
        )
    )
    marks = {kind: _cross_row_marks(parameters, kind, looked, work) for kind in TYPES}
    sifting = [
        ShardFilterTask(
            task,
            found,
            marks[task.kind][marks[task.kind]["shard"] == task.number],
            out,
            parameters.source_order,
        )
        for task, found in zip(looking, looked, strict=True)
    ]
    findings = Findings()
    for task, sifted in zip(sifting, parallel_map(filter_shard, sifting), strict=True):
        findings.add(task.looking.kind, task.looked, sifted)
    # Signatures and digests of all rows; only the findings are kept.
    shutil.rmtree(work)
    if said := describe_similar_names(name for kind in TYPES for name in findings.shares[kind, "annotator"]):
        on_event(Message(said))
    if parameters.pii == "off" and (said := describe_unsought_pii(out / "rows")):
        on_event(Message(said))
    return findings, stop_reasons(parameters, findings, before, parallel_map)


def stop_reasons(
    parameters: ValidateParameters,
    findings: Findings,
    before: Mapping[str, int],
    parallel_map: ParallelMap = serial_map,
) -> list[str]:
    """Return the reasons to stop the flow; empty if there are none."""
    totals = [_totals_of(kind, parameters, findings, before.get(kind, 0)) for kind in TYPES]
    stops = [
        stop
        for kind, failures in zip(TYPES, parallel_map(_check_totals_of, totals), strict=True)
        for stop in _stop_reasons_of(kind, parameters, findings, failures)
    ]
    if not sum(findings.kept[kind] for kind in ("text", "pairs")):
        stops.append("there are no rows of text or pairs; add texts, and pairs of prompt and completion")
    return stops


def refusal_error(stops: Sequence[str], findings: Findings, kept: bool = True) -> ValidationFailed:
    """Return the error that stops a run before any training, with the table of broken rules.

    Args:
        stops: The reasons.
        findings: The findings.
        kept: Whether the quarantined rows are in data/quarantine; a dry run keeps none.
    """
    where = "The rows are in data/quarantine (`chatmill quarantine list`); fix" if kept else "Fix"
    advice = f" {where} the sources, release rows, or raise validate.max_bad_fraction.\n{findings.lines()}"
    said = f"the data was rejected before any training: {'; '.join(stops)}."
    return ValidationFailed(said + (advice if any(findings.broken.values()) else ""))


@dataclass(frozen=True)
class _PageTask:
    """The page of one kind of rows; `broken` has the number of rows and examples by rule."""

    path: Path
    kind: str
    parameters: ValidateParameters
    total: int
    broken: dict[str, tuple[int, tuple[str, ...]]]


def _page_task(kind: str, parameters: ValidateParameters, findings: Findings, out: Path) -> _PageTask:
    total = sum(findings.total[kind, name] for name in findings.sources(kind))
    broken = {row.rule: (row.count, tuple(row.examples)) for row in findings.table() if row.kind == kind}
    return _PageTask(out / "data_docs" / f"{kind}.html", kind, parameters, total, broken)


def _write_page_of(task: _PageTask) -> None:
    suite = [*build_expectations(task.kind, _shown_rules(task.parameters)), *across_expectations()]
    write_page(task.path, task.kind, suite, task.total, task.broken)


def _shown_rules(parameters: ValidateParameters) -> Rules:
    """Return the rules for display: which texts a benchmark has is not computed."""
    personal = parameters.pii == "quarantine"
    asked = (lambda text: False) if parameters.decontaminate_against else None
    return Rules(parameters.limits, parameters.allowed_scripts, personal, parameters.expectations, asked)


def _check_tasks(
    parameters: ValidateParameters, ingest: Path, root: Path, work: Path, parallel_map: ParallelMap
) -> list[ShardCheckTask]:
    """Return a check task for every shard, with all that it needs."""
    releases = read_releases(root, parameters.overrides_file)
    grams = work / "grams.npy" if parameters.decontaminate_against else None
    if grams:
        np.save(grams, contamination.grams_of(_read_benchmarks(parameters, root)))
    shards = {kind: list_shards(ingest / "rows" / kind) for kind in TYPES}
    linking = link_tasks([path for paths in shards.values() for path in paths], releases)
    groups = join_links(link for found in parallel_map(find_links, linking) for link in found)
    return [
        ShardCheckTask(
            kind, number, path, ingest / "origins" / kind / path.name, work,
            parameters.limits, parameters.allowed_scripts, parameters.pii,
            bool(parameters.near_duplicate_threshold),
            parameters.expectations, grams, releases, groups,
        )
        for kind, paths in shards.items()
        for number, path in enumerate(paths)
    ]  # fmt: skip


def _cross_row_marks(
    parameters: ValidateParameters, kind: str, looked: Sequence[ShardCheckResult], work: Path
) -> np.ndarray:
    """Return the marks that need all rows of a kind: duplicates, contradictions, near duplicates."""
    # One file a shard, written by the workers: rows of all shards do not fit into one message.
    count = sum(found.kind == kind for found in looked)

    def files(name: str) -> list[Path]:
        return [work / name / kind / f"{number:05}.npy" for number in range(count)]

    marks = [exact_dedup.find_repeats(files("content"))]
    if kind == "ratings":
        # A text may be rated for several aspects in one group; in two groups it could reach two splits.
        torn = marks[0][marks[0]["rule"] == exact_dedup.TORN]
        marks = [torn, exact_dedup.find_repeats(files("whole"))]
    if kind in ("comparisons", "ratings"):
        marks.append(exact_dedup.find_contradictions(files("choices")))
    if parameters.near_duplicate_threshold and kind == "text":
        alike = near_dedup.near_marks(files("signatures"), files("ids"), parameters.near_duplicate_threshold)
        found = np.zeros(len(alike), exact_dedup.MARK)
        found["shard"], found["index"], found["rule"] = alike["shard"], alike["index"], exact_dedup.NEAR
        marks.append(found)
    return np.concatenate(marks)


def _stop_reasons_of(
    kind: str, parameters: ValidateParameters, findings: Findings, failures: Sequence[BrokenRule]
) -> Iterator[str]:
    """Yield the reasons to stop the flow because of this kind of rows.

    Args:
        kind: The kind of rows.
        parameters: The rules.
        findings: The findings, which get the failures.
        failures: The broken rules of the whole table.
    """
    for failure in failures:
        findings.tables.append(RuleSummary(kind, failure.rule, 0, (failure.says,)))
        yield f"{kind}: {failure.rule} ({failure.says})"
    own = dict(sorted(parameters.max_bad_fraction_by_source.items()))
    groups = [([name], share, f" of {name}") for name, share in own.items()]
    groups.append(
        ([name for name in findings.sources(kind) if name not in own], parameters.max_bad_fraction, "")
    )
    for names, share, whose in groups:
        broken = sum(findings.broken[kind, name] for name in names)
        total = sum(findings.total[kind, name] for name in names)
        # Compared as a product, so that a table without rows needs no division.
        if broken > share * total:
            yield f"{broken:,} of {counted(total, kind)}{whose} break a rule, above {share:.1%}"
    for rule, says in findings.faults.get(kind, {}).items():
        yield f"{kind}: {rule} could not be checked ({says})"


@dataclass(frozen=True)
class _Totals:
    """Metrics of the whole table of one kind, with their bounds; empty if there are and were no rows."""

    kind: str
    totals: dict[str, float]
    bounds: dict[str, tuple[float, float]]


def _totals_of(kind: str, parameters: ValidateParameters, findings: Findings, before: int) -> _Totals:
    rows = sum(findings.total[kind, name] for name in findings.sources(kind))
    if not rows and not before:
        return _Totals(kind, {}, {})
    totals: dict[str, float] = {"count of rows": rows}
    bounds: dict[str, tuple[float, float]] = {
        "count of rows": (least_rows(before, parameters.max_row_drop), math.inf)
    }
    for name, most in parameters.max_label_share.items():
        counts: Counter[str] = findings.shares[kind, name]
        if counts:
            rule = _SHARES[name]
            totals[rule], bounds[rule] = max(counts.values()) / counts.total(), (0.0, most)
    return _Totals(kind, totals, bounds)


def _check_totals_of(asked: _Totals) -> list[BrokenRule]:
    return check_totals(asked.kind, asked.totals, asked.bounds) if asked.totals else []
