"""Labels for the reward model: aggregated judgements, held-out pairs, and the agreement of annotators."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

from model.data.dataloader import seeded_rng
from model.events import EventCallback, Message
from tasks.common.annotators import count_named, is_nobody
from tasks.data.labels.annotator_agreement import Agreement
from tasks.data.labels.comparisons import AggregatedPair, Comparisons, refuse_one_class
from tasks.data.labels.judgements import (
    Judgements,
    count_decided,
    rating_subject,
    tabulate_first_judgements,
)
from tasks.data.labels.label_aggregation import (
    JUDGE,
    TRAIN,
    Aggregation,
    aggregate_comparisons,
    aggregate_ratings,
)
from tasks.data.labels.label_agreement import agreement_on_comparisons, refuse_low_agreement
from tasks.data.labels.label_counts import (
    CountedLabels,
    count_comparisons,
    count_ratings,
    describe_label_counts,
)
from tasks.data.labels.people_agreement import agreement_by_pair
from tasks.data.labels.ratings import (
    EVERY,
    LEAST_JUDGE_TEXTS,
    Kept,
    LabelsParameters,
    Ratings,
    find_judge_share,
)
from tasks.data.records import LABEL_KINDS, Comparison, Rating
from tasks.data.splits import SPLITS
from tasks.engine.declaration import named_counts
from tasks.engine.stage import stage


@stage(
    inputs=("split",),
    input_patterns={"split": ("*/ratings", "*/comparisons")},
    derived_rows=LABEL_KINDS,
    artifacts=("agreement.json",),
    headline=named_counts(
        ("train_comparisons", "comparison", "comparisons"),
        ("train_ratings", "rated answer", "rated answers"),
        ("valid_pairs", "pair held out", "pairs held out"),
        ("valid_ties", "held-out tie not counted", "held-out ties not counted"),
        none="no labels",
    ),
)
def labels(
    parameters: LabelsParameters, split: Path, out: Path, on_event: EventCallback, seed: int
) -> dict[str, float]:
    """Write the labels of each split, held-out pairs, agreement.json and annotators.json.

    The files are SPLIT.ratings.jsonl, SPLIT.comparisons.jsonl, pairs.valid.jsonl and pairs.test.jsonl. The
    folder judge/ holds the training labels of the judge. If these are too few it is missing, and all training
    labels are the reward model's. A comparison has `probability` if it is not certain which answer is better.

    Raises:
        UserError: The training labels hold no preference: there are none, or all are of one class. Or people
            agree less than `min_agreement`.
    """
    share = find_judge_share(split / TRAIN, parameters)
    if parameters.judge_share and not share:
        on_event(Message(TOO_FEW))
    # Only training labels are divided: held-out pairs measure both models.
    parts = {name: _Part(split / name, Kept(share, False) if name == TRAIN else EVERY) for name in SPLITS}
    if share:
        parts[JUDGE] = _Part(split / TRAIN, Kept(share, True))
    agreed_scores: dict[str, Agreement] = defaultdict(Agreement)
    compared, rated = _collect_judgements(parts, parameters, agreed_scores)
    agreed = {"ratings": agreed_scores, "comparisons": agreement_on_comparisons(list(compared.values()))}
    unknown = refuse_low_agreement(parameters, agreed)
    comparisons = aggregate_comparisons(compared, parameters.aggregation)
    ratings = aggregate_ratings(rated, parameters.aggregation)
    for note in (*unknown, *comparisons.notes, *ratings.notes):
        on_event(Message(note))
    figures: dict[str, float] = {}
    counts: dict[str, dict[str, CountedLabels]] = {kind: {} for kind in LABEL_KINDS}
    for name, part in parts.items():
        folder = out / JUDGE if name == JUDGE else out
        found, read = _write_part(folder, name, part, parameters, comparisons, ratings, seed)
        figures |= found
        for kind in LABEL_KINDS:
            counts[kind][name] = read[kind]
    for kind in sorted(LABEL_KINDS):
        if said := describe_label_counts(kind, counts[kind]):
            on_event(Message(said))
    agreement: dict[str, dict[str, Any]] = {
        **{kind: _agreement_values(strata) for kind, strata in agreed.items()},
        # By aspect and source, the pairs of answers about which a reviewer decided.
        "decided": _count_decided(list(compared.values())),
        "held_out": {
            name: {kind: figures[f"{name}_{kind}"] for kind in ("pairs", "ties")}
            for name in SPLITS
            if name != TRAIN
        },
    }
    (out / "agreement.json").write_text(json.dumps(agreement, indent=1))
    annotators = {
        "ratings": _annotator_values(rated, ratings, mirrored=False),
        "comparisons": _annotator_values(compared, comparisons, mirrored=True),
    }
    # Apart from agreement.json, which MLflow keeps, as it names people.
    (out / "annotators.json").write_text(json.dumps(annotators, indent=1, ensure_ascii=False))
    alphas = (("alpha", "ratings"), ("comparison_alpha", "comparisons"))
    return figures | {
        f"{name}/{stratum}": found["alpha"]
        for name, kind in alphas
        for stratum, found in agreement[kind].items()
    }


class _Part(NamedTuple):
    """A part of the labels: a folder of the split, and which groups of it are read."""

    folder: Path
    kept: Kept


def _collect_judgements(
    parts: Mapping[str, _Part], parameters: LabelsParameters, agreed: dict[str, Agreement]
) -> tuple[dict[str, Judgements], dict[str, Judgements]]:
    """Return the comparisons and the scores of each part, and add the agreement on ratings to `agreed`."""
    compared, rated = ({name: Judgements() for name in parts} for _ in LABEL_KINDS)
    for name, part in parts.items():
        for row in Comparisons(part.folder, parameters, part.kept).judged():
            compared[name].add_comparison(vars(row))
        for rating in Ratings(part.folder, parameters, part.kept).read(agreed):
            rated[name].add_rating(rating)
    return compared, rated


def _write_part(
    out: Path, name: str, part: _Part, parameters: LabelsParameters, comparisons: Aggregation,
    ratings: Aggregation, seed: int,
) -> tuple[dict[str, float], dict[str, CountedLabels]]:  # fmt: skip
    """Write the aggregated labels of a part as the trainings read them; return metrics and counts."""
    scores = ratings.estimates[name]

    def aggregate(row: Rating) -> Rating:
        score = scores.get(rating_subject(vars(row)))
        return row if score is None else replace(row, scores=[score])

    rated = Ratings(part.folder, parameters, part.kept, aggregate)
    compared = Comparisons(part.folder, parameters, part.kept)

    def pairs() -> Iterator[AggregatedPair]:
        return compared.aggregated(comparisons.estimates[name])

    # The judge's training reads its labels as the reward model's does, from files of the same names.
    learned = TRAIN if name == JUDGE else name
    figures: dict[str, float] = {
        f"{name}_ratings": _write_rows(out / f"{learned}.ratings.jsonl", map(_rating_values, rated.read())),
        f"{name}_comparisons": _write_rows(
            out / f"{learned}.comparisons.jsonl", map(_comparison_values, pairs())
        ),
        f"{name}_ties": compared.ties,
    }
    counts = {"comparisons": count_comparisons(compared), "ratings": count_ratings(rated)}
    if name == TRAIN:
        refuse_one_class(rated, compared, parameters.margin)
    elif name == JUDGE:
        # The training reads this file; held-out pairs are for measuring, not for choosing a judge.
        _write_rows(out / "pairs.valid.jsonl", ())
    else:
        # A tie has no better answer that a model could find.
        decided = (_held_out_pair(pair) for pair in pairs() if pair.probability > 0.5)
        held_out = chain(rated_pairs(rated.first, parameters, seed), decided)
        figures[f"{name}_pairs"] = _write_rows(out / f"pairs.{name}.jsonl", held_out)
    return figures, counts


def _annotator_values(
    parts: Mapping[str, Judgements], found: Aggregation, mirrored: bool
) -> dict[str, dict[str, Any]]:
    """Return by stratum each person's error rates, and the agreement of each two people."""
    values = {}
    for stratum in sorted({stratum for part in parts.values() for stratum in part.strata}):
        pairs, left_out = agreement_by_pair(tabulate_first_judgements(stratum, parts.values()), mirrored)
        values[stratum] = {
            "error_rates": found.annotators.get(stratum, []),
            "pairs": pairs,
            "people_without_pairs": left_out,
        }
    return values


def _count_decided(parts: Sequence[Judgements]) -> dict[str, int]:
    strata = sorted({stratum for part in parts for stratum in part.strata})
    counts = {stratum: count_decided(stratum, parts) for stratum in strata}
    return {stratum: count for stratum, count in counts.items() if count}


def _agreement_values(agreed: Mapping[str, Agreement]) -> dict[str, dict[str, Any]]:
    """Return the agreement by stratum, sorted, so that equal labels give equal bytes."""
    return {
        stratum: {
            "items": found.items,
            "annotators": count_named(found.annotators),
            "unnamed": any(map(is_nobody, found.annotators)),
            "judgements": found.ratings,
            "alpha": found.krippendorff_alpha,
            "shared_items": found.shared_items,
            "alpha_interval": found.alpha_interval,
            "pair_agreement": found.of_pairs,
        }
        for stratum, found in sorted(agreed.items())
    }


TOO_FEW = (
    f"too few labels for a judge (fewer than {LEAST_JUDGE_TEXTS} texts in its share): the "
    "reward model gets all labels, and no judge compares the models"
)


def rated_pairs(
    strata: Mapping[str, Sequence[Rating]], parameters: LabelsParameters, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield held-out pairs of rated texts, the better text first; `gap` is the difference of their means.

    For an aspect and source with very many texts only the first by id are paired, which is as good as a
    random sample.
    """
    # Sorted, as the number is part of the seed.
    for number, (_, rows) in enumerate(sorted(strata.items())):
        apart = [
            (a, b) if a.score > b.score else (b, a)
            for a, b in combinations(rows, 2)
            if abs(a.score - b.score) >= parameters.margin
        ]
        # 11 keeps these numbers apart from those of other draws with the same seed.
        chosen = seeded_rng(seed, 11, number).permutation(len(apart))[: parameters.max_eval_pairs]
        for better, worse in (apart[i] for i in sorted(chosen)):
            sides = {"chosen": _answer_fields(better), "rejected": _answer_fields(worse)}
            gap = round(better.score - worse.score, 6)
            yield {**sides, "aspect": better.aspect, "source": better.source, "gap": gap}


def _held_out_pair(pair: AggregatedPair) -> dict[str, Any]:
    """Return two compared answers as a held-out pair."""
    before, row = _prompt_fields(pair.row), pair.row
    sides = {side: {**before, "completion": getattr(pair, side)} for side in ("chosen", "rejected")}
    return {**sides, "aspect": row.aspect, "source": row.source, "gap": 0.0, **_certainty(pair)}


def _prompt_fields(row: Rating | Comparison) -> dict[str, Any]:
    before = {"history": row.history} if row.history else {}
    return {**before, "prompt": row.prompt}


def _answer_fields(row: Rating) -> dict[str, Any]:
    return {**_prompt_fields(row), "completion": row.completion}


def _rating_values(row: Rating) -> dict[str, Any]:
    return {**_answer_fields(row), "score": round(row.score, 6), "aspect": row.aspect, "source": row.source}


def _comparison_values(pair: AggregatedPair) -> dict[str, Any]:
    row = pair.row
    return {
        **_prompt_fields(row), "chosen": pair.chosen, "rejected": pair.rejected,
        "aspect": row.aspect, "source": row.source, **_certainty(pair),
    }  # fmt: skip


def _certainty(pair: AggregatedPair) -> dict[str, float]:
    """Return the probability of a label that is not certain; a certain one has the row it always had."""
    return {"probability": pair.probability} if pair.probability != 1 else {}


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
