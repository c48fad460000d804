"""The configuration: a preset file and the command line's changes, checked before anything runs."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from flows.common.yaml_reader import parse_yaml, read_yaml_file
from flows.config_types import check_values, said_value
from model.data.hf_checkpoint import check_model, load_architecture
from model.errors import UserError
from model.evaluation.evaluate_config import REWARD_MODEL, EvaluateParameters
from model.nn.transformer import ModelConfig, Shape
from model.parameter_bounds import check_bounds
from model.training.distributed import DEVICES, check_memory, check_processes, find_device, too_few_units
from model.training.ppo_config import PPOConfig
from model.training.pretrain import PretrainParameters
from model.training.reward import RewardParameters
from model.training.sft import SFTParameters
from tasks.common import url_secrets
from tasks.common.names import name_fault
from tasks.data.base_model import base_folder
from tasks.data.ratings import LabelsParameters
from tasks.data.sources import DataParameters
from tasks.data.splits import SplitParameters
from tasks.drift import DriftParameters
from tasks.gate import GateParameters
from tasks.judge import JudgeParameters
from tasks.report import ReportParameters
from tasks.tokenizer import TokenizerParameters
from tasks.tracking.products import product_named
from tasks.validate import ValidateParameters
from tasks.validation.training_preflight import Trainings

# An upper bound that no real machine or training reaches; larger values are typing errors.
MOST_PROCESSES = 4096


def _checked_name(key: str, name: str) -> str:
    """Return a name that is neither blank nor a path. Raises ValueError with the key."""
    if fault := name_fault(name):
        raise ValueError(f"{key} is {name!a}, {fault}")
    return name


class Tracking(BaseModel):
    """The stores that runs are recorded in.

    Empty `mlflow`: SQLite under var/. Prefect's server is the one that the environment names, or a running
    one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mlflow: str = ""
    experiment: str = "chatmill"

    @field_validator("experiment")
    @classmethod
    def _named(cls, name: str) -> str:
        return _checked_name("experiment", name)

    @field_validator("mlflow")
    @classmethod
    def _no_password(cls, address: str) -> str:
        # A preset is no place for secrets: Prefect shows it and MLflow stores it.
        if url_secrets.secret_problem(address):
            raise UserError(
                "tracking.mlflow holds a password or a user; set MLFLOW_TRACKING_URI in the environment "
                "instead"
            )
        if "?" in address and url_secrets.conceal_secrets(address) != address:
            raise UserError(
                "tracking.mlflow holds a query; set MLFLOW_TRACKING_URI in the environment instead"
            )
        return address


class Spreading(BaseModel):
    """The workers for work over many shards: processes of this machine (0: one a core), or a Dask cluster.

    `dask` is a scheduler's address, or `local` for a small cluster on this machine; empty: no cluster.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(default=0, ge=0, le=MOST_PROCESSES)
    dask: str = ""

    @field_validator("dask")
    @classmethod
    def _address(cls, address: str) -> str:
        if url_secrets.secret_problem(address) or "?" in address:
            raise ValueError(
                f"dask: {url_secrets.display_url(address)} with a user, a password or a query is recorded"
            )
        if address not in ("", "local") and not urlsplit(address).hostname:
            raise ValueError(f"dask is {address}; local or a scheduler's address is right, tcp://HOST:8786")
        return address


class Sharing(BaseModel):
    """The sharing of stage outputs with other hosts, at `data.remote` if that is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outputs: bool = True


class Placement(BaseModel):
    """The Prefect pool whose workers have the device; empty: every stage runs where the flow runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str = ""

    @field_validator("train")
    @classmethod
    def _named(cls, name: str) -> str:
        return _checked_name("train", name) if name else name


class Promotion(BaseModel):
    """The approval of a model that passed the gate and beats the champion: by the gate alone, or by a person.

    A person has `hours` to decide; no decision counts as a refusal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    approval: Literal["gate", "human"] = "gate"
    hours: float = Field(default=72, gt=0, le=24 * 365)


class Registration(BaseModel):
    """The product that models are registered under.

    `model` is the product, which has its own versions and champion in MLflow; empty: the preset's name.
    `compare_with` names an output of var/cache/artifacts/champion that evaluate scores too; empty: the
    champion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ""
    compare_with: str = ""

    @field_validator("model", "compare_with")
    @classmethod
    def _named(cls, name: str, info: ValidationInfo) -> str:
        return _checked_name(str(info.field_name), name) if name else name


class Preset(BaseModel):
    """A whole pipeline: one section a stage, each the parameter class of the code that it configures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    data: DataParameters
    seed: int = Field(default=1, ge=0)
    device: str = "auto"
    processes: int = Field(default=1, ge=1, le=MOST_PROCESSES)
    base: str = ""
    validation: ValidateParameters = Field(default_factory=ValidateParameters, alias="validate")
    split: SplitParameters = Field(default_factory=SplitParameters)
    tokenizer: TokenizerParameters = Field(default_factory=TokenizerParameters)
    drift: DriftParameters = Field(default_factory=DriftParameters)
    architecture: Shape = Field(default_factory=Shape)
    pretrain: PretrainParameters = Field(default_factory=PretrainParameters)
    sft: SFTParameters = Field(default_factory=SFTParameters)
    labels: LabelsParameters = Field(default_factory=LabelsParameters)
    reward: RewardParameters = Field(default_factory=RewardParameters)
    rlhf: PPOConfig = Field(default_factory=PPOConfig)
    evaluate: EvaluateParameters = Field(default_factory=EvaluateParameters)
    gate: GateParameters = Field(default_factory=GateParameters)
    promote: Promotion = Field(default_factory=Promotion)
    registration: Registration = Field(default_factory=Registration, alias="registry")
    report: ReportParameters = Field(default_factory=ReportParameters)
    tracking: Tracking = Field(default_factory=Tracking)
    spread: Spreading = Field(default_factory=Spreading)
    share: Sharing = Field(default_factory=Sharing)
    placement: Placement = Field(default_factory=Placement)

    @property
    def product(self) -> str:
        """Return the name of the product. Each product has its own registered model in MLflow."""
        return self.registration.model or self.name

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        # Messages and triggers derive the file's name from this: configs/NAME.yaml.
        if "/" in name or "\\" in name:
            raise ValueError(f"name is {name!a}, which is a path; a name without slashes is right")
        return _checked_name("name", name)

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if device not in DEVICES:
            raise ValueError(f"device is {device!a}; {', '.join(DEVICES)} are right")
        return device

    @field_validator("architecture")
    @classmethod
    def _shaped(cls, shape: Shape) -> Shape:
        check_bounds(shape, 0, math.inf, "kv_heads", "hidden", "norm_eps")
        if shape.rope_theta <= 0:
            raise ValueError(f"rope_theta is {shape.rope_theta}; it must be above 0")
        return shape

    @model_validator(mode="after")
    def _registered(self) -> Preset:
        product_named(self.product)
        return self

    @model_validator(mode="after")
    def _reached(self) -> Preset:
        """Refuse a pool whose workers, on other hosts, could not reach inputs and outputs."""
        pool, remote = self.placement.train, self.data.remote
        if pool and not (remote and self.share.outputs):
            lacks = "share.outputs is false" if remote else "data.remote is empty"
            raise ValueError(
                f"placement.train is {pool}, and {lacks}; outputs go to the workers by data.remote"
            )
        if pool and not (urlsplit(remote).scheme or Path(remote).is_absolute()):
            raise ValueError(
                f"data.remote is {remote}; for placement.train it is the same place on every host: "
                "an address, or a path from /"
            )
        return self

    @model_validator(mode="after")
    def _shared(self) -> Preset:
        """Refuse batches smaller than the number of processes: each process needs a part of every batch."""
        # RLHF learns from minibatches, so these must be shared among the processes too.
        minibatch = self.rlhf.batch // self.rlhf.minibatches
        counts = {
            "pretrain.batch": self.pretrain.batch if not self.base else self.processes,
            "sft.batch": self.sft.batch,
            "reward.batch": self.reward.batch,
            "rlhf.batch": self.rlhf.batch,
            "rlhf.batch / rlhf.minibatches": minibatch,
            "rlhf.held_out": self.rlhf.held_out or self.processes,
        }
        for name, count in counts.items():
            if count < self.processes:
                raise ValueError(too_few_units(name, count, self.processes))
        return self

    def find_device(self) -> str:
        """Return the kind of device that this host trains on.

        With `placement.train` a pool trains, and the kind is whichever this host has.

        Raises:
            UserError: This host has no such device, too few of them, or too little memory for the model.
        """
        # If a pool trains, this host needs no device of its own.
        if self.placement.train:
            return find_device()
        device = find_device(self.device)
        check_processes(device, self.processes)
        if not self.base:
            shape = ModelConfig(vocabulary=self.tokenizer.vocabulary, **asdict(self.architecture))
            check_memory(shape.num_parameters, device)
        return device

    def check_base(self, root: Path) -> str:
        """Check the model folder that `base` names, before anything is computed for it.

        Args:
            root: The project's folder, which a relative path starts from.

        Returns:
            A sentence about the part of the preset that the base model overrides; empty if there is none.

        Raises:
            UserError: The folder does not exist, or its model cannot be used.
        """
        if not self.base:
            return ""
        # As a command's first step: a base model that cannot be used must not be found after hours of
        # ingestion.
        context = check_model(base_folder(self.base, root)).context
        if "architecture" not in self.model_fields_set:
            return ""
        return (
            f"architecture is not used: the model of base, {self.base}, has its own, with a context of "
            f"{context:,} tokens"
        )

    def validation_parameters(self) -> ValidateParameters:
        """Return validation's parameters with the share of bad rows that single sources allow."""
        own = {
            source.name: source.quarantine for source in self.data.sources if source.quarantine is not None
        }
        return replace(self.validation, sources={**self.validation.sources, **own})

    def label_parts(self) -> LabelsParameters:
        """Return the labels' parameters. Only a judge that is a reward model gets a share of the labels."""
        return self.labels if self.evaluate.judge == REWARD_MODEL else replace(self.labels, judge_share=0.0)

    def judge_parameters(self) -> JudgeParameters:
        """Return the judge's parameters: its kind, and how a reward model is trained."""
        return JudgeParameters(self.evaluate.judge, self.reward)

    def training_requirements(self, root: Path) -> Trainings:
        """Return the trainings' requirements on the data, for the check before the first of them."""
        context = load_architecture(base_folder(self.base, root)).context if self.base else None
        return Trainings(
            context or self.architecture.context, bool(self.base), self.pretrain, self.sft,
            self.label_parts(), self.reward, self.rlhf, self.evaluate,
        )  # fmt: skip

    def tokenizer_parameters(self) -> TokenizerParameters:
        """Return the tokenizer's parameters. A base model has its own tokenizer, so `base` is passed on."""
        return replace(self.tokenizer, base=self.base) if self.base else self.tokenizer


def read_preset(path: Path, changes: Sequence[str] = ()) -> Preset:
    """Return the preset of a file with changes applied.

    Args:
        path: The YAML file.
        changes: Changes of single keys, each as `section.key=value`.

    Raises:
        UserError: The file is missing or not right; the message names the file or the key.
    """
    # lexists: a dangling link is named as unreadable below, not as missing.
    if not os.path.lexists(path):
        near = sorted(str(found) for found in Path("configs").glob("*.yaml"))
        raise UserError(f"{path} does not exist; presets here are {', '.join(near) or 'none'}")
    values = read_yaml_file(path)
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"is a {'list' if isinstance(values, list) else 'value'}"
        raise UserError(f"{path} {found}, and a preset has keys; configs/demo.yaml shows which there are")
    for change in changes:
        _apply_change(values, change)
    return load_preset(values)


def dump_preset(preset: Preset) -> dict[str, Any]:
    """Return a preset as plain values for JSON; `load_preset` reads them again.

    Prefect, the run's record in MLflow and the workers of other hosts all get a preset in this form.
    """
    return preset.model_dump(mode="json", by_alias=True)


def load_preset(values: Mapping[str, Any]) -> Preset:
    """Return the preset of plain values: those of a YAML file, or of `dump_preset`.

    Raises:
        UserError: A key is unknown or its value is invalid; the message names the key and what is valid.
    """
    # Secrets of the environment must be known before a message can repeat a value.
    url_secrets.use_environment(os.environ)
    # Before pydantic, which would convert values of other types.
    check_values(values, Preset)
    try:
        return Preset.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = str(first["msg"]).removeprefix("Value error, ")
        given = (
            f" (it is {said_value(first['input'])})"
            if isinstance(first["input"], str | int | float | bool)
            else ""
        )
        if first["type"] == "missing":
            raise UserError(f"{where} is missing") from error
        # A stage's message begins with its own key: "steps is -1" of rlhf becomes "rlhf.steps is -1".
        if own := re.match(r"([\w.]+)(?= (is|has|holds) )", said):
            section = where.removesuffix(own[0]).removesuffix(".")
            raise UserError(f"{section}.{said}" if section else said) from error
        raise UserError(f"{where}{': ' if where else ''}{said}{given}") from error


def _apply_change(values: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise UserError(f"--set {change}: KEY=VALUE is right, as in rlhf.steps=40")
    value = parse_yaml(text, f"--set {name}")
    *sections, last = name.split(".")
    place = values
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {change}: {section} has no keys inside")
    place[last] = value
