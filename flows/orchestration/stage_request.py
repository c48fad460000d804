"""The request to make one stage on another host, as the flow sends it and a worker reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class InputReference:
    """An output that the requested stage takes as input.

    Attributes:
        key: The output's cache key, by which the worker fetches it from the store.
        digest: The output's digest; the fetched one must have the same.
        run: The id of its stage's run in MLflow.
    """

    key: str
    digest: str
    run: str


@dataclass(frozen=True)
class StageRequest:
    """A stage to make on the host that has the device.

    Attributes:
        preset: The preset as plain values.
        name: The stage's name.
        parameters: The stage's parameters as plain values.
        inputs: The inputs by stage.
        run: The stage's run in MLflow. It gets the metrics and messages, and at the end the output's key.
        code: The digest of the stage's code on the flow's host; it must be the same on the worker's.
        lock: The digest of the lock file on the flow's host; it must be the same on the worker's.
    """

    preset: Mapping[str, Any]
    name: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, InputReference]
    run: str
    code: str
    lock: str

    def to_json(self) -> dict[str, Any]:
        """Return the request as plain values."""
        inputs = {name: dict(vars(reference)) for name, reference in self.inputs.items()}
        return {**vars(self), "inputs": inputs}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StageRequest:
        """Return the request that `to_json` returned as plain values."""
        inputs = {name: InputReference(**reference) for name, reference in values["inputs"].items()}
        return cls(**{**values, "inputs": inputs})
