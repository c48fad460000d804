"""The request to stop a training, and the end of a step that is not finished."""

from __future__ import annotations

from dataclasses import dataclass

from model.training.process_group import ProcessGroup


class StepAbandoned(Exception):
    """The end of a step in its middle, as the training was asked to stop. The weights are those before it."""


@dataclass
class StopRequest:
    """Whether a signal asked the training to stop; a long step looks at it between its micro-batches."""

    asked: bool = False

    def abandon_step(self, world: ProcessGroup, together: bool = False) -> None:
        """Raise StepAbandoned if a stop was asked for.

        Args:
            world: The processes of the training. One of several must not leave a step that the others go on
                with, so with several processes only a call with `together` does anything.
            together: Whether all processes call this at the same place.
        """
        if (world.size == 1 or together) and world.any_process(self.asked):
            raise StepAbandoned
