"""Drift: the distance of this version of the data from the one that the champion learned from.

The measures are in `tasks/drift_detection/metrics.py`; docs/unattended.md explains them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.events import EventCallback, MarkdownTable, Message
from tasks.common.counts import counted
from tasks.common.metric_labels import drift_words
from tasks.common.names import name_fault
from tasks.drift_detection import profile
from tasks.drift_detection.metrics import (
    DriftThresholds,
    Measure,
    Newness,
    measure_loss_drift,
    new_rows,
    profiles_apart,
    tokens_apart,
)
from tasks.drift_detection.profile import ABOUT, MODEL
from tasks.engine.stage import stage
from tasks.reporting.charts import against_bars, standalone_svg
from tasks.reporting.template import STYLE

_TABLE, CELLS, PICTURE, FOUND = "drift.md", "drift.csv", "drift.svg", "drift.json"
_NOTHING = "no champion was trained on other data yet, so there is nothing to compare this data with"


@dataclass(frozen=True)
class DriftParameters(DriftThresholds):
    """The thresholds of drift, by subject, and the amount of data that is compared."""

    min_rows: int = 30
    """Fewest rows on each side, 1 or more. Anything with fewer is not compared."""

    sample_bytes: int = 2_000_000
    """Number of bytes of each kind of rows that are counted, 1 or more."""

    loss_tokens: int = 16_384
    """Number of tokens of new text, and of new pairs, on which the champion's loss is computed, 1 or
    more."""

    reference_output: str = ""
    """Output of `var/cache/artifacts/champion` to compare with; empty: the registry's champion. `chatmill
    reproduce` sets this key."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # A sample of nothing would make every distance 0.
        for name in ("min_rows", "sample_bytes", "loss_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.reference_output and name_fault(self.reference_output):
            raise ValueError(
                f"reference_output is {self.reference_output!a}, {name_fault(self.reference_output)}"
            )


def _describe_distances(metrics: Mapping[str, Any]) -> str:
    if metrics.get("drift.measures") is None:
        return "nothing to compare with"
    past, measures = (int(metrics.get(f"drift.{name}", 0)) for name in ("past", "measures"))
    return f"{past:,} of {counted(measures, 'metrics')} above their threshold"


@stage(
    inputs=("split", "tokenizer", "champion"),
    # The profile for comparisons with later versions, and this comparison.
    artifacts=("profile.json", "rows.txt", "drift.json", "drift.md", "drift.csv", "drift.svg"),
    headline=_describe_distances,
)
def drift(
    parameters: DriftParameters,
    split: Path,
    tokenizer: Path,
    champion: Path | None,
    out: Path,
    on_event: EventCallback,
) -> dict[str, Any]:
    """Write profile.json and rows.txt for later versions; drift.json, drift.md, drift.csv and drift.svg.

    Without a champion that learned from other data there is no comparison. A distance past its threshold is
    not an error.
    """
    samples = profile.take_samples(split, parameters.sample_bytes)
    now = profile.make_profile(split, tokenizer, samples)
    # Written even without a comparison: the next version is compared with this profile.
    now.write(out)
    profile.write_ids(samples, out)
    described: dict[str, Any] = {f"rows/{kind}": len(sample.ids) for kind, sample in samples.items()}
    # The first version of a product has nothing to be compared with.
    if champion is None:
        on_event(Message(_NOTHING))
        _write_profile(out, {"against": None, "says": _NOTHING, "new": {}, "measures": []})
        return described
    about = json.loads((champion / ABOUT).read_text())
    before = profile.Profile.read(champion)
    new = new_rows(samples, champion)
    measures = list(profiles_apart(before, now, samples, parameters, parameters.min_rows))
    measures += _by_model(parameters, champion, about, before, new, split, samples, on_event)
    found = {
        "against": about["version"],
        "data": about["data"],
        "says": drift_sentence(about["version"], measures),
        "new": {kind: each.share for kind, each in new.items()},
        "measures": [{**asdict(each), "multiple": each.multiple, "past": each.past} for each in measures],
    }
    _write_profile(out, found)
    _publish_results(out, found, measures, on_event)
    figures = {f"drift.{each.name}": each.distance for each in measures}
    shares = {f"drift.new/{kind}": each.share for kind, each in new.items()}
    past = {"drift.measures": len(measures), "drift.past": sum(each.past for each in measures)}
    return {**past, **described, **shares, **figures, "against": about["version"]}


@dataclass(frozen=True)
class DriftResult:
    """The result of a comparison: the champion's version, the metrics above their threshold.

    `says` is the result in one sentence.
    """

    champion: str
    past: tuple[str, ...]
    says: str


def read_drift(folder: Path) -> DriftResult:
    """Return the result that the stage left in `folder`."""
    found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    past = tuple(each["name"] for each in found["measures"] if each["past"])
    return DriftResult(found["against"] or "", past, found["says"])


def _by_model(
    parameters: DriftParameters,
    champion: Path,
    about: Mapping[str, Any],
    before: profile.Profile,
    new: Mapping[str, Newness],
    split: Path,
    samples: Mapping[str, profile.Sample],
    on_event: EventCallback,
) -> Iterator[Measure]:
    """Yield the measures by the champion's model: its tokenizer on all text, its loss on new rows."""
    if not (champion / MODEL).is_dir():
        text = (
            f"the model of champion {about['version']} is missing, so its tokens and its loss "
            "are not measured"
        )
        on_event(Message(text))
        return
    yield from tokens_apart(champion / MODEL, before, split, profile.text_share(samples), parameters)
    yield from measure_loss_drift(
        champion / MODEL,
        about["held_out"],
        new,
        split,
        parameters,
        parameters.min_rows,
        parameters.loss_tokens,
    )


def drift_sentence(version: str, measures: Sequence[Measure]) -> str:
    """Return the result as one sentence."""
    past = [each for each in measures if each.past]
    against = f"compared with the training data of champion {version}"
    if not past:
        return f"all {len(measures)} metrics are within their threshold, {against}"
    named = "; ".join(f"{drift_words(each.name)} {each.distance:.3g} (at most {each.bar:g})" for each in past)
    return f"{len(past)} of {len(measures)} metrics above their threshold, {against}: {named}"


def _write_profile(out: Path, found: Mapping[str, Any]) -> None:
    (out / FOUND).write_text(json.dumps(found, indent=1), encoding="utf-8")


def _publish_results(
    out: Path, found: Mapping[str, Any], measures: Sequence[Measure], on_event: EventCallback
) -> None:
    """Write the table as Markdown and CSV, and the chart; report the table."""
    header = ["measure", "of", "champion's data", "this data", "distance", "threshold", "by chance", "past"]
    rows = [each.cells() for each in measures]
    with (out / CELLS).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    # A bar inside a cell would end it.
    lines = [header, ["---"] * len(header), *([cell.replace("|", "/") for cell in row] for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    shares = ", ".join(f"{share:.1%} of the {kind}" for kind, share in found["new"].items())
    markdown = f"{found['says']}.\n\nNew rows: {shares}.\n\n{table}"
    (out / _TABLE).write_text(f"# Drift\n\n{markdown}\n", encoding="utf-8")
    picture = against_bars([(drift_words(each.name), each.multiple, each.past) for each in measures])
    if picture:
        (out / PICTURE).write_text(standalone_svg(picture, STYLE), encoding="utf-8")
    on_event(MarkdownTable(title="drift", markdown=markdown))
