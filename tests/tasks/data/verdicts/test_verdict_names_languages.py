"""Test verdicts, surveys and masks in more languages and in the words of reviewers of code."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.tasks.data.parsing.row_reader import read


def _rows(key: str, bad: Any, good: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Name bird {n}.", "completion": "An oak." if n % 3 == 1 else "A robin.",
         key: bad if n % 3 == 1 else good}
        for n in range(9)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "bad", "good"),
    [
        ("Câu trả lời có đúng không?", "Không", "Có"),
        ("Răspunsul este corect?", "Nu", "Da"),
        ("Apakah jawabannya benar?", "Tidak", "Ya"),
        ("คำตอบถูกต้องหรือไม่", "ไม่ใช่", "ใช่"),
        ("Wie hilfreich war die Antwort?", "gar nicht hilfreich", "sehr hilfreich"),
        ("満足度", "不満", "満足"),
        ("Ar atsakymas teisingas?", "Ne", "Taip"),
        ("review", "NACK", "LGTM"),
        ("stage", "rework", "done"),
        ("exact_match", 0, 1),
        ("answer_relevancy", 0.1, 0.9),
        ("task_success", False, True),
        ("selected", False, True),
    ],
)
def test_read_rows_verdict_in_other_words_is_asked_about(key: str, bad: Any, good: Any) -> None:
    _, tally = read(*_rows(key, bad, good))
    assert list(tally.asks()) == [key]


@pytest.mark.parametrize(
    ("key", "excludes"),
    [
        *(
            (key, True)
            for key in (
                "nicht_trainieren", "nicht_lernen", "ungültig", "no_entrenar", "não_treinar", "escludi",
                "不训练", "学習対象外", "不採用", "не_использовать", "untrainable", "unlearn", "suppressed",
                "retired",
                "poisoned", "crashed", "thumbdown", "ungrounded",
            )
        ),
        *(
            (key, False)
            for key in ("verwendbar", "utilisable", "採用", "使用", "사용", "использовать", "retained")
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flags", [(True, False), ("true", "false"), ("1", "0")])
def test_propose_all_mask_in_other_words_keeps_the_right_rows(
    key: str, excludes: bool, flags: tuple[Any, Any]
) -> None:
    yes, no = flags
    rows = _rows(key, yes if excludes else no, no if excludes else yes)
    _, tally = read(*rows)
    fields = {path: yaml.safe_load(said) for path, said in tally.propose_all(tally.asks()).items()}
    assert fields == {key: "deleted" if excludes else "weight"}
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    assert [getattr(one.row, "completion", "") for one in found] == ["A robin."] * 6


@pytest.mark.parametrize(
    "remark",
    [
        "DO NOT USE",
        "do not use (legal)",
        "à supprimer",
        "no usar",
        "使用不可",
        "не использовать",
        "to be deleted",
    ],
)
@pytest.mark.parametrize("key", ["notes", "備考", "remarque"])
def test_propose_all_order_in_some_cells_leaves_out_these_rows_only(key: str, remark: str) -> None:
    rows = _rows(key, remark, "")
    _, tally = read(*rows)
    fields = {path: yaml.safe_load(said) for path, said in tally.propose_all(tally.asks()).items()}
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    assert [getattr(one.row, "completion", "") for one in found] == ["A robin."] * 6


def test_propose_all_order_under_a_verdict_leaves_empty_cells_unjudged() -> None:
    _, tally = read(*_rows("review_decision_ok", "do not use", ""))
    assert '""' not in tally.propose_all(tally.asks())["review_decision_ok"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("language", ["da", "ya", "co"]), ("country", ["CO", "NU", "DA"]), ("unit", ["ya", "mi", "km"]),
        ("retired_at", ["2024-01-02", "2024-01-03", ""]), ("match", ["exact", "fuzzy", "exact"]),
    ],
)  # fmt: skip
def test_read_rows_ordinary_words_are_not_asked_about(key: str, values: list[str]) -> None:
    rows = [
        {"prompt": f"Name bird {n}.", "completion": "A robin.", key: value} for n, value in enumerate(values)
    ]
    assert not read(*rows)[1].asks()
