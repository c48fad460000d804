"""Labels for the reward model: mean scores, held-out pairs, and the agreement of annotators."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from model.data.dataloader import seeded_rng
from model.events import EventCallback, Message
from tasks.common.annotators import count_named, is_nobody
from tasks.data.annotator_agreement import Agreement
from tasks.data.comparison_agreement import ComparisonAgreement
from tasks.data.ratings import (
    EVERY,
    LEAST_JUDGE_TEXTS,
    Comparisons,
    Kept,
    LabelsParameters,
    Ratings,
    find_judge_share,
    refuse_one_class,
)
from tasks.data.records import LABEL_KINDS, Comparison, Rating
from tasks.data.splits import SPLITS
from tasks.engine.declaration import named_counts
from tasks.engine.stage import stage

# The folder of the labels that are kept for the judge.
JUDGE = "judge"


@stage(
    inputs=("split",),
    input_patterns={"split": ("*/ratings", "*/comparisons")},
    derived_rows=LABEL_KINDS,
    artifacts=("agreement.json",),
    headline=named_counts(
        ("train_comparisons", "comparison", "comparisons"),
        ("train_ratings", "rated answer", "rated answers"),
        ("valid_pairs", "pair held out", "pairs held out"),
        none="no labels",
    ),
)
def labels(
    parameters: LabelsParameters, split: Path, out: Path, on_event: EventCallback, seed: int
) -> dict[str, float]:
    """Write the labels of each split, held-out pairs and agreement.json.

    The files are SPLIT.ratings.jsonl, SPLIT.comparisons.jsonl, pairs.valid.jsonl and pairs.test.jsonl. The
    folder judge/ holds the training labels of the judge. If these are too few it is missing, and all training
    labels are the reward model's.

    Raises:
        UserError: The training labels hold no preference: there are none, or all are of one class.
    """
    figures: dict[str, float] = {}
    agreed: dict[str, Agreement] = defaultdict(Agreement)
    compared = ComparisonAgreement()
    share = find_judge_share(split / "train", parameters)
    if share:
        _keep_for_judge(split / "train", parameters, share, agreed, compared, out / JUDGE, figures)
    elif parameters.judge_share:
        on_event(Message(TOO_FEW))
    for name in SPLITS:
        # Only training labels are divided: held-out pairs measure both models.
        kept = Kept(share, False) if name == "train" else EVERY
        ratings = Ratings(split / name, parameters, kept)
        comparisons = Comparisons(split / name, parameters, kept)
        figures[f"{name}_ratings"] = _write_rows(
            out / f"{name}.ratings.jsonl", map(_rating_values, ratings.read(agreed))
        )
        figures[f"{name}_comparisons"] = _write_rows(
            out / f"{name}.comparisons.jsonl", map(_comparison_values, comparisons.decided(compared))
        )
        if name == "train":
            refuse_one_class(ratings, comparisons, parameters.margin)
        else:
            pairs = chain(
                rated_pairs(ratings.first, parameters, seed), map(_comparison_pair, comparisons.decided())
            )
            figures[f"{name}_pairs"] = _write_rows(out / f"pairs.{name}.jsonl", pairs)
    agreement = {
        "ratings": _agreement_values(agreed),
        "comparisons": _agreement_values(compared.by_stratum()),
    }
    (out / "agreement.json").write_text(json.dumps(agreement, indent=1))
    alphas = (("alpha", "ratings"), ("comparison_alpha", "comparisons"))
    return figures | {
        f"{name}/{stratum}": found["alpha"]
        for name, kind in alphas
        for stratum, found in agreement[kind].items()
    }


def _agreement_values(agreed: Mapping[str, Agreement]) -> dict[str, dict[str, Any]]:
    """Return the agreement by stratum, sorted, so that equal labels give equal bytes."""
    return {
        stratum: {
            "items": found.items,
            "annotators": count_named(found.annotators),
            "unnamed": any(map(is_nobody, found.annotators)),
            "judgements": found.ratings,
            "alpha": found.krippendorff_alpha,
            "pair_agreement": found.of_pairs,
        }
        for stratum, found in sorted(agreed.items())
    }


TOO_FEW = (
    f"too few labels for a judge (fewer than {LEAST_JUDGE_TEXTS} texts in its share): the "
    "reward model gets all labels, and no judge compares the models"
)


def _keep_for_judge(
    train: Path,
    parameters: LabelsParameters,
    share: float,
    agreed: dict[str, Agreement],
    compared: ComparisonAgreement,
    out: Path,
    figures: dict[str, float],
) -> None:
    """Write the judge's labels as the reward model's training reads them, without held-out pairs."""
    kept = Kept(share, True)
    ratings, comparisons = Ratings(train, parameters, kept), Comparisons(train, parameters, kept)
    rows = map(_rating_values, ratings.read(agreed))
    figures["judge_ratings"] = _write_rows(out / "train.ratings.jsonl", rows)
    decided = map(_comparison_values, comparisons.decided(compared))
    figures["judge_comparisons"] = _write_rows(out / "train.comparisons.jsonl", decided)
    # The training reads this file; held-out pairs are for measuring, not for choosing a judge.
    _write_rows(out / "pairs.valid.jsonl", ())


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


def _comparison_pair(row: Comparison) -> dict[str, Any]:
    """Return a comparison as a held-out pair."""
    plain = _comparison_values(row)
    sides = {side: {**_prompt_fields(row), "completion": plain[side]} for side in ("chosen", "rejected")}
    return {**sides, "aspect": row.aspect, "source": row.source, "gap": 0.0}


def _prompt_fields(row: Rating | Comparison) -> dict[str, Any]:
    before = {"history": row.history} if row.history else {}
    return {**before, "prompt": row.prompt}


def _answer_fields(row: Rating) -> dict[str, Any]:
    return {**_prompt_fields(row), "completion": row.completion}


def _rating_values(row: Rating) -> dict[str, Any]:
    return {**_answer_fields(row), "score": round(row.score, 6), "aspect": row.aspect, "source": row.source}


def _comparison_values(row: Comparison) -> dict[str, Any]:
    chosen, rejected = (row.a, row.b) if row.choice == "a" else (row.b, row.a)
    return {
        **_prompt_fields(row), "chosen": chosen, "rejected": rejected,
        "aspect": row.aspect, "source": row.source,
    }  # fmt: skip


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
