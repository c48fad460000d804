"""The pace of the last steps, and the notice of a busy machine."""

from __future__ import annotations

import pytest

from model.training.step_pace import TOLD_AFTER_SECONDS, WINDOW_SECONDS, StepPace


def test_seconds_per_step_is_that_of_the_last_steps() -> None:
    pace = StepPace()
    assert pace.seconds_per_step == 0
    for _ in range(100):
        pace.add_step(1.0, 1.0)
    assert pace.seconds_per_step == pytest.approx(1.0)
    for _ in range(int(2 * WINDOW_SECONDS)):
        pace.add_step(0.5, 0.5)
    assert pace.seconds_per_step == pytest.approx(0.5)
    pace.add_step(60.0, 60.0)
    assert pace.seconds_per_step == pytest.approx(60.0), "one long step is a window of its own"


@pytest.mark.parametrize(("share", "told"), [(1.0, 0), (0.9, 0), (0.5, 1), (0.1, 1)])
def test_busy_notice_comes_once_if_other_programs_take_the_core(share: float, told: int) -> None:
    pace = StepPace()
    said = []
    for _ in range(1000):
        pace.add_step(0.2, 0.2 * share)
        said.append(pace.busy_notice())
    notices = [(number, text) for number, text in enumerate(said) if text]
    assert len(notices) == told
    if told:
        number, text = notices[0]
        assert f"{share:.0%} of a core" in text
        assert TOLD_AFTER_SECONDS <= 0.2 * number <= TOLD_AFTER_SECONDS + 2 * WINDOW_SECONDS


def test_busy_notice_is_not_given_for_short_delays() -> None:
    pace = StepPace()
    for number in range(1000):
        busy = number % 200 < 60
        pace.add_step(0.2, 0.05 if busy else 0.2)
        assert not pace.busy_notice()


def test_begin_and_end_step_measure_both_clocks() -> None:
    pace = StepPace()
    pace.begin_step()
    took = pace.end_step()
    assert took >= 0 and pace.seconds_per_step == took
