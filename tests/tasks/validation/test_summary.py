"""Test runs that publish the results of their validation at the same moment."""

from __future__ import annotations

import threading
from pathlib import Path

from tasks.project.data_folder import foreign_quarantine
from tasks.project.paths import DATA_DOCS
from tasks.validation.summary import Findings, publish_findings

ROUNDS = 20


def _validated(root: Path, number: int) -> tuple[Findings, Path]:
    out = root / f"out-{number}"
    for kind in ("text", "pairs", "ratings"):
        (out / "quarantine" / kind).mkdir(parents=True)
        (out / "quarantine" / kind / "00000.jsonl").write_text("{}\n" * 100 * number)
    (out / "data_docs").mkdir()
    (out / "data_docs" / "text.html").write_text(str(number))
    findings = Findings()
    findings.rules["text", "empty"] = number
    return findings, out


def test_publish_findings_several_runs_at_once_succeed(tmp_path: Path) -> None:
    validated = [_validated(tmp_path, number) for number in (1, 2, 3)]
    errors: list[BaseException] = []
    over = threading.Event()

    def publish(number: int) -> None:
        try:
            for _ in range(ROUNDS):
                findings, out = validated[number]
                publish_findings(findings, {}, out, tmp_path, lambda event: None)
        except BaseException as error:
            errors.append(error)

    def look() -> None:
        try:
            while not over.is_set():
                assert foreign_quarantine(tmp_path / "data") == []
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(3)]
    reader = threading.Thread(target=look)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    reader.join()
    assert errors == []
    assert (tmp_path / DATA_DOCS / "text.html").read_text() in "123"
