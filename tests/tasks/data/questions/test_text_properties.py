"""Test keys of public data sets that describe a text, with a word of a verdict in their names."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.questions.text_properties import is_property
from tests.tasks.data.parsing.row_reader import read

_PAIR = {"prompt": "Name a bird.", "completion": "A robin sings in the garden."}
_FINE = [0.7601, 0.9282, 0.98, 0.6605]


def _asked(base: dict[str, Any], **columns: list[Any]) -> set[str]:
    count = len(next(iter(columns.values())))
    key = "prompt" if "prompt" in base else "text"
    rows = [
        {**base, key: f"{base[key]} {n}", **{name: held[n] for name, held in columns.items()}}
        for n in range(count)
    ]
    return set(read(*rows, format="rows")[1].asks())


@pytest.mark.parametrize("base", [_PAIR, {"text": "A robin sings."}])
@pytest.mark.parametrize(
    "columns",
    [
        {"language_score": _FINE},
        {"language_id_score": [1.0, 0.5]},
        {"max_stars_repo_path": ["a.py", "b.py"], "max_stars_repo_licenses": [["MIT"], ["GPL"]]},
        {"star_events_count": [388, 2], "repo_stars": [3, 9000]},
        {"fasttext_openhermes_vs_rw_bigram_train_prob": _FINE},
        {"meta": [{"identification": {"label": "en", "prob": 0.9}}, {"identification": {"label": "de"}}]},
        {"grade_level": [3, 12], "time_sensitive": [True, False], "tool_use": ["Y", "N"]},
        {"num_ratings": [3, 4], "rating_count": [1, 2]},
        {"consent_date": ["2024-01-02", "2024-02-03"], "approved_at": ["2024-01-02", "2024-02-03"]},
        {"AcceptTime": ["Mon Mar 04 10:00:00 PST 2024"] * 2, "LifetimeApprovalRate": ["90% (9/10)"] * 2},
    ],
)
def test_read_rows_property_of_a_text_is_not_asked_about(
    base: dict[str, Any], columns: dict[str, list[Any]]
) -> None:
    assert _asked(base, **columns) == set()


@pytest.mark.parametrize("key", ["score", "quality_score", "edu_score", "wikiref_score", "harmful_pp"])
def test_read_rows_fine_measure_of_texts_is_not_asked_about(key: str) -> None:
    assert _asked({"text": "A robin sings."}, **{key: _FINE}) == set()


@pytest.mark.parametrize(
    "answers", [["1", "288", "31", "7"], ["1", "\\frac{1}{2}", "12", "3"], ["B", "C", "D", "0"]]
)
def test_read_rows_final_answer_beside_a_pair_is_not_asked_about(answers: list[str]) -> None:
    assert _asked(_PAIR, answer=answers) == set()


@pytest.mark.parametrize(
    ("base", "columns"),
    [
        ({"text": "A robin sings."}, {"score": [1, 5, 4]}),
        ({"text": "A robin sings."}, {"quality": ["bad", "good", "good"]}),
        ({"text": "A robin sings."}, {"toxicity": _FINE}),
        (_PAIR, {"quality_score": _FINE}),
        (_PAIR, {"language_score": [3, 5, 1]}),
        (_PAIR, {"approved_at": ["2024-01-02", "", "2024-02-03"]}),
        (_PAIR, {"rejected_at": ["2024-01-02", "2024-02-03"]}),
        (_PAIR, {"toxicity_prob": _FINE}),
        (_PAIR, {"answer": ["yes", "no"]}),
        (_PAIR, {"answer": ["accepted", "12", "13"]}),
        (_PAIR, {"num_flags": [0, 2]}),
        (_PAIR, {"language_score": ["rejected", "approved"]}),
    ],
)
def test_read_rows_verdict_like_a_property_is_asked_about(
    base: dict[str, Any], columns: dict[str, list[Any]]
) -> None:
    assert _asked(base, **columns) >= set(columns) or "accepted" in columns.get("answer", ())


@pytest.mark.parametrize(
    ("path", "value"),
    [("prob", "bad"), ("rating", 0.5), ("star_rating", 4), ("stars_count_reason", "bad"), ("grade", 3)],
)
def test_is_property_other_names_are_none(path: str, value: Any) -> None:
    assert not is_property(path, value)


@pytest.mark.parametrize(
    "scores",
    [
        {"score_chosen": 0.3, "score_rejected": 0.1}, {"rm_score": 0.312}, {"reward_model_score": -1.72},
        {"meta": {"chosen_score": 7.5, "rejected_score": 2}},
    ],
)  # fmt: skip
def test_skip_counts_check_scores_of_a_model_beside_pairs_are_listed(scores: dict[str, Any]) -> None:
    rows = ({"prompt": f"Bird {n}?", "completion": "A robin.", **scores} for n in range(5))
    found, tally = read(*rows)
    tally.check("mine", {})
    assert len(found) == 5 and all(f"{name}" in next(tally.lines()) for name in scores)


@pytest.mark.parametrize("scores", [{"score_rejected": 2}, {"rm_score": "bad"}, {"reward": 0.312}])
def test_skip_counts_check_other_scores_beside_pairs_are_asked_about(scores: dict[str, Any]) -> None:
    _, tally = read(*({"prompt": f"Bird {n}?", "completion": "A robin.", **scores} for n in range(5)))
    with pytest.raises(UserError, match=next(iter(scores))):
        tally.check("mine", {})
