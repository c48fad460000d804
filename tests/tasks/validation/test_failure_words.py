"""Test that each rule says what is wrong with a row that broke it."""

from __future__ import annotations

import pytest

from tasks.data.records import TYPES
from tasks.validation.expectations import ACROSS, Limits, Rules, build_expectations
from tasks.validation.failure_words import describe_failure


@pytest.mark.parametrize("kind", TYPES)
def test_describe_failure_every_rule_has_words_of_its_own(kind: str) -> None:
    own = {kind: [{"expectation": "ExpectColumnValuesToNotBeNull", "column": "id", "rule": "my own rule"}]}
    rules = Rules(Limits(), ("Latin", "Greek"), True, own, lambda text: False)
    names = [*ACROSS, *(expectation.meta["rule"] for expectation in build_expectations(kind, rules))]
    words = {name: describe_failure(name) for name in names}
    assert words.pop("my own rule") == "my own rule"
    assert not {name for name, said in words.items() if said == name}
    assert len(set(words.values())) == len(words)


@pytest.mark.parametrize(
    ("rule", "value", "says"),
    [
        ("completion has a fit length", " \n", "the completion is empty"),
        ("completion has a fit length", None, "the completion is empty, too short or too long"),
        ("text has a fit length", "x", "the text has 1 character, which validate.limits does not allow"),
        ("b has a fit length", "", "answer b is empty"),
        ("prompt is there", None, "the prompt is missing"),
        ("text is in Latin or Greek", "Да", "the text is not in Latin or Greek"),
        ("references is free of personal data", None, "the references have personal data"),
        (
            "score not above 10 (validate.limits.max_score)",
            [11.0],
            "a score is above 10 (validate.limits.max_score)",
        ),
        ("words is there", None, "words is there"),
    ],
)
def test_describe_failure_names_what_is_wrong(rule: str, value: object, says: str) -> None:
    assert describe_failure(rule, value) == says
