"""The configuration: a preset file and the command line's changes, checked before anything runs."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from flows.common.key_changes import apply_changes, show_old_keys
from flows.common.yaml_reader import read_yaml_file
from flows.config_sections import (
    MOST_PROCESSES,
    ExecutionSection,
    ParallelSection,
    PromoteSection,
    RegistrySection,
    RemoteCacheSection,
    TrackingSection,
    check_source_names,
    checked_name,
    with_adapter,
)
from flows.config_types import check_values, said_value
from model.data.checkpoint_check import check_model
from model.data.hf_config import load_architecture
from model.errors import UserError
from model.evaluation.evaluate_config import REWARD_MODEL, EvaluateParameters
from model.events import EventCallback, ignore_event
from model.nn.model_config import ModelConfig, Shape
from model.parameter_bounds import check_bounds
from model.training.devices import (
    DEVICES,
    check_memory,
    check_processes,
    count_processes,
    find_device,
    too_few_units,
)
from model.training.lora_config import LoRAParameters, check_quantization
from model.training.ppo_derivation import derive_max_kl
from model.training.pretrain_config import PretrainParameters
from model.training.reward_config import RewardParameters
from model.training.rlhf_config import RLHFConfig
from model.training.sft_config import SFTParameters
from tasks.common import url_secrets
from tasks.common.old_keys import rename_old_keys
from tasks.data.base_models.base_model import base_folder, pin_base
from tasks.data.labels.ratings import LabelsParameters
from tasks.data.sources.source_types import DataParameters
from tasks.data.splits import SplitParameters
from tasks.drift import DriftParameters
from tasks.gate import GateParameters, effective_thresholds, explain_unmeasured, prompts_needed
from tasks.judge import JudgeParameters
from tasks.labelling.batch_parameters import LabelBatchParameters
from tasks.pretrain import BaseParameters
from tasks.report import ReportParameters
from tasks.tokenizer import TokenizerParameters
from tasks.tracking.products import product_named
from tasks.validate import ValidateParameters
from tasks.validation.training_preflight import Trainings


class Preset(BaseModel):
    """A whole pipeline: one section a stage, each the parameter class of the code that it configures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of the preset, shown on every run in MLflow. One line without slashes."""

    data: DataParameters

    seed: int = Field(default=1, ge=0)
    """Seed of every random number generator, 0 or more."""

    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA if torch finds it, else the CPU."""

    num_processes: int = Field(default=0, ge=0, le=MOST_PROCESSES)
    """Number of training processes, at most 4,096: one per GPU, or on a CPU at most `gradient_parts`. 0: one
    GPU, or one process per core of the CPU. Not part of any cache key."""

    base_model: str = ""
    """Open model: a folder or a GGUF file, relative to the project's folder; `ARCHIVE!FILE`, a GGUF file of
    one of `data.archives`; `hub:ORG/NAME@COMMIT`, a model of the Hugging Face hub; or
    `model:PRODUCT@VERSION`, a registered model. [Families and places](base-models.md). SFT starts from it
    instead of from pretraining, and its tokenizer is used. Empty: a base model is trained."""

    base_context_length: int = Field(default=1024, ge=0, le=1 << 20)
    """Longest context in which an open model is trained and answers here, in tokens; 0: its own. Memory and
    time grow with it. An export names the model's own context."""

    validation: ValidateParameters = Field(default_factory=ValidateParameters, alias="validate")
    split: SplitParameters = Field(default_factory=SplitParameters)
    tokenizer: TokenizerParameters = Field(default_factory=TokenizerParameters)
    drift: DriftParameters = Field(default_factory=DriftParameters)
    architecture: Shape = Field(default_factory=Shape)
    pretrain: PretrainParameters = Field(default_factory=PretrainParameters)
    lora: LoRAParameters = Field(default_factory=LoRAParameters)
    sft: SFTParameters = Field(default_factory=SFTParameters)
    labels: LabelsParameters = Field(default_factory=LabelsParameters)
    reward: RewardParameters = Field(default_factory=RewardParameters)
    rlhf: RLHFConfig = Field(default_factory=RLHFConfig)
    evaluate: EvaluateParameters = Field(default_factory=EvaluateParameters)
    gate: GateParameters = Field(default_factory=GateParameters)
    promote: PromoteSection = Field(default_factory=PromoteSection)
    registration: RegistrySection = Field(default_factory=RegistrySection, alias="registry")
    report: ReportParameters = Field(default_factory=ReportParameters)
    label_batch: LabelBatchParameters = Field(default_factory=LabelBatchParameters)
    tracking: TrackingSection = Field(default_factory=TrackingSection)
    parallel: ParallelSection = Field(default_factory=ParallelSection)
    remote_cache: RemoteCacheSection = Field(default_factory=RemoteCacheSection)
    execution: ExecutionSection = Field(default_factory=ExecutionSection)

    @property
    def product(self) -> str:
        """Return the name of the product. Each product has its own registered model in MLflow."""
        return self.registration.model or self.name

    @model_validator(mode="before")
    @classmethod
    def _adapted(cls, values: Any) -> Any:
        """Pass the keys of `lora` on to the trainings that do not set them."""
        if not isinstance(values, Mapping) or not isinstance(lora := values.get("lora"), Mapping):
            return values
        passed = dict(values)
        names = ["sft", "reward", "rlhf"]
        # Random weights all learn, and an open model that is used as it is has no training of its own.
        pretrain = values.get("pretrain")
        if values.get("base_model") and isinstance(pretrain, Mapping) and pretrain.get("continue_steps"):
            names.append("pretrain")
        for name in names:
            passed[name] = with_adapter(passed.get(name, {}), lora)
        if isinstance(rlhf := passed["rlhf"], dict):
            rlhf["dpo"] = with_adapter(rlhf.get("dpo", {}), lora)
        return passed

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        # Messages and triggers derive the file's name from this: configs/NAME.yaml.
        if "/" in name or "\\" in name:
            raise ValueError(f"name is {name!a}, which is a path; expected a name without slashes")
        return checked_name("name", name)

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if device not in DEVICES:
            raise ValueError(f"device is {device!a}; expected {', '.join(DEVICES)}")
        return device

    @field_validator("architecture")
    @classmethod
    def _shaped(cls, shape: Shape) -> Shape:
        check_bounds(shape, 0, math.inf, "num_kv_heads", "intermediate_size", "rms_norm_eps")
        if shape.rope_theta <= 0:
            raise ValueError(f"rope_theta is {shape.rope_theta}; it must be above 0")
        return shape

    @model_validator(mode="after")
    def _registered(self) -> Preset:
        product_named(self.product)
        return self

    @model_validator(mode="after")
    def _passable(self) -> Preset:
        # Otherwise every model would be refused, after all trainings.
        if said := explain_unmeasured(self.gate, self.evaluate, self.promote.beyond_chance):
            raise ValueError(said)
        return self

    @model_validator(mode="after")
    def _reached(self) -> Preset:
        """Refuse a pool whose workers, on other hosts, could not reach inputs and outputs."""
        pool, remote = self.execution.gpu_work_pool, self.data.remote
        if pool and not (remote and self.remote_cache.enabled):
            lacks = "remote_cache.enabled is false" if remote else "data.remote is empty"
            raise ValueError(
                f"execution.gpu_work_pool is {pool}, and {lacks}; outputs go to the workers by data.remote"
            )
        if pool and not (urlsplit(remote).scheme or Path(remote).is_absolute()):
            raise ValueError(
                f"data.remote is {remote}; for execution.gpu_work_pool it is the same place on every host: "
                "an address, or a path from /"
            )
        return self

    @model_validator(mode="after")
    def _continued(self) -> Preset:
        if self.pretrain.continue_steps and not self.base_model:
            raise ValueError("pretrain.continue_steps is set, but there is no base_model to train further")
        check_source_names(self, [source.name for source in self.data.sources])
        policy = {"rlhf.dpo": self.rlhf.dpo} if self.rlhf.method == "dpo" else {"rlhf": self.rlhf}
        check_quantization(self.pretrain, self.sft, self.reward, policy)
        return self

    @model_validator(mode="after")
    def _shared(self) -> Preset:
        """Refuse batches smaller than the number of processes: each process needs a part of every batch."""
        # RLHF learns from minibatches, so these must be shared among the processes too.
        minibatch = self.rlhf.batch_size // self.rlhf.num_mini_batches
        counts = {
            "pretrain.batch_size": self.pretrain.batch_size if self.pretrains else self.num_processes,
            "sft.batch_size": self.sft.batch_size,
            "reward.batch_size": self.reward.batch_size,
        }
        if self.rlhf.method == "dpo":
            counts["rlhf.dpo.batch_size"] = self.rlhf.dpo.batch_size
        else:
            counts |= {
                "rlhf.batch_size": self.rlhf.batch_size,
                "rlhf.batch_size / rlhf.num_mini_batches": minibatch,
                "rlhf.num_eval_prompts": self.rlhf.num_eval_prompts or self.num_processes,
            }
        for name, count in counts.items():
            if count < self.num_processes:
                raise ValueError(too_few_units(name, count, self.num_processes))
        return self

    @property
    def pretrains(self) -> bool:
        """Return whether text is learned from before SFT: by a new model, or by an open one."""
        return not self.base_model or bool(self.pretrain.continue_steps)

    def training_processes(self, device: str) -> int:
        """Return the number of processes of a training on a device of this host."""
        sections = (self.pretrain, self.sft, self.reward, self.rlhf, self.rlhf.dpo)
        return count_processes(device, self.num_processes, max(one.gradient_parts for one in sections))

    def find_device(self) -> str:
        """Return the kind of device that this host trains on.

        With `execution.gpu_work_pool` a pool trains, and the kind is whichever this host has.

        Raises:
            UserError: This host has no such device, too few of them, or too little memory for the model.
        """
        # If a pool trains, this host needs no device of its own.
        if self.execution.gpu_work_pool:
            return find_device()
        device = find_device(self.device)
        check_processes(device, self.num_processes)
        if not self.base_model:
            shape = ModelConfig(vocab_size=self.tokenizer.vocab_size, **asdict(self.architecture))
            shares = max(1, self.num_processes) if self.pretrain.is_sharded else 1
            check_memory(shape.num_parameters, device, shares)
        return device

    @property
    def pinned_base(self) -> str:
        """Return the base model with all that is needed to fetch it; empty if there is none."""
        return pin_base(self.base_model, self.data.archives)

    def check_base(self, root: Path, on_event: EventCallback = ignore_event) -> str:
        """Check the model folder that `base_model` names, before anything is computed for it.

        Args:
            root: The project's folder, which a relative path starts from.
            on_event: Receives what is fetched for it.

        Returns:
            A sentence about the part of the preset that the base model overrides; empty if there is none.

        Raises:
            UserError: The folder does not exist, or its model cannot be used.
        """
        if not self.base_model:
            return ""
        # As a command's first step: a base model that cannot be used must not be found after hours of
        # ingestion.
        context = check_model(base_folder(self.pinned_base, root, on_event)).context_length
        context = min(context, self.base_context_length or context)
        if "architecture" not in self.model_fields_set:
            return ""
        return (
            f"architecture is not used: the model of base_model, {self.base_model}, has its own, with "
            "a context of "
            f"{context:,} tokens"
        )

    def explain_loose_bounds(self) -> str:
        """Return a sentence if RLHF may choose a step that the gate refuses; empty if it cannot.

        No sentence is returned for a pair of bounds that the preset sets itself, both of them.
        """
        largest = effective_thresholds(self.gate, {})[1]
        max_kl = self.rlhf.max_kl or derive_max_kl(self.rlhf.kl_target)
        bounds: tuple[tuple[str, float, str, bool], ...] = (
            ("rlhf.max_kl", max_kl, "kl", bool(self.rlhf.max_kl)),
            ("rlhf.max_loss_increase", self.rlhf.max_loss_increase, "loss_increase", True),
        )
        if self.rlhf.method == "dpo":
            bounds = (("rlhf.dpo.max_loss_increase", self.rlhf.dpo.max_loss_increase, "loss_increase", True),)
        found = [
            f"{key} is {bound:g}, and gate.max.{name} {largest[name]:g}"
            for key, bound, name, own in bounds
            if name in largest and bound > largest[name] and not (own and name in self.gate.max)
        ]
        if not found:
            return ""
        return f"RLHF may choose a step that the gate then refuses: {'; '.join(found)}"

    def validation_parameters(self) -> ValidateParameters:
        """Return validation's parameters with the share of bad rows that single sources allow."""
        own = {
            source.name: source.max_bad_fraction
            for source in self.data.sources
            if source.max_bad_fraction is not None
        }
        shares = {**self.validation.max_bad_fraction_by_source, **own}
        order = self.validation.source_order or tuple(source.name for source in self.data.sources)
        # People are asked about these aspects, so their labels are no surprise.
        limits = self.validation.limits
        aspects = tuple(dict.fromkeys((*limits.aspects, *self.label_batch.aspects)))
        return replace(
            self.validation,
            max_bad_fraction_by_source=shares,
            source_order=order,
            limits=replace(limits, aspects=aspects),
        )

    def label_parts(self) -> LabelsParameters:
        """Return the labels' parameters. Only a judge that is a reward model gets a share of the labels."""
        # What starts a run changes nothing in its outputs.
        parts = replace(self.labels, min_new=LabelsParameters().min_new)
        return parts if self.evaluate.judge == REWARD_MODEL else replace(parts, judge_share=0.0)

    def judge_parameters(self) -> JudgeParameters:
        """Return the judge's parameters: its kind, and how a reward model is trained."""
        asked = self.evaluate
        return JudgeParameters(
            asked.judge, self.reward, asked.judge_function, asked.judge_endpoint, asked.judge_model,
            asked.judge_question, asked.max_judge_seconds,
        )  # fmt: skip

    def training_requirements(self, root: Path) -> Trainings:
        """Return the trainings' requirements on the data, for the check before the first of them."""
        shape: Shape = self.architecture
        if self.base_model:
            shape = load_architecture(base_folder(self.pinned_base, root), self.base_context_length)
        return Trainings(
            shape.context_length, not self.pretrains, self.pretrain, self.sft,
            self.label_parts(), self.reward, self.rlhf, self.evaluate,
            *prompts_needed(self.gate),
        )  # fmt: skip

    def base_parameters(self) -> BaseParameters:
        """Return the parameters of the base model: those of its training, or of the open model."""
        return BaseParameters(
            self.architecture, self.pretrain, self.pinned_base,
            self.base_context_length if self.base_model else 0,
        )  # fmt: skip

    def split_parameters(self) -> SplitParameters:
        """Return the parameters of the split; an open model that is not trained on text needs none."""
        return self.split if self.pretrains else replace(self.split, text_required=False)

    def tokenizer_parameters(self) -> TokenizerParameters:
        """Return the tokenizer's parameters. A base model has its own tokenizer, so `base` is passed on."""
        if not self.base_model:
            return self.tokenizer
        replayed = self.pretrain.replay_sources
        return replace(self.tokenizer, base_model=self.pinned_base, replay_sources=replayed)


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
        raise UserError(f"{path} does not exist; presets in configs/: {', '.join(near) or 'none'}")
    values = read_yaml_file(path)
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"is a {'list' if isinstance(values, list) else 'value'}"
        raise UserError(f"{path} {found}, and a preset has keys; configs/demo.yaml shows which there are")
    try:
        values, old = rename_old_keys(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    changed = apply_changes(values, changes)
    show_old_keys(path, old, changed)
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
