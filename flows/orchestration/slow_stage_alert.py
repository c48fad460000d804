"""An alert while a stage takes far longer than it did before: it may never end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from statistics import median
from threading import Event, Thread

from flows.orchestration.events import SLOW, emit_run_event
from flows.orchestration.progress import format_duration

SLOW_FACTOR = 3.0
MIN_SECONDS = 60.0


@contextmanager
def alert_when_slow(
    stage: str, preset: str, past: Callable[[], Sequence[float]], least: float = MIN_SECONDS
) -> Iterator[None]:
    """Send an event, once, if a stage still runs after `least` seconds plus three times its usual duration.

    Args:
        stage: The stage's name.
        preset: The preset's name.
        past: Returns the seconds that the stage took in past runs. It is called after `least` seconds, so
            that a short stage costs nothing.
        least: Seconds before the past is looked up.
    """
    over = Event()
    # The thread gets the flow run's context, as the event names the run.
    watch = partial(copy_context().run, _wait_and_alert, over, stage, preset, past, least)
    Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _wait_and_alert(
    over: Event, stage: str, preset: str, past: Callable[[], Sequence[float]], least: float
) -> None:
    if over.wait(least):
        return
    try:
        found = past()
    except Exception:
        # Whatever the store raises, the stage must run on; only the alert is lost.
        return
    if not found:
        return
    usual = median(found)
    if over.wait(SLOW_FACTOR * usual):
        return
    took = f"{format_duration(least + SLOW_FACTOR * usual)} so far"
    times = "once" if len(found) == 1 else f"{len(found)} times"
    says = f"{stage} of {preset} has taken {took}; its median is {format_duration(usual)} (computed {times})"
    emit_run_event(
        SLOW, preset, says, "Prefect's page shows its progress; `chatmill explain` shows what changed"
    )
