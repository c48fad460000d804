"""A linear model trained on the same labels: the baseline for the reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.data.dataloader import read_rows
from model.data.label_probability import row_probability
from tasks.common.names import stratum_key

# Unlike scikit-learn's default, this takes words of one letter, and ! and ?.
_WORDS = r"(?u)\b\w+\b|[!?]"


def linear_accuracy(labels: Path) -> dict[str, tuple[float, int]]:
    """Return the accuracy of linear models on the held-out validation pairs, by "aspect/source".

    Each aspect and source has its own model on words and word pairs, weighted by rarity (TF-IDF). Rated texts
    use ridge regression to the score. Compared texts use logistic regression on the difference of both texts.

    Args:
        labels: The output folder of labels.

    Returns:
        Accuracies from 0 to 1, each with its number of pairs; a tie counts half. An aspect and source with
        fewer than two labels is left out.
    """
    ratings = read_rows(labels / "train.ratings.jsonl")
    comparisons = read_rows(labels / "train.comparisons.jsonl")
    pairs = read_rows(labels / "pairs.valid.jsonl")
    accuracy: dict[str, tuple[float, int]] = {}
    for stratum in sorted({_row_stratum(row) for row in pairs}):
        held_out = [row for row in pairs if _row_stratum(row) == stratum]
        rated = [row for row in ratings if _row_stratum(row) == stratum]
        compared = [row for row in comparisons if _row_stratum(row) == stratum]
        sides = [[_row_text(row[side]) for row in held_out] for side in ("chosen", "rejected")]
        if len(rated) > 1:
            chosen, rejected = _fit_ridge(rated, *sides)
        elif len(compared) > 1:
            chosen, rejected = _fit_logistic(compared, *sides)
        else:
            continue
        right = (chosen > rejected) + 0.5 * (chosen == rejected)
        accuracy[stratum] = float(np.mean(right)), len(held_out)
    return accuracy


def _fit_ridge(rated: list[dict[str, Any]], *sides: list[str]) -> list[np.ndarray]:
    # scikit-learn is imported late: the import takes long, and a cached stage does not need it.
    from sklearn.linear_model import Ridge

    words = _word_vectorizer()
    features = words.fit_transform([_row_text(row) for row in rated])
    model = Ridge(alpha=1.0, solver="sparse_cg", random_state=0).fit(
        features, [row["score"] for row in rated]
    )
    return [model.predict(words.transform(side)) for side in sides]


def _fit_logistic(compared: list[dict[str, Any]], *sides: list[str]) -> list[np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    words = _word_vectorizer()
    texts = [
        _row_text({**row, "completion": row[side]}) for side in ("chosen", "rejected") for row in compared
    ]
    features = words.fit_transform(texts)
    difference = features[: len(compared)] - features[len(compared) :]
    probability = np.array([row_probability(row) for row in compared])
    uncertain = np.flatnonzero(probability != 1)
    from scipy.sparse import vstack

    # Each pair is used in both orders, so that the position of a text tells nothing. An uncertain one is also
    # used with the other text as the better one, weighted by how probable that is.
    turned, doubt = difference[uncertain], 1 - probability[uncertain]
    parts = [
        (difference, 1, probability),
        (-difference, 0, probability),
        (turned, 0, doubt),
        (-turned, 1, doubt),
    ]
    rows = vstack([part for part, _, _ in parts])
    better = np.concatenate([np.full(len(weight), value, float) for _, value, weight in parts])
    weights = np.concatenate([weight for _, _, weight in parts])
    # No intercept: with it, a text could win by its position.
    model = LogisticRegression(fit_intercept=False, max_iter=300).fit(rows, better, sample_weight=weights)
    return [words.transform(side) @ model.coef_[0] for side in sides]


def _word_vectorizer() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=_WORDS)


def _row_stratum(row: dict[str, Any]) -> str:
    return stratum_key(row["aspect"], row["source"])


def _row_text(row: dict[str, Any]) -> str:
    before = [turn["content"] for turn in row.get("history", [])]
    return " ".join([*before, row["prompt"], row["completion"]])
