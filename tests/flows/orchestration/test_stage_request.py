"""Test that a request for a stage reaches the worker unchanged."""

from __future__ import annotations

import json

import pytest

from flows.orchestration.remote_flow import stage
from flows.orchestration.stage_request import InputReference, StageRequest

REFERENCE = InputReference("ab12cd34", "d" * 64, "run-1")


@pytest.mark.parametrize(
    "request_",
    [
        StageRequest({"name": "a"}, "sft", {"steps": 3, "nested": {"lr": 0.1}}, {}, "r", "c", "l"),
        StageRequest({}, "rlhf", {}, {"sft": REFERENCE, "reward": REFERENCE}, "", "c", "l"),
        StageRequest({"name": "ж"}, "judge", {"words": ["a"]}, {"sft": REFERENCE}, "r", "", ""),
    ],
)
def test_request_survives_json(request_: StageRequest) -> None:
    assert StageRequest.from_json(json.loads(json.dumps(request_.to_json()))) == request_


def test_request_with_unknown_field_is_refused() -> None:
    values = StageRequest({}, "sft", {}, {}, "r", "c", "l").to_json()
    with pytest.raises(TypeError, match="colour"):
        StageRequest.from_json({**values, "colour": "red"})


def test_flow_takes_the_request_alone() -> None:
    assert list(stage.parameters.properties) == ["request"]
