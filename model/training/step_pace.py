"""The pace of a training's last steps, and how much of its core the training got in them."""

from __future__ import annotations

import time
from collections import deque

# Seconds of steps that the pace is the mean of.
WINDOW_SECONDS = 10.0
# Below this share of its core a process was kept waiting by other programs.
BUSY_SHARE = 0.75
# Seconds of steps from which a busy machine is told of: a short delay is nothing to act on.
TOLD_AFTER_SECONDS = 30.0


class StepPace:
    """The durations of the last steps. Call `begin_step` before each step and `end_step` after it."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque()
        self._wall = self._processor = 0.0
        self._began = (0.0, 0.0)
        self._waited = 0.0
        self._told = False

    def begin_step(self) -> None:
        """Note the time at which a step begins."""
        self._began = (time.monotonic(), time.process_time())

    def end_step(self) -> float:
        """Note the end of a step, and return its duration in seconds."""
        took = time.monotonic() - self._began[0]
        self.add_step(took, time.process_time() - self._began[1])
        return took

    def add_step(self, seconds: float, processor_seconds: float) -> None:
        """Add a step by its duration and the processor's time in it, both in seconds."""
        self._steps.append((seconds, processor_seconds))
        self._wall += seconds
        self._processor += processor_seconds
        while len(self._steps) > 1 and self._wall - self._steps[0][0] >= WINDOW_SECONDS:
            oldest = self._steps.popleft()
            self._wall -= oldest[0]
            self._processor -= oldest[1]
        busy = self._wall >= WINDOW_SECONDS and self.processor_share < BUSY_SHARE
        self._waited = self._waited + seconds if busy else 0.0

    @property
    def seconds_per_step(self) -> float:
        """Return the mean duration of the last steps; 0 before the first."""
        return self._wall / len(self._steps) if self._steps else 0.0

    @property
    def processor_share(self) -> float:
        """Return the share of one core that this process got in the last steps."""
        return self._processor / self._wall if self._wall else 1.0

    def busy_notice(self) -> str:
        """Return, once, the sentence that other programs slow this training down; else an empty text."""
        if self._told or self._waited < TOLD_AFTER_SECONDS:
            return ""
        self._told = True
        return (
            f"other programs use this machine: a training process gets {self.processor_share:.0%} of a core; "
            "the training goes on and gives the same result, only later"
        )
