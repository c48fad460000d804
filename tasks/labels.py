"""People's labels, made ready for the reward model: means, pairs held out, and how far people agree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from model.batches import generator
from model.errors import UserError
from model.launch import Report
from tasks.records import Comparison, Rating, read_rows
from tasks.split import SPLITS
from tasks.stage import stage

PAIRED = 2048  # texts of one aspect and source that are paired: their pairs grow with the square


@dataclass(frozen=True)
class LabelsParameters:
    """Which labels count: `aspects` (empty: all), and texts with at least `annotators` scores.

    Held-out pairs are texts of one aspect and source whose means are at least `margin` apart, at most
    `pairs` of them a source, drawn by seed.
    """

    aspects: tuple[str, ...] = ()
    annotators: int = 1
    margin: float = 1.0
    pairs: int = 2000

    def __post_init__(self) -> None:
        if self.annotators < 1 or self.pairs < 1:
            raise ValueError("annotators and pairs must be at least 1")
        if self.margin <= 0:
            raise ValueError(f"margin is {self.margin}; it must be above 0")


@stage(inputs=("split",))
def labels(
    parameters: LabelsParameters, split: Path, out: Path, report: Report, seed: int
) -> dict[str, float]:
    """SPLIT.ratings.jsonl, SPLIT.comparisons.jsonl, pairs.valid.jsonl, pairs.test.jsonl and agreement.json.

    Raises UserError where the training labels hold no preference: none at all, or all of one class.
    """
    figures: dict[str, float] = {}
    every: list[Rating] = []
    for name in SPLITS:
        ratings = [row for row in read_rows(split / name / "ratings", "ratings") if _counts(row, parameters)]
        comparisons = [
            row
            for row in read_rows(split / name / "comparisons", "comparisons")
            if not parameters.aspects or row.aspect in parameters.aspects
        ]
        decided = [row for row in comparisons if row.choice != "tie"]
        if name == "train":
            _refuse_one_class(ratings, comparisons, parameters.margin)
        every += ratings
        _write(out / f"{name}.ratings.jsonl", map(_rating, ratings))
        _write(out / f"{name}.comparisons.jsonl", map(_comparison, decided))
        if name != "train":
            pairs = held_out_pairs(ratings, decided, parameters, seed)
            _write(out / f"pairs.{name}.jsonl", pairs)
            figures[f"{name}_pairs"] = len(pairs)
        figures |= {f"{name}_ratings": len(ratings), f"{name}_comparisons": len(decided)}
    agreement = {
        stratum: {
            "items": len(rows),
            "annotators": len({who for row in rows for who in row.annotators}),
            "ratings": sum(len(row.scores) for row in rows),
            "alpha": krippendorff_alpha([row.scores for row in rows]),
            "pair_agreement": pair_agreement([row.scores for row in rows]),
        }
        for stratum, rows in _strata(every).items()
    }
    (out / "agreement.json").write_text(json.dumps(agreement, indent=1))
    for stratum, found in agreement.items():
        figures[f"alpha/{stratum}"] = float(found["alpha"])
    return figures


def _counts(row: Rating, parameters: LabelsParameters) -> bool:
    wanted = not parameters.aspects or row.aspect in parameters.aspects
    return wanted and len(row.scores) >= parameters.annotators


def _refuse_one_class(ratings: Sequence[Rating], comparisons: Sequence[Comparison], margin: float) -> None:
    strata = _strata(ratings).values()
    spread = any(max(r.score for r in rows) - min(r.score for r in rows) >= margin for rows in strata)
    decided = any(row.choice != "tie" for row in comparisons)
    if not ratings and not comparisons:
        raise UserError(
            "there are no labels to learn preferences from; add ratings or comparisons to data.sources"
        )
    if not spread and not decided:
        raise UserError(
            f"all {len(ratings) + len(comparisons)} labels are of one class: no two scores are {margin} "
            "apart and every comparison is a tie; nothing can be learned from them"
        )


def _strata(rows: Iterable[Rating]) -> dict[str, list[Rating]]:
    strata: dict[str, list[Rating]] = defaultdict(list)
    for row in rows:
        strata[f"{row.aspect}/{row.source}"].append(row)
    return dict(sorted(strata.items()))


def held_out_pairs(
    ratings: Sequence[Rating], comparisons: Sequence[Comparison], parameters: LabelsParameters, seed: int
) -> list[dict[str, Any]]:
    """Pairs to be right about, the better text first; `gap` is the distance of the means (comparisons: 0).

    Of a source with very many texts the first by id are paired, which is as good as by chance.
    """
    pairs: list[dict[str, Any]] = []
    for stratum, rows in enumerate(_strata(ratings).values()):
        apart = [
            (a, b) if a.score > b.score else (b, a)
            for a, b in combinations(rows[:PAIRED], 2)
            if abs(a.score - b.score) >= parameters.margin
        ]
        chosen = generator(seed, 11, stratum).permutation(len(apart))[: parameters.pairs]
        for better, worse in (apart[i] for i in sorted(chosen)):
            sides = {"chosen": _side(better), "rejected": _side(worse)}
            gap = round(better.score - worse.score, 6)
            pairs.append({**sides, "aspect": better.aspect, "source": better.source, "gap": gap})
    for row in comparisons:
        plain = _comparison(row)
        sides = {side: {**_asked(row), "completion": plain[side]} for side in ("chosen", "rejected")}
        pairs.append({**sides, "aspect": row.aspect, "source": row.source, "gap": 0.0})
    return pairs


def _asked(row: Rating | Comparison) -> dict[str, Any]:
    before = {"history": row.history} if row.history else {}
    return {**before, "prompt": row.prompt}


def _side(row: Rating) -> dict[str, Any]:
    return {**_asked(row), "completion": row.completion}


def _rating(row: Rating) -> dict[str, Any]:
    return {**_side(row), "score": round(row.score, 6), "aspect": row.aspect, "source": row.source}


def _comparison(row: Comparison) -> dict[str, Any]:
    chosen, rejected = (row.a, row.b) if row.choice == "a" else (row.b, row.a)
    return {
        **_asked(row), "chosen": chosen, "rejected": rejected,
        "aspect": row.aspect, "source": row.source,
    }  # fmt: skip


def krippendorff_alpha(items: Sequence[Sequence[float]]) -> float:
    """Agreement between annotators on an interval scale: 1 is perfect, 0 is chance.

    1 - observed / expected disagreement, both mean squared differences of two scores: of one item, and of any
    two (Krippendorff, Content analysis, 2004, chapter 11). Items with one score do not count.
    """
    shared = [list(scores) for scores in items if len(scores) > 1]
    values = [score for scores in shared for score in scores]
    count = len(values)
    if count < 2:
        return float("nan")
    # Over ordered pairs, Σ(a-b)² = 2(nΣa² - (Σa)²).
    observed = sum(_squares(scores) / (len(scores) - 1) for scores in shared) / count
    expected = _squares(values) / (count * (count - 1))
    return 1.0 if expected == 0 else 1 - observed / expected


def _squares(scores: Sequence[float]) -> float:
    return 2 * (len(scores) * sum(score * score for score in scores) - sum(scores) ** 2)


def pair_agreement(items: Sequence[Sequence[float]]) -> float:
    """How often two annotators of one item give it a score of the same sign (above, below or at 0)."""
    same = total = 0
    for scores in items:
        signs = [sum(score > 0 for score in scores), sum(score < 0 for score in scores)]
        signs.append(len(scores) - sum(signs))
        same += sum(n * (n - 1) for n in signs)
        total += len(scores) * (len(scores) - 1)
    return same / total if total else float("nan")


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
