"""Test the differences between the parameters of a stage in two runs."""

from __future__ import annotations

import json
from dataclasses import asdict

from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.cache_key import flatten_values
from tasks.tracking.parameter_diff import parameter_differences

TEXTS, PAIRS = Source("texts", files="texts/*.txt"), Source("pairs", files="pairs.jsonl", format="rows")


def recorded(*sources: Source) -> dict[str, str]:
    """Return the parameters as a run records them."""
    return dict(flatten_values(json.loads(json.dumps(asdict(DataParameters(sources=sources))))))


def test_parameter_differences_source_added_in_the_middle_is_the_only_one() -> None:
    found = parameter_differences(
        recorded(TEXTS, PAIRS), recorded(TEXTS, Source("people", labels="page"), PAIRS)
    )
    assert found == [("sources.people.format", None, "rows"), ("sources.people.labels", None, "page")]


def test_parameter_differences_option_changed_from_its_default_is_named() -> None:
    changed = Source("pairs", files="pairs.jsonl", format="rows", document_unit="paragraph")
    found = parameter_differences(recorded(TEXTS, PAIRS), recorded(TEXTS, changed))
    assert found == [("sources.pairs.document_unit", None, "paragraph")]


def test_parameter_differences_other_order_of_sources_is_named() -> None:
    found = parameter_differences(recorded(TEXTS, PAIRS), recorded(PAIRS, TEXTS))
    assert found == [("sources, in order", "texts, pairs", "pairs, texts")]


def test_parameter_differences_other_parameters_are_compared_by_path() -> None:
    one, two = {"steps": "3", "same": "1"}, {"steps": "4", "same": "1", "answers.0.model": "aligned"}
    assert parameter_differences(one, two) == [("steps", "3", "4"), ("answers.0.model", None, "aligned")]
