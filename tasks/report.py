"""Report: makes one self-contained page about a training for readers without prior knowledge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from model.data.dataloader import each_row
from model.events import EventCallback
from tasks.common.names import is_blank, source_rank
from tasks.data.labels.page_people import page_people_digest, read_page_people
from tasks.data.records import LABEL_KINDS, TYPES
from tasks.engine.declaration import Tolerance, named_metrics
from tasks.engine.stage import stage
from tasks.reporting.agreement import agreement_section
from tasks.reporting.drift_comparison import drift_section
from tasks.reporting.people import LabelCounts, people_section
from tasks.reporting.sections import (
    SPEAKERS,
    Curve,
    evaluation_section,
    figure_tiles,
    gate_section,
    in_words,
    pretraining_section,
    reward_section,
    rlhf_section,
    said_before,
    sft_section,
)
from tasks.reporting.template import PAGE, RUN_LINKS, STYLE
from tasks.validation.failure_words import describe_failure

_KINDS = ("text", "pairs", "comparisons", "ratings")
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class ReportParameters:
    """The page's title, and the amount that it shows."""

    title: str = "How this assistant was trained"
    """Title of the page."""

    num_answers: int = 8
    """Number of prompts shown side by side, 0 or more."""

    source_order: tuple[str, ...] = ()
    """Sources in the order of the table of sources; empty: that of `data.sources`."""

    label_page: bool = False
    """Whether to show what each person of the label page did. True in any case if a source has
    `labels: page`."""

    def __post_init__(self) -> None:
        if self.num_answers < 0:
            raise ValueError(f"num_answers is {self.num_answers}; it must be 0 or more")
        if is_blank(self.title):
            raise ValueError(f"title is {self.title!a}, which is blank; expected a title with a letter")


def _external_inputs(parameters: ReportParameters, root: Path) -> dict[str, str]:
    """Return the digest of what the people of the label page did, if the report shows it."""
    return {"label_page": page_people_digest(root)} if parameters.label_page else {}


@stage(
    inputs=(
        "validate",
        "split",
        "tokenizer",
        "drift",
        "pretrain",
        "sft",
        "labels",
        "reward",
        "rlhf",
        "evaluate",
        "gate",
    ),
    external_inputs=_external_inputs,
    # Its examples are rows, and its tables name people.
    derived_rows=tuple(TYPES),
    artifacts=("report.html",),
    headline=named_metrics(("bytes", "bytes")),
    tolerances=(Tolerance(("bytes",), relative=0.1),),
)
def report(
    parameters: ReportParameters,
    validate: Path | None,
    split: Path | None,
    tokenizer: Path | None,
    drift: Path | None,
    pretrain: Path | None,
    sft: Path | None,
    labels: Path | None,
    reward: Path | None,
    rlhf: Path | None,
    evaluate: Path | None,
    gate: Path | None,
    out: Path,
    on_event: EventCallback,
    root: Path,
) -> dict[str, float]:
    """Write report.html: the same bytes for the same inputs. Sections of missing outputs are left out."""
    figures = _read_json(evaluate, "metrics.json", {})
    probes = _read_json(evaluate, "probes.json", {})
    agreement = _read_json(labels, "agreement.json", {})
    aligned = rlhf_section(read_curve(rlhf), _read_json(rlhf, "best_step.json", {}))
    summaries = read_page_people(root) if parameters.label_page else ()
    page = render_page(
        title=parameters.title,
        tiles=figure_tiles(figures, aligned["unchanged"] if aligned else ""),
        verdict=gate_section(_read_json(gate, "verdict.json", None)),
        answers=[
            {**asked, "before": said_before(asked)}
            for asked in _read_json(evaluate, "answers.json", [])[: parameters.num_answers]
        ],
        **source_table(split, parameters.source_order),
        examples=first_examples(split),
        quarantine=quarantine_counts(validate),
        tokens=token_counts(_read_json(tokenizer, "tokens.json", {})),
        drift=drift_section(_read_json(drift, "drift.json", {})),
        pieces=(probes.get("attention") or {}).get("pieces", []),
        pretrain=pretraining_section(
            read_curve(pretrain),
            _read_json(pretrain, "samples.json", []),
            probes,
            bool(_read_json(pretrain, "model/config.json", {}).get("open_model")),
        ),
        sft=sft_section(read_curve(sft), figures),
        people=people_section(labels_by_person(split), summaries),
        agreement=agreement_section(agreement, _read_json(labels, "annotators.json", {})),
        reward=reward_section(
            read_curve(reward),
            _read_json(reward, "accuracy.json", {}),
            _read_json(reward, "yardstick.json", {}),
            agreement.get("held_out", {}).get("valid", {}),
        ),
        rlhf=aligned,
        **evaluation_section(figures),
        without_examples=figures.get("few_shot_examples") == 0,
    )
    (out / "report.html").write_text(page, encoding="utf-8")
    return {"bytes": float(len(page.encode()))}


def render_page(**parts: Any) -> str:
    """Return the page of its parts. All text is escaped except charts; empty parts are left out."""
    # StrictUndefined: a misspelt name in the template is an error, not an empty place.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    footer = (
        "One file: nothing on this page is fetched from anywhere. It was written by chatmill’s report stage "
        "from what the stages before it left behind."
    )
    fixed = {"style": Markup(STYLE), "run_links": Markup(RUN_LINKS), "speakers": SPEAKERS, "footer": footer}
    shown = {**fixed, **parts}
    return environment.from_string(PAGE).render(shown)


def source_table(split: Path | None, order: Sequence[str] = ()) -> dict[str, Any]:
    """Count the rows of each source by kind: training rows and held-out rows.

    Args:
        split: The output of the stage `split`, if any.
        order: Sources in the order of the table. Others come behind them by name.

    Returns:
        `kinds`: The kinds that any source has. `sources`: a row per source with a pair of counts per kind.
    """
    counts: Counter[tuple[str, str, bool]] = Counter()
    for name in _SPLITS:
        for kind in _KINDS:
            rows = _read_rows(split, f"{name}/{kind}")
            # One pass over all rows, one at a time: the split can be larger than memory.
            counts.update((row["source"], kind, name == "train") for row in rows)
    kinds = [kind for kind in _KINDS if any(found == kind for _, found, _ in counts)]
    table = [
        {
            "source": source,
            "counts": [
                [_format_count(counts[source, kind, learned]) for learned in (True, False)] for kind in kinds
            ],
        }
        for source in sorted({source for source, *_ in counts}, key=lambda name: source_rank(name, order))
    ]
    return {"kinds": kinds, "sources": table}


def first_examples(split: Path | None) -> list[dict[str, Any]]:
    """Return the first training row of each kind, in words; rows are in the order of their digests."""
    shown = []
    for kind in _KINDS:
        row = next(_read_rows(split, f"train/{kind}"), None)
        if row:
            shown.append({"kind": kind, "source": row["source"], "parts": in_words(kind, row)})
    return shown


def labels_by_person(split: Path | None) -> LabelCounts:
    """Return the numbers of labels in all parts of the split by person and day."""
    counts = LabelCounts()
    for name in _SPLITS:
        for kind in LABEL_KINDS:
            for row in _read_rows(split, f"{name}/{kind}"):
                counts.add_row(row)
    return counts


def _format_count(number: int) -> str:
    return f"{number:,}" if number else ""


def quarantine_counts(validate: Path | None) -> dict[str, str] | None:
    """Return the number of quarantined rows in all and by what is wrong with them; None if there are none."""
    rules = Counter(
        str(row.get("rule", "rule")) for kind in _KINDS for row in _read_rows(validate, f"quarantine/{kind}")
    )
    if not rules:
        return None
    # A rule's name says what holds, so that of a broken rule would say the opposite of what is wrong.
    named = "; ".join(f"{describe_failure(rule)} ({count:,})" for rule, count in rules.most_common())
    return {"total": f"{rules.total():,}", "reasons": named}


def token_counts(tokens: dict[str, Any]) -> dict[str, str] | None:
    """Return the size of the vocabulary and of the training text, as text; None if there are no tokens."""
    if not tokens:
        return None
    train = tokens.get("train", {})
    per = train["bytes"] / train["tokens"] if train.get("bytes") and train.get("tokens") else 0
    return {
        "vocabulary": f"{tokens['vocabulary']:,}",
        "train": f"{train.get('tokens', 0):,}",
        "per": f"{per:.1f}" if per else "",
    }


def read_curve(folder: Path | None) -> Curve:
    """Return the curves of a training stage; an empty curve if it left none."""
    return Curve(list(_read_rows(folder, "curves.jsonl")))


def _read_rows(folder: Path | None, name: str) -> Iterator[dict[str, Any]]:
    # A stage that had nothing to do leaves no file.
    return each_row(folder / name) if folder and (folder / name).exists() else iter(())


def _read_json(folder: Path | None, name: str, absent: Any) -> Any:
    path = folder / name if folder else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else absent
