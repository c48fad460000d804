"""The preset that `chatmill init` is about to write: for a new model, or for an open one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.common.terminal import Console

if TYPE_CHECKING:
    from flows.config import Preset
    from flows.orchestration.open_base import OpenBase
    from model.nn.model_config import ModelConfig
    from model.training.lora_config import LoRAParameters
    from tasks.onboarding.folder_measure import Measured
    from tasks.onboarding.folder_scan import FolderScan
    from tasks.onboarding.model_sizing import Plan

TRIED_SECONDS = 2.5  # of training steps for each shape that is tried; rarely more than three are


class PresetDraft:
    """A preset of a folder. `plan_run` comes before all else."""

    def __init__(
        self, name: str, device: str, found: FolderScan, measured: Measured, base: OpenBase | None
    ) -> None:
        """Note what the preset is for.

        Args:
            name: The preset's name.
            device: The device of the run: cpu, cuda or auto.
            found: The scan of the folder.
            measured: The measurements of the folder.
            base: The open model that a run starts from; None: a new model is trained.
        """
        self.name, self.device, self.found, self.measured = name, device, found, measured
        self.base = base
        self.plan: Any = None
        self.described = ""

    def plan_run(self, device: str, minutes: float, root: Path, console: Console) -> Plan:
        """Measure this machine, and return the plan of a run of at most so many minutes.

        Args:
            device: "cpu" or "cuda".
            minutes: The longest time of a run.
            root: The project's folder.
            console: The console that measured speeds are printed to.

        Raises:
            UserError: The open model is too large for this machine.
        """
        from model.training.available_memory import find_memory
        from tasks.onboarding.model_sizing import Machine, plan_run
        from tasks.onboarding.size_notes import device_memory

        amount, memory = self.measured.amount, find_memory(device)
        # Other programs leave the memory of a GPU before a run more often than that of a machine.
        there = memory.total if device == "cuda" else memory.free
        machine = Machine(device, there, _pace(device, console))
        if self.base:
            from flows.orchestration.base_proposal import fit_memory, propose_base_plan
            from model.training.lora_config import QUANTIZATIONS

            pace = _pace(device, console)
            for quantize in QUANTIZATIONS:
                self.plan = propose_base_plan(self.base, amount, device, minutes, pace, quantize=quantize)
                large = fit_memory(self.plan, lambda: self.parse(self.write([])), root, device)
                # The first proposal is in 4 bits already where 16 cannot fit: do not time it again.
                if not large or self.plan.lora.is_quantized:
                    break
        else:
            self.plan = plan_run(amount, machine, minutes)
        speed = f"{self.plan.tokens_per_second:,.0f} tokens/s"
        self.described = f"{device}, {speed}{device_memory(machine)}"
        plan: Plan = self.plan
        return plan

    def write(self, notes: Sequence[str], allowed: Any = None) -> str:
        """Return the preset as YAML, with `notes` at the top, and perhaps a share of bad rows to allow."""
        found, measured, plan, described = self.found, self.measured, self.plan, self.described
        if self.base is None:
            from tasks.onboarding.preset_writer import write_preset

            return write_preset(self.name, self.device, found, measured, plan, described, notes, allowed)
        from tasks.onboarding.base_preset import write_base_preset

        return write_base_preset(
            self.name, self.device, self.base.text, self.base.archives, found, measured, plan, described,
            notes, allowed,
        )  # fmt: skip

    def parse(self, text: str) -> Preset:
        """Return the preset of a text, with the files of its open model on this machine."""
        import yaml

        from flows.config import load_preset

        preset = load_preset(yaml.safe_load(text))
        if self.base is None or self.base.is_pinned_by_preset:
            return preset
        return preset.model_copy(update={"base_model": self.base.pinned})

    def describe(self) -> str:
        """Return the model and the first training in words."""
        from tasks.onboarding.size_notes import bounded_by

        plan, shape = self.plan, self.plan.architecture
        if self.base is None:
            bound = bounded_by(plan, self.measured.amount)
            steps = plan.sections["pretrain"]["steps"]
            return f"{shape.num_parameters:,} weights ({bound}), {steps:,} steps of pretraining"
        steps = [
            f"{section[key]:,} steps of {words}"
            for stage, key, words in (
                ("pretrain", "continue_steps", "continued pretraining"), ("sft", "steps", "SFT"),
            )
            if key in (section := plan.sections.get(stage, {}))
        ]  # fmt: skip
        bits = ", beside weights in 4 bits" if plan.lora.is_quantized else ""
        adapters = f"adapters of rank {plan.lora.rank} learn{bits}"
        return ", ".join([f"{shape.num_parameters:,} weights of {self.base.text}", adapters, *steps])


def _pace(device: str, console: Console) -> Any:
    """Return a function that measures the tokens a second of a shape, and prints them."""
    from model.training import throughput

    def measured(shape: ModelConfig, batch: int, lora: LoRAParameters | None = None) -> float:
        adapted = {"lora": lora} if lora else {}
        found = throughput.measure_pace(shape, batch, device, TRIED_SECONDS, **adapted).tokens_per_second
        console.print(
            f"[dim]  {shape.num_layers} layers of width {shape.hidden_size}: {found:,.0f} tokens/s[/dim]",
            soft_wrap=True,
        )
        return found

    return measured
