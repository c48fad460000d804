"""The sections of a preset that configure no stage: where runs are recorded, shared and placed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from model.errors import UserError
from tasks.common import url_secrets
from tasks.common.names import name_fault

# An upper bound that no real machine or training reaches; larger values are typing errors.
MOST_PROCESSES = 4096
# The keys that select rows by the names of sources, in the order of a preset. The keys `headline_sources`
# choose only which results are averaged: all if none of the named sources has any.
_SOURCE_KEYS = (
    "pretrain.replay_sources", "sft.sources", "labels.sources", "rlhf.sources", "evaluate.sources",
    "evaluate.question_sources", "evaluate.text_sources", "label_batch.sources",
)  # fmt: skip


def checked_name(key: str, name: str) -> str:
    """Return a name that is neither blank nor a path. Raises ValueError with the key."""
    if fault := name_fault(name):
        raise ValueError(f"{key} is {name!a}, {fault}")
    return name


def check_source_names(preset: object, known: Sequence[str]) -> None:
    """Raise ValueError if a key that names sources names one that is not among the known ones."""
    if attrgetter("tokenizer.replay_sources")(preset):
        raise ValueError(
            "tokenizer.replay_sources is filled by the key pretrain.replay_sources; set that one instead"
        )
    for key in _SOURCE_KEYS:
        for name in attrgetter(key)(preset):
            if name not in known:
                raise ValueError(f"{key} has {name!a}, which is no source; there are {', '.join(known)}")


def with_adapter(section: Any, lora: Mapping[str, Any]) -> Any:
    """Return a training's section with the keys of `lora` that it does not set itself."""
    if not isinstance(section, Mapping) or not isinstance(own := section.get("lora", {}), Mapping):
        return section
    return {**section, "lora": {**lora, **own}}


class TrackingSection(BaseModel):
    """The store that runs are recorded in.

    Prefect's server is not set here: it is the one that the environment names, or a running one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mlflow: str = ""
    """Address of an MLflow server; empty: SQLite under `var/`."""

    experiment: str = "chatmill"
    """Name of the experiment in MLflow."""

    @field_validator("experiment")
    @classmethod
    def _named(cls, name: str) -> str:
        return checked_name("experiment", name)

    @field_validator("mlflow")
    @classmethod
    def _no_password(cls, address: str) -> str:
        # A preset is no place for secrets: Prefect shows it and MLflow stores it.
        if url_secrets.secret_problem(address):
            raise UserError(
                "tracking.mlflow holds a password or a user; set MLFLOW_TRACKING_URI in the environment "
                "instead"
            )
        query = "?" in address and url_secrets.conceal_secrets(address) != address
        if query or url_secrets.has_fragment(address):
            what = "a query" if query else "a part after #"
            raise UserError(
                f"tracking.mlflow holds {what}; set MLFLOW_TRACKING_URI in the environment instead"
            )
        return address


class ParallelSection(BaseModel):
    """The workers for work over many shards: processes of this machine, or a Dask cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(default=0, ge=0, le=MOST_PROCESSES)
    """Number of processes that share the work over shards when there is much of it, at most 4,096; 0: one
    per core. Not part of any cache key."""

    dask_address: str = ""
    """Address of a Dask scheduler (`tcp://HOST:8786`), or `local` for a cluster of two workers here; empty:
    no cluster. Needs `pip install 'chatmill[dask]'`. Every worker must see the project's folder under the
    same path."""

    @field_validator("dask_address")
    @classmethod
    def _address(cls, address: str) -> str:
        if url_secrets.secret_problem(address) or {"?", "#"} & set(address):
            shown = url_secrets.display_url(address).partition("#")[0]
            raise ValueError(
                f"dask_address: {shown} with a user, a password, a query or a part after # is recorded"
            )
        if address not in ("", "local") and not urlsplit(address).hostname:
            raise ValueError(
                f"dask_address is {address}; expected local or a scheduler's address, tcp://HOST:8786"
            )
        return address


class RemoteCacheSection(BaseModel):
    """The sharing of stage outputs with other hosts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """Whether each stage's output is also stored at `data.remote`, if that is set. An output that another
    host computed is then fetched instead of recomputed: [hosts.md](hosts.md)."""


class ExecutionSection(BaseModel):
    """The host that runs the stages which use the device."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu_work_pool: str = ""
    """Prefect pool whose workers run the stages that use the device (the trainings and `evaluate`), as in
    `gpu`; empty: the flow's own process runs them."""

    @field_validator("gpu_work_pool")
    @classmethod
    def _named(cls, name: str) -> str:
        return checked_name("gpu_work_pool", name) if name else name


class PromoteSection(BaseModel):
    """The approval of a model that passed the gate and beats the champion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    approval: Literal["gate", "human", "people"] = "gate"
    """Who approves the model: the `gate` alone, a person (`human`), or the people of the label page, who
    compare its answers with the champion's (`people`): [approval](unattended.md#approval-by-a-person)."""

    approval_timeout_hours: float = Field(default=72, gt=0, le=24 * 365)
    """Hours to wait for the decision of a person or of people, above 0 and at most a year. Without one, the
    model is rejected."""

    beyond_chance: bool = False
    """Whether a model becomes champion only if it is better beyond chance: the 95% interval of its score less
    the champion's, on the same prompts, lies above 0. By default, a higher score suffices. It needs the
    ranking metric `aligned_judge` or `aligned_reward`."""


class RegistrySection(BaseModel):
    """The product that models are registered under."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ""
    """The product; empty: the preset's `name`. Each product has its own registered model in MLflow, with its
    own versions and its own champion. Presets with the same product compete for one champion."""

    compare_with: str = ""
    """Output of `var/cache/artifacts/champion` that `evaluate` scores beside the new model; empty: the
    champion's. `chatmill reproduce` sets this key."""

    @field_validator("model", "compare_with")
    @classmethod
    def _named(cls, name: str, info: ValidationInfo) -> str:
        return checked_name(str(info.field_name), name) if name else name
