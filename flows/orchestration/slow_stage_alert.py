"""A stage that takes far longer than it did is told of while it goes on: perhaps it never ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from statistics import median
from threading import Event, Thread

from flows.orchestration.events import SLOW, emit_run_event
from flows.orchestration.progress import format_duration

_TIMES = 3.0
LEAST_SECONDS = 60.0


@contextmanager
def alert_when_slow(
    stage: str, preset: str, past: Callable[[], Sequence[float]], least: float = LEAST_SECONDS
) -> Iterator[None]:
    """Tells of a stage, once, when it goes on after `least` seconds and three times the median of its `past`.

    `past` gives the seconds that it took when it was made; it is asked after `least` seconds, so that a short
    stage costs nothing.
    """
    over = Event()
    # With the context of the flow run, which the event names.
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
        # A store that does not answer, of whatever kind: the stage goes on, and only this is not told.
        return
    if not found:
        return
    usual = median(found)
    if over.wait(_TIMES * usual):
        return
    took = f"{format_duration(least + _TIMES * usual)} and goes on"
    times = "once" if len(found) == 1 else f"{len(found)} times"
    says = (
        f"{stage} of {preset} has taken {took}; it took {format_duration(usual)} before "
        f"(median, made {times})"
    )
    emit_run_event(SLOW, preset, says, "Prefect's page shows how far it is; `chatmill why` what was changed")
