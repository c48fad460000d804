"""The wait for what another process does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import waiting
from tests.waiting import until


def test_until_condition_that_comes_to_hold_ends_the_wait() -> None:
    left = [False, False, True]
    until(lambda: left.pop(0), "the third look")
    assert not left


@pytest.mark.parametrize("code", [0, 1, 7])
def test_until_ended_process_is_told_with_its_output(tmp_path: Path, code: int) -> None:
    log = tmp_path / "server.log"
    with log.open("wb") as out:
        words = [sys.executable, "-c", f"print('no port'); raise SystemExit({code})"]
        process = subprocess.Popen(words, stdout=out)
    said = f"the start did not happen; its process ended with {code}: no port"
    with pytest.raises(RuntimeError, match=said):
        until(lambda: False, "the start", process, log)


def test_until_condition_that_never_holds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.1)
    with pytest.raises(RuntimeError, match=r"the start did not happen within 0 s"):
        until(lambda: False, "the start")
