"""Test that words of the command line with line ends cannot forge a line of the output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.markup import escape

from flows.common.terminal import note_typed_words
from tests.flows.common.test_terminal import printed

FORGED = "a\x1b[31m\nerror: forged\tx"


@pytest.fixture(autouse=True)
def no_words() -> Iterator[None]:
    yield
    note_typed_words([])


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--config", FORGED, "--dry-run"],
        ["init", f"texts/{FORGED}"],
        ["data", "diff", FORGED],
        ["quarantine", "release", FORGED, "--author", "a", "--reason", "b"],
        ["config", "migrate", f"{FORGED}.yaml"],
        ["backup", f"nowhere/{FORGED}/x.tar"],
        ["chat", "--model", FORGED],
    ],
)
def test_main_typed_line_end_is_an_escape(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "configs").mkdir()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "chatmill"), *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 2 and r"a\x1b[31m\nerror: forged\tx" in said, said
    assert not any(line.startswith("error: forged") for line in said.splitlines()) and "\t" not in said


@pytest.mark.parametrize(
    ("typed", "text", "shown"),
    [
        ("a\nb.yaml", "a\nb.yaml is missing", r"a\nb.yaml is missing"),
        ("texts//a\nb/", "texts/a\nb: no file", r"texts/a\nb: no file"),
        ("--set=name=x\ty", "name is x\ty", r"name is x\ty"),
        ("a[b]\nc", "a[b]\nc here", r"a[b]\nc here"),
        ("plain", "two\nlines of\tours", "two\nlines of\tours"),
        ("\n", "two\nlines", "two\nlines"),
    ],
)
def test_note_typed_words_only_those_words_stay_on_one_line(typed: str, text: str, shown: str) -> None:
    note_typed_words(["run", typed])
    # A tab of ours is printed as spaces.
    assert printed(escape(text), soft_wrap=True).rstrip("\n") == shown.expandtabs()
