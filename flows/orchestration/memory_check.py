"""The check of the memory that a preset's trainings and its evaluation need, before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.orchestration.memory_estimates import StageMemory, estimate_stages
from model.errors import UserError
from model.training.available_memory import DeviceMemory, find_memory
from model.training.memory_errors import ways_to_save

if TYPE_CHECKING:
    from flows.config import Preset

# What a run holds beside the processes that train, in the same memory on a CPU: the flow with Prefect, MLflow
# and pandas, and the server of Prefect that a command starts. Measured with configs/smoke.yaml on
# x86-64: 0.65 GB that no other process shares, and 0.18 GB.
FLOW_BYTES = 800_000_000

# The trainings whose rows always fill the context. They need no labels.
FULL_ROWS = ("pretrain", "sft")


class MemoryCheck:
    """The memory of a preset's trainings beside that of the device. It is empty if a work pool trains."""

    def __init__(self, preset: Preset, root: Path, device: str, memory: DeviceMemory | None = None) -> None:
        """Estimate the memory of each training.

        Args:
            preset: The preset.
            root: The project's folder, with the base model if there is one.
            device: "cpu" or "cuda".
            memory: The memory of the device; None: that of this machine's.
        """
        self.preset, self.device = preset, device
        # The hosts of a work pool have other devices.
        elsewhere = bool(preset.execution.gpu_work_pool)
        self.stages = [] if elsewhere else estimate_stages(preset, root, device)
        if device == "cpu":
            self.stages = [
                StageMemory(stage.section, stage.needed + FLOW_BYTES, stage.least + FLOW_BYTES)
                for stage in self.stages
            ]
        processes = preset.training_processes(device)
        self.memory = memory or (DeviceMemory(0, 0) if elsewhere else find_memory(device, processes))

    def describe(self, sections: Collection[str] | None = None) -> str:
        """Return one line: the training that needs the most memory, and what the device has.

        Args:
            sections: The trainings that a run reaches; None: all.
        """
        reached = [stage for stage in self.stages if sections is None or stage.section in sections]
        if not reached:
            return ""
        memory, largest = self.memory, max(reached, key=lambda stage: stage.needed)
        up_to = "" if self._is_exact(largest) else "up to "
        where = "of each GPU" if self.device == "cuda" else "on this machine"
        there = f"{_gigabytes(memory.total)} {where}" if memory.total else "an unknown amount is there"
        if memory.free:
            there = f"{_gigabytes(memory.free)} of {there} are free"
        return f"memory: {largest.section} needs the most, {up_to}{_gigabytes(largest.needed)}; {there}"

    def find_shortages(self, labels: bool) -> list[str]:
        """Return a sentence for each training that may have too little memory, with the keys to lower.

        Args:
            labels: Whether to look at the trainings that need labels, or at those that need none.

        Raises:
            UserError: The whole device has less memory than a training needs.
        """
        chosen = [stage for stage in self.stages if (stage.section in FULL_ROWS) != labels]
        return [said for stage in chosen if (said := self._describe_shortage(stage))]

    def _is_exact(self, stage: StageMemory) -> bool:
        """Return whether a training needs as much as is estimated, and not less."""
        # A GPU's trainings are compiled, which keeps fewer tensors: 32 GB of 45 GB for configs/gpu.yaml. How
        # long the rows of other trainings are, only the data says.
        return self.device == "cpu" and stage.section in FULL_ROWS

    def _describe_shortage(self, stage: StageMemory) -> str:
        memory, settings = self.memory, _keys(self.preset, stage.section)
        what = "the GPU" if self.device == "cuda" else "this machine"
        exact = self._is_exact(stage)
        certain = stage.needed if exact else stage.least
        whole, limit = memory.total + memory.swap, memory.free or memory.total
        if memory.total and certain > whole:
            ways = ways_to_save(stage.section, settings, of_weights=stage.least > whole)
            raise UserError(
                f"{stage.section} needs {_gigabytes(certain)} of memory, and {what} has "
                f"{_gigabytes(whole)}: {'; '.join(ways)}"
            )
        if not limit or stage.needed <= limit:
            return ""
        ways = ways_to_save(stage.section, settings, of_weights=stage.least > limit)
        if memory.total >= stage.needed:
            ways = ["end other programs", *ways]
        texts = "" if stage.section in FULL_ROWS else ", if its texts fill the context,"
        needs = "needs" if exact else f"may need{texts}"
        there = f"{_gigabytes(limit)} are free now" if memory.free else f"{what} has {_gigabytes(limit)}"
        return f"{stage.section} {needs} {_gigabytes(stage.needed)} of memory, and {there}: {'; '.join(ways)}"


def _keys(preset: Preset, section: str) -> dict[str, Any]:
    """Return the keys of a section such as `sft` or `rlhf.dpo`."""
    name, _, inner = section.partition(".")
    keys: dict[str, Any] = asdict(getattr(preset, name))
    found: dict[str, Any] = keys[inner] if inner else keys
    return found


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
