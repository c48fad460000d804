"""The one configuration: a preset file and the command line's changes, checked before anything runs."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flows.preset_file import parse_yaml, read_yaml_file
from model.device import too_few_units
from model.errors import UserError
from model.evaluate_parameters import REWARD_MODEL, EvaluateParameters
from model.folder import check_model, load_architecture
from model.ppo_parameters import PPOParameters
from model.pretrain import PretrainParameters
from model.reward import RewardParameters
from model.sft import SFTParameters
from model.transformer import Shape
from tasks import addresses
from tasks.drift import DriftParameters
from tasks.gate import GateParameters
from tasks.judge import JudgeParameters
from tasks.labels import LabelsParameters
from tasks.names import is_blank
from tasks.preflight import Trainings
from tasks.products import product_named
from tasks.report import ReportParameters
from tasks.sources import DataParameters
from tasks.split import SplitParameters
from tasks.tokenizer import TokenizerParameters, base_folder
from tasks.validate import ValidateParameters

# Characters of a person's key or value that a message repeats.
LONGEST = 80


class Tracking(BaseModel):
    """Where runs are recorded. Empty: MLflow on SQLite under var/, Prefect's server as it is found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mlflow: str = ""
    experiment: str = "chatmill"

    @field_validator("mlflow")
    @classmethod
    def _no_password(cls, address: str) -> str:
        # A preset is shown by Prefect and kept by MLflow.
        if addresses.fault(address):
            raise UserError(
                "tracking.mlflow holds a password or a user; set MLFLOW_TRACKING_URI in the environment "
                "instead"
            )
        if "?" in address and addresses.conceal(address) != address:
            raise UserError(
                "tracking.mlflow holds a query; set MLFLOW_TRACKING_URI in the environment instead"
            )
        return address


class Spreading(BaseModel):
    """Where work over many shards goes: processes of this machine (0: one a core), or a Dask cluster.

    `dask` is a scheduler's address, or `local` for a small cluster on this machine; empty: no cluster.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(default=0, ge=0)
    dask: str = ""

    @field_validator("dask")
    @classmethod
    def _address(cls, address: str) -> str:
        if addresses.fault(address) or "?" in address:
            raise ValueError(
                f"dask: {addresses.shown(address)} with a user, a password or a query is recorded"
            )
        if address not in ("", "local") and not urlsplit(address).hostname:
            raise ValueError(f"dask is {address}; local or a scheduler's address is right, tcp://HOST:8786")
        return address


class Sharing(BaseModel):
    """Whether outputs of stages are shared with other hosts, at `data.remote` where there is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outputs: bool = True


class Placement(BaseModel):
    """The pool of Prefect's whose workers have the device; empty: all is run where the flow is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str = ""


class Promotion(BaseModel):
    """Who makes a model champion that passed the gate and beats the champion: the gate, or a person.

    A person is waited for so many `hours`; nothing said by then is a no.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    approval: Literal["gate", "human"] = "gate"
    hours: float = Field(default=72, gt=0, le=24 * 365)


class Registration(BaseModel):
    """Where models are registered.

    `model` is the product, which has its own versions and champion in MLflow; empty: the preset's name.
    `compare_with` names an output of var/artifacts/champion that evaluate scores too; empty: the champion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ""
    compare_with: str = ""

    @field_validator("model")
    @classmethod
    def _visible(cls, name: str) -> str:
        if name and is_blank(name):
            raise ValueError(
                f"model is {name!a}, which shows nothing; a name with a letter is right, or no name for "
                "the preset's"
            )
        return name


class Preset(BaseModel):
    """A whole pipeline: one section a stage, each the parameters that stand beside the code it steers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    data: DataParameters
    seed: int = Field(default=1, ge=0)
    device: str = "auto"
    processes: int = Field(default=1, ge=1)
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
    rlhf: PPOParameters = Field(default_factory=PPOParameters)
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
        """The name of the product: each has its own registered model in MLflow."""
        return self.registration.model or self.name

    @field_validator("name")
    @classmethod
    def _visible(cls, name: str) -> str:
        if is_blank(name):
            raise ValueError(f"name is {name!a}, which shows nothing; any name with a letter is right")
        return name

    @model_validator(mode="after")
    def _registered(self) -> Preset:
        product_named(self.product)
        return self

    @model_validator(mode="after")
    def _reached(self) -> Preset:
        """A pool's worker may be on another host: what it needs must be where that looks too."""
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
        """Each training process needs a part of every batch."""
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

    def check_base(self, root: Path) -> str:
        """Check the model folder that `base` names, before anything is computed for it.

        Returns:
            What of the preset is not used because of it; empty if all is.

        Raises:
            UserError: there is no such folder, or it is no model that can be used.
        """
        if not self.base:
            return ""
        context = check_model(base_folder(self.base, root)).context
        if "architecture" not in self.model_fields_set:
            return ""
        return (
            f"architecture is not used: the model of base, {self.base}, has its own, with a context of "
            f"{context:,} tokens"
        )

    def checks(self) -> ValidateParameters:
        """Validation's parameters, with the share of bad rows that single sources allow."""
        own = {
            source.name: source.quarantine for source in self.data.sources if source.quarantine is not None
        }
        return replace(self.validation, sources={**self.validation.sources, **own})

    def label_parts(self) -> LabelsParameters:
        """Return the labels' parameters; only a judge that is a reward model needs labels of its own."""
        return self.labels if self.evaluate.judge == REWARD_MODEL else replace(self.labels, judge_share=0.0)

    def judging(self) -> JudgeParameters:
        """Return the judge's parameters: what judges, and how a reward model learns."""
        return JudgeParameters(self.evaluate.judge, self.reward)

    def trainings(self, root: Path) -> Trainings:
        """Return what the trainings ask of the data, for the check before the first of them."""
        context = load_architecture(base_folder(self.base, root)).context if self.base else None
        return Trainings(
            context or self.architecture.context, bool(self.base), self.pretrain, self.sft,
            self.label_parts(), self.reward, self.rlhf, self.evaluate,
        )  # fmt: skip

    def tokens(self) -> TokenizerParameters:
        """The tokenizer's parameters: a base model from elsewhere brings its own tokenizer."""
        return replace(self.tokenizer, base=self.base) if self.base else self.tokenizer


def read_preset(path: Path, changes: Sequence[str] = ()) -> Preset:
    """The preset of a file with `section.key=value` changes. Raises UserError with the file or the key."""
    if not os.path.lexists(path):
        near = sorted(str(found) for found in Path("configs").glob("*.yaml"))
        raise UserError(f"{path} does not exist; presets here are {', '.join(near) or 'none'}")
    values = read_yaml_file(path)
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"is a {'list' if isinstance(values, list) else 'value'}"
        raise UserError(f"{path} {found}, and a preset has keys; configs/demo.yaml shows which there are")
    for change in changes:
        _change(values, change)
    return check_preset(values)


def check_preset(values: Mapping[str, Any]) -> Preset:
    """A preset of plain values. Raises UserError in one sentence: the key, and what would be right."""
    addresses.use_environment(os.environ)
    _refuse_unknown(values, Preset, ())
    try:
        preset = Preset.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = str(first["msg"]).removeprefix("Value error, ")
        given = (
            f" (it is {addresses.hide_secrets(_short(first['input']))})"
            if isinstance(first["input"], str | int | float | bool)
            else ""
        )
        if first["type"] == "missing":
            raise UserError(f"{where} is missing") from error
        # A stage's own sentence begins with its key: "steps is -1; …" of rlhf is about rlhf.steps.
        joint = "." if said.split(" ", 1)[0].isidentifier() and " is " in said[:40] else ": "
        raise UserError(f"{where}{joint if where else ''}{said}{given}") from error
    # YAML's own .nan is refused by the reader, but pydantic makes a number of the text "nan" too.
    for where, number in _numbers(preset.model_dump(by_alias=True), ()):
        if not math.isfinite(number):
            raise UserError(f"{where} is {number}; a finite number is right")
    return preset


def _numbers(values: Any, where: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Yield each fractional number of plain values, with its key."""
    if isinstance(values, float):
        yield ".".join(where), values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from _numbers(value, (*where, str(key)))
    elif isinstance(values, list | tuple):
        for place, value in enumerate(values):
            yield from _numbers(value, (*where, str(place)))


def _short(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def _change(values: dict[str, Any], change: str) -> None:
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


def _refuse_unknown(values: Any, kind: Any, where: tuple[str, ...]) -> None:
    """Walk the values beside the types: pydantic ignores unknown keys of plain dataclasses."""
    known = _keys(kind)
    if known is None or not isinstance(values, Mapping):
        return
    for key, value in values.items():
        name = str(key) if len(str(key)) <= LONGEST else f"{str(key)[:LONGEST]}…"
        path = ".".join([*where, name])
        if key not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            here = [".".join([*where, found]) for found in near]
            meant = [*_elsewhere(name), *here] if not where else [*here, *_elsewhere(name)]
            hint = f"did you mean {meant[0]}?" if meant else f"known are {', '.join(known)}"
            raise UserError(f"{path} is not known; {hint}")
        for inner in _inside(known[key]):
            items = value if isinstance(value, list) else [value]
            if (
                known[key] is not inner
                and isinstance(value, Mapping)
                and _keys(inner)
                and _is_map(known[key])
            ):
                items = list(value.values())
            for item in items:
                _refuse_unknown(item, inner, (*where, str(key)))


def _keys(kind: Any) -> dict[str, Any] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in fields(kind)}
    return None


def _inside(kind: Any) -> list[Any]:
    return [kind] if _keys(kind) is not None else [part for part in get_args(kind) if _keys(part) is not None]


def _is_map(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is dict


def _elsewhere(key: str) -> list[str]:
    """Where the same key stands in another section."""
    sections = _keys(Preset) or {}
    return [f"{name}.{key}" for name, kind in sections.items() if key in (_keys(kind) or {})][:1]
