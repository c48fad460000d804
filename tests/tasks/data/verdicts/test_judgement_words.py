"""Test that words of praise and blame get a mapping, also in other languages and after very many keys."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data.questions.seen_keys import MOST_KEYS
from tasks.data.values.field_meanings import plain_word
from tasks.data.verdicts.judgement_words import judgement_of
from tests.tasks.data.parsing.row_reader import read


def pairs(key: str, *values: str) -> list[dict[str, Any]]:
    return [{"prompt": f"p{n}", "completion": f"c{n}", key: value} for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("key", "values", "mapping"),
    [
        ("bewertung", ("gut", "schlecht"), "{gut: 1, schlecht: -1}"),
        ("Bewertung", ("Gut", "Nicht gut", "sehr gut"), "{gut: 1, nicht_gut: -1, sehr_gut: 1}"),
        ("urteil", ("richtig", "falsch"), "{falsch: -1, richtig: 1}"),
        ("avis", ("bon", "mauvais"), "{bon: 1, mauvais: -1}"),
        ("valoración", ("bueno", "malo", "muy bueno"), "{bueno: 1, malo: -1, muy_bueno: 1}"),
        ("giudizio", ("buono", "pessimo"), "{buono: 1, pessimo: -1}"),
        ("оценка", ("хорошо", "плохо"), '{"плохо": -1, "хорошо": 1}'),
        ("评价", ("好", "差"), '{"好": 1, "差": -1}'),
    ],
)
def test_propose_meaning_judgements_in_words_are_mapped(
    key: str, values: tuple[str, ...], mapping: str
) -> None:
    rows = pairs(key, *values)
    _, tally = read(*rows)
    with pytest.raises(UserError) as refused:
        tally.check("mine")
    proposed = tally.propose_all(tally.asks())
    assert proposed == {key: mapping} and mapping in str(refused.value)
    # The proposed line is accepted as it is, and each row becomes a rating of that sign.
    meaning = yaml.safe_load(mapping)
    found, tally = read(*rows, fields={key: meaning})
    tally.check("mine", {key: meaning})
    wanted = [float(judgement_of(plain_word(value))) for value in values]
    assert [one.row.scores for one in found] == [[score] for score in wanted]


def test_propose_meaning_unknown_word_beside_judgements_is_left_open() -> None:
    _, tally = read(*pairs("bewertung", "gut", "schlecht", "lila"))
    assert tally.propose_all(tally.asks()) == {"bewertung": "{gut: accept, lila: ..., schlecht: reject}"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("gut", 1), ("sehr_gut", 1), ("nicht_gut", -1), ("nicht_schlecht", 0), ("tres_bien", 1), ("很差", -1),
        ("lila", 0), ("", 0), ("very_", 0), ("inutile", -1), ("unbrauchbar", -1), ("不好", -1),
    ],
)  # fmt: skip
def test_judgement_of_word_has_sign(value: str, said: int) -> None:
    assert judgement_of(value) == said


@pytest.mark.parametrize("before", [499, 500, 2_000])
def test_check_verdict_after_very_many_keys_is_asked_about(before: int) -> None:
    many = [
        {"prompt": f"p{n}", "completion": "c", f"about {n}": f"a remark about number {n}"}
        for n in range(before)
    ]
    _, tally = read(*many, *pairs("fazit", "gut", "schlecht"))
    with pytest.raises(UserError, match=r"the key fazit is 'gut' and looks like a verdict"):
        tally.check("mine")


def test_check_verdict_deep_in_metadata_is_asked_about() -> None:
    about = {f"about {n}": f"a remark about number {n}" for n in range(700)}
    rows = [
        {"prompt": f"p {word}", "completion": "c", "meta": {**about, "fazit": word}}
        for word in ("gut", "schlecht")
    ]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=r"the key meta\.fazit is 'gut' and looks like a verdict"):
        tally.check("mine")


def test_lines_more_keys_than_are_examined_are_counted() -> None:
    about = [
        {f"k{n}": "a remark that is no word" for n in range(start, start + 3_000)}
        for start in range(0, 12_000, 3_000)
    ]
    _, tally = read(*({"prompt": f"p{n}", "completion": "c", "meta": each} for n, each in enumerate(about)))
    assert len(tally.unread) == MOST_KEYS + 1
    assert any(f"more than {MOST_KEYS:,} different keys" in line for line in tally.lines())
