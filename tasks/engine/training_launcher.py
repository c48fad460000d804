"""The start of a training from a stage: in a process group of its own, with plain arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.events import EventCallback
from model.training.devices import count_processes
from model.training.launcher import launch_training
from model.training.loop_config import LoopParameters


@dataclass(frozen=True)
class TrainingLauncher:
    """A callable that runs a `train` function of model/ for a stage and forwards its events."""

    out: Path
    on_event: EventCallback
    seed: int
    device: str
    processes: int

    def __call__(
        self, train: Callable[..., dict[str, Any]], parameters: LoopParameters, **inputs: Any
    ) -> dict[str, Any]:
        """Run `train` and return its metrics; the model is left in `out`, the log beside that folder.

        Args:
            train: A module-level function of model/.
            parameters: The parameters of the training.
            inputs: Folders and plain values.
        """
        arguments = {name: str(value) if isinstance(value, Path) else value for name, value in inputs.items()}
        return launch_training(
            train,
            {
                **arguments,
                "parameters": asdict(parameters),
                "folder": str(self.out),
                "seed": self.seed,
                "device": self.device,
            },
            # A small batch has fewer parts than the run has processes.
            processes=count_processes(self.device, self.processes, parameters.batch_parts),
            on_event=self.on_event,
            log=self.out.with_suffix(".log"),
        )
