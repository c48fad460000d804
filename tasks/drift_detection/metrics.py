"""The measures of drift: distances between two versions of the data, and their thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from model.data.tokenizer import Tokenizer
from tasks.drift_detection.distances import Distance, jensen_shannon, kolmogorov_smirnov, laid_out
from tasks.drift_detection.profile import (
    IDS_IN_ALL,
    KindProfile,
    Profile,
    Sample,
    count_tokens,
    read_sample_ids,
    sample_rows,
)
from tasks.reporting.charts import tick_label

_GAP, _ROOT = "Kolmogorov-Smirnov", "Jensen-Shannon"
COMMONEST = 1000  # words that the distance of vocabularies is taken over
MEDIAN = 2  # among the quantiles of a profile


@dataclass(frozen=True)
class DriftThresholds:
    """The threshold of each measure, 0 or more; a larger distance is reported as drift."""

    max_length_shift: float = 0.1
    """Words per row: Kolmogorov-Smirnov statistic, the largest gap between the cumulative shares."""

    max_vocab_shift: float = 0.2
    """Distribution of words: Jensen-Shannon distance, the root of the divergence in bits."""

    max_oov_increase: float = 0.05
    """Increase in the share of words outside the champion's 5,000 most common words."""

    max_source_shift: float = 0.2
    """Mix of sources: Jensen-Shannon distance."""

    max_unseen_tokens: float = 0.01
    """Share of tokens, of the champion's tokenizer, that do not occur in the champion's training text."""

    max_bytes_per_token_change: float = 0.1
    """Change in bytes per token of the champion's tokenizer, relative to the earlier value."""

    max_label_shift: float = 0.1
    """Labels: Kolmogorov-Smirnov statistic of scores, Jensen-Shannon distance of choices."""

    max_agreement_decrease: float = 0.1
    """Decrease of Krippendorff's alpha."""

    max_loss_increase: float = 0.1
    """Loss of the champion on new rows above its held-out loss, relative to the held-out loss."""

    def __post_init__(self) -> None:
        for each in fields(DriftThresholds):
            bar = getattr(self, each.name)
            if not (bar >= 0 and math.isfinite(bar)):
                raise ValueError(f"{each.name} is {bar}; a threshold is a number from 0")


@dataclass(frozen=True)
class Measure:
    """One distance: `name` is its subject, `of` describes the values `before` and `now`.

    `chance` is the distance that chance alone may give; 0 if it is unknown.
    """

    name: str
    of: str
    before: float
    now: float
    distance: float
    bar: float
    by: str
    chance: float = 0.0

    @property
    def past(self) -> bool:
        """True if the distance exceeds both its threshold and what chance alone may give."""
        return self.distance > max(self.bar, self.chance)

    def cells(self) -> list[str]:
        """Return the cells of a table row."""
        numbers = [tick_label(float(f"{value:.4g}")) for value in (self.before, self.now)]
        chance = f"{self.chance:.2g}" if self.chance else ""
        told = [f"{self.distance:.3g}", f"{self.bar:g}", chance, "yes" if self.past else ""]
        return [self.name, f"{self.of} ({self.by})", *numbers, *told]

    @property
    def multiple(self) -> float:
        """The distance as a multiple of its threshold; 0 or 1 for a threshold of 0."""
        return self.distance / self.bar if self.bar else float(self.distance > 0)


@dataclass(frozen=True)
class Newness:
    """The rows of a kind that the champion's version did not hold: ids, and their share of the sample.

    `reach` is the share of all rows that was searched.
    """

    ids: frozenset[str]
    share: float
    reach: float


def new_rows(samples: Mapping[str, Sample], champion: Path) -> dict[str, Newness]:
    """Return, by kind, the sampled rows that the champion's sample lacks.

    Only ids that both samples would hold are compared.
    """
    known = read_sample_ids(champion)
    before = Profile.read(champion).kinds
    found = {}
    for kind, sample in samples.items():
        # A larger sample holds ids that the other one never looked at; they would all seem new.
        share = min(sample.share, before[kind].share if kind in before else 1.0)
        both = [number for number in sample.ids if int(number, 16) < share * IDS_IN_ALL]
        new = frozenset(number for number in both if number not in known.get(kind, ()))
        found[kind] = Newness(new, len(new) / max(1, len(both)), share)
    return found


def profiles_apart(
    before: Profile, now: Profile, samples: Mapping[str, Sample], bars: DriftThresholds, rows: int
) -> Iterator[Measure]:
    """Yield the measures of two profiles: each kind of rows, then the labels.

    Args:
        before: The champion's profile.
        now: The present profile.
        samples: The present samples by kind.
        bars: The thresholds.
        rows: The smallest number of rows; a measure with fewer on one side is left out.
    """
    for kind, old in before.kinds.items():
        if kind in now.kinds and min(old.rows, now.kinds[kind].rows) >= rows:
            yield from _kinds_apart(kind, old, now.kinds[kind], samples[kind], bars)
    yield from _labels_apart(before, now, bars, rows)
    for stratum, agreed in before.agreement.items():
        other = now.agreement.get(stratum)
        if other is None or min(agreed.items, other.items) < rows:
            continue
        if agreed.alpha is not None and other.alpha is not None:
            fell = max(0.0, agreed.alpha - other.alpha)
            yield Measure(
                f"agreement/{stratum}", "Krippendorff's alpha", agreed.alpha, other.alpha, fell,
                bars.max_agreement_decrease, "fall",
            )  # fmt: skip


def _kinds_apart(
    kind: str, old: KindProfile, new: KindProfile, sample: Sample, bars: DriftThresholds
) -> Iterator[Measure]:
    medians = (old.quantiles[MEDIAN], new.quantiles[MEDIAN])
    lengths = kolmogorov_smirnov(old.lengths, new.lengths)
    yield _make_measure(
        f"lengths/{kind}", "words a row, median", medians, lengths, bars.max_length_shift, _GAP
    )
    if old.words and new.words:
        # A profile names only the most common words. The number of all other words follows from the total.
        counts = (list(old.top.values()), [sample.words[word] for word in old.top])
        words = jensen_shannon(*map(_common_words, counts, (old.words, new.words)))
        outside = (old.words - sum(counts[0]), new.words - sum(counts[1]))
        distinct = (old.distinct, new.distinct)
        yield _make_measure(
            f"vocabulary/{kind}", "different words", distinct, words, bars.max_vocab_shift, _ROOT
        )
        shares = (outside[0] / old.words, outside[1] / new.words)
        more = max(0.0, shares[1] - shares[0])
        of = "share of words outside the champion's commonest"
        yield Measure(f"new_words/{kind}", of, *shares, more, bars.max_oov_increase, "rise")
    mix = jensen_shannon(*laid_out(old.sources, new.sources))
    several = (len(old.sources), len(new.sources))
    yield _make_measure(f"sources/{kind}", "sources", several, mix, bars.max_source_shift, _ROOT)


def _common_words(counts: list[int], total: int) -> list[int]:
    """Return the counts of the champion's most common words, and all others as one count.

    Rare words differ by chance, so they are not compared one by one.
    """
    return [*counts[:COMMONEST], total - sum(counts[:COMMONEST])]


def _labels_apart(before: Profile, now: Profile, bars: DriftThresholds, rows: int) -> Iterator[Measure]:
    for stratum, old in before.scores.items():
        new = now.scores.get(stratum, {})
        # With few labels, a difference means nothing.
        if min(sum(old.values()), sum(new.values())) < rows:
            continue
        # The scores are kept as text; as text, 10 would be sorted before 2.
        values = sorted({*old, *new}, key=float)
        apart = kolmogorov_smirnov(*([found.get(value, 0) for value in values] for found in (old, new)))
        means = (_mean_value(old), _mean_value(new))
        yield _make_measure(f"labels/{stratum}", "score, mean", means, apart, bars.max_label_shift, _GAP)
    for stratum, old in before.choices.items():
        new = now.choices.get(stratum, {})
        if min(sum(old.values()), sum(new.values())) < rows:
            continue
        apart = jensen_shannon(*laid_out(old, new))
        shares = (old.get("a", 0) / sum(old.values()), new.get("a", 0) / sum(new.values()))
        yield _make_measure(
            f"labels/{stratum}", "share of choices of a", shares, apart, bars.max_label_shift, _ROOT
        )


def tokens_apart(
    model: Path, before: Profile, split: Path, share: float, bars: DriftThresholds
) -> Iterator[Measure]:
    """Yield the measures of the sampled text in the champion's tokens: unknown tokens, bytes per token."""
    counts, size = count_tokens(Tokenizer.load(model), split, share)
    total, known = int(counts.sum()), before.pieces.known
    # `np.packbits` pads to whole bytes, so there may be up to seven bits too many.
    known = known[: len(counts)]
    if not (total and before.pieces.tokens):
        return
    unknown = float(counts[: len(known)][~known].sum() + counts[len(known) :].sum()) / total
    of = "share of tokens that the champion's training text lacks"
    yield Measure("unknown_pieces/text", of, 0.0, unknown, unknown, bars.max_unseen_tokens, "share")
    reach = (before.pieces.bytes / before.pieces.tokens, size / total)
    apart = abs(reach[1] / reach[0] - 1)
    of = "bytes a token of the champion's"
    yield Measure(
        "bytes_per_token/text", of, *reach, apart, bars.max_bytes_per_token_change, "relative difference"
    )


def measure_loss_drift(
    model: Path,
    held_out: Mapping[str, float],
    new: Mapping[str, Newness],
    split: Path,
    bars: DriftThresholds,
    rows: int,
    tokens: int,
) -> Iterator[Measure]:
    """Yield the rise of the champion's loss on rows that are new to it.

    Args:
        model: The champion's model folder.
        held_out: The champion's losses on the rows that it held out.
        new: The new rows by kind.
        split: The output of split.
        bars: The thresholds.
        rows: The smallest number of new rows of a kind.
        tokens: The number of tokens to measure at most.
    """
    enough = {kind for kind, each in new.items() if len(each.ids) >= rows}
    if not enough & {"text", "pairs"}:
        return
    from model.evaluation.perplexity import measure_losses

    chosen: dict[str, Iterator[dict[str, Any]]] = {
        kind: _choose_rows(split, kind, new[kind]) if kind in enough else iter(())
        for kind in ("text", "pairs")
    }
    texts = (row["text"] for row in chosen["text"])
    losses = measure_losses(model, texts, chosen["pairs"], tokens)
    for kind, name, of in (
        ("text", "bits_per_byte", "champion's bits per byte: held out, new"),
        ("pairs", "completion_loss", "champion's nats a token of the answer: held out, new"),
    ):
        if name in losses and held_out.get(name):
            rise = max(0.0, losses[name] / held_out[name] - 1)
            both = (held_out[name], losses[name])
            yield Measure(f"loss/{kind}", of, *both, rise, bars.max_loss_increase, "relative rise")


def _choose_rows(split: Path, kind: str, new: Newness) -> Iterator[dict[str, Any]]:
    return (row for row in sample_rows(split, kind, new.reach) if row["id"] in new.ids)


def _make_measure(
    name: str, of: str, both: tuple[float, float], distance: Distance, bar: float, by: str
) -> Measure:
    return Measure(name, of, *both, round(distance.value, 6), bar, by, round(distance.chance, 6))


def _mean_value(counts: Mapping[str, int]) -> float:
    return sum(float(value) * count for value, count in counts.items()) / sum(counts.values())
