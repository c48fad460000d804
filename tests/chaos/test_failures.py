"""Test that the chaos program keeps the folder of a chain with a fault, and shows the ends of its logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chain import Chain
from tests.chaos.failures import MARK, SHOWN_LINES, remove_faultless, show_failure


def _chain_folder(root: Path, **logs: str) -> Path:
    (root / "var" / "logs").mkdir(parents=True)
    for name, text in logs.items():
        (root / f"{name}.log").write_text(text)
    (root / "var" / "logs" / "20260101-000000.log").write_text("Traceback\nKeyError: 'stage'\n")
    return root


def test_show_failure_prints_ends_of_all_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "".join(f"line {number}\n" for number in range(100))
    root = _chain_folder(tmp_path / "two-at-once", chain=lines, beside="the other one\n")
    show_failure(root, ["the chain ended with code 1"])
    said = capsys.readouterr().out
    for part in (
        "the chain ended with code 1",
        "line 99",
        "the other one",
        "KeyError: 'stage'",
        f"{root} is kept",
    ):
        assert part in said, part
    assert f"line {99 - SHOWN_LINES}\n" not in said
    assert (root / MARK).read_text() == "the chain ended with code 1\n"


def test_remove_faultless_keeps_faulty_and_unbroken_folder(tmp_path: Path) -> None:
    for name in ("unbroken", "round-1", "disk-full", "two-at-once"):
        _chain_folder(tmp_path / "all" / name, chain="")
    show_failure(tmp_path / "all" / "two-at-once", ["2 models were made"])
    remove_faultless(tmp_path / "all", tmp_path / "all" / "unbroken")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["two-at-once", "unbroken"]


def test_remove_faultless_without_fault_keeps_nothing(tmp_path: Path) -> None:
    for name in ("unbroken", "round-1"):
        _chain_folder(tmp_path / "all" / name, chain="")
    remove_faultless(tmp_path / "all", tmp_path / "all" / "unbroken")
    assert not (tmp_path / "all").exists()


def test_stop_ends_running_chain(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "chain")
    chain.start()
    assert not chain.ended()
    chain.stop()
    assert chain.ended()
    assert not chain.whole()
