"""The limits on attempts to sign in."""

from __future__ import annotations

from flows.servers.label_page.login_attempts import LoginAttempts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_login_attempts_waits_grow_up_to_a_minute() -> None:
    clock = Clock()
    attempts = LoginAttempts(clock)
    waits = []
    for _ in range(12):
        while wait := attempts.begin("Anna", "1.2.3.4"):
            waits.append(wait)
            clock.now += wait
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_login_attempts_success_forgets_the_failures() -> None:
    attempts = LoginAttempts(Clock())
    for _ in range(100):
        assert attempts.begin("Anna", "1.2.3.4") == 0
        attempts.succeed("Anna", "1.2.3.4")


def test_login_attempts_many_names_from_one_address_wait_and_others_do_not() -> None:
    attempts = LoginAttempts(Clock())
    for number in range(20):
        assert attempts.begin(f"name {number}", "1.2.3.4") == 0
    assert attempts.begin("another", "1.2.3.4") > 0
    assert attempts.begin("another", "5.6.7.8") == 0


def test_login_attempts_stranger_keeps_a_person_out_for_seconds_at_most() -> None:
    attempts = LoginAttempts(Clock())
    for number in range(30):
        assert attempts.begin("Anna", f"10.0.0.{number}") == 0
    assert 0 < attempts.begin("Anna", "192.168.0.1") <= 5


def test_login_attempts_are_forgotten_when_there_are_too_many() -> None:
    clock = Clock()
    attempts = LoginAttempts(clock)
    # Each adds three entries.
    for number in range(5_000):
        clock.now += 1
        attempts.begin(f"name {number}", f"address {number}")
    assert len(attempts._failures) <= 10_003
