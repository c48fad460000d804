"""The terminal and logs: no character of a user's text controls them."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from flows.cli import lineage, models
from flows.cli.data import data
from flows.common.terminal import Console, VisibleRecord, escape_controls, one_line, wrap_words
from flows.orchestration.tracker import open_tracker
from model.errors import UserError
from tasks.deletion.plan import _explain_unknown_person
from tasks.dvc import versions
from tasks.engine.stage import StageOutput
from tests.flows.cli_runner import call, of
from tests.tasks.dvc_project import lay, texts

# Clear the screen; ring; copy to the clipboard; a false link; C1's CSI; write from right to left; begin the
# line again; a character of no width; the end of a string in C1; a tag character; a line separator.
ATTACKS = [
    "\x1b[2J\x1b[H", "\x07", "\x1b]52;c;ZXZpbA==\x07", "\x1b]8;;http://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "\x9b31m", "\u202eevil\u202c", "safe\rfalse", "\u2066x\u2069", "\x9c\x85", "\U000e0041", "a\u2028b",
    "\b\b\x7f", "\ufeffx", "\udc80", "a\u034fb", "x\u3164", "😀\U000e0158\U000e0155", "\u200d\u200c\u200c",
]  # fmt: skip
DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0041\u034f\u3164\U000e0155]|\u200c"
)
MARKUP = "[red]alarm[/red] [link=http://evil.example]x[/link] [/] :bug:"


def printed(*things: object, **options: object) -> str:
    console = Console(file=io.StringIO(), width=300, highlight=False, force_terminal=True, color_system=None)
    console.print(*things, **options)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_console_prints_no_control_characters(attack: str) -> None:
    table = Table(attack, "b")
    table.add_row(attack, Text(attack))
    tree = Tree(attack)
    tree.add(attack)
    for thing in (attack, Text(attack), table, tree, Panel(attack, title=attack), [attack], {"a": attack}):
        assert not DANGEROUS.search(printed(thing)), thing
    assert not DANGEROUS.search(printed(attack, soft_wrap=True))
    assert "\n" not in one_line(f"{attack}\nx") and not DANGEROUS.search(escape_controls(attack))


def test_escape_controls_keeps_text_of_any_language() -> None:
    for text in (
        "Größe, naïve, ñ", "日本語　全角", "می‌خواهم", "क्‍ष", "👩‍👩‍👧 ok", "العربية", "e\u0301",
        "a\tb\nc", "\u00a0x",
    ):  # fmt: skip
        assert escape_controls(text) == text
    assert ":bug:" in printed("a :bug: b")
    assert one_line(MARKUP) != MARKUP and MARKUP in printed(one_line(MARKUP))


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_visible_record_escapes_control_characters(attack: str) -> None:
    line = VisibleRecord("x", logging.INFO, "x.py", 1, "told %s", (attack,), None)
    assert not DANGEROUS.search(line.getMessage()) and line.getMessage().startswith("told ")
    try:
        raise ValueError(attack)
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
        record = VisibleRecord("x", logging.ERROR, "x.py", 1, "failed", (), info)
    assert not DANGEROUS.search(logging.Formatter("%(message)s").format(record))


def test_commands_use_only_this_console() -> None:
    flows = Path(__file__).parents[3] / "flows"
    others = [
        path.name
        for path in sorted(flows.rglob("*.py"))
        if re.search(
            r"from rich\.console import .*\bConsole\b|rich\.print|from rich import print",
            path.read_text("utf-8"),
        )
    ]
    assert others == ["terminal.py"]


@pytest.mark.parametrize("attack", [*ATTACKS, MARKUP], ids=ascii)
def test_models_prints_control_characters_and_markup_as_text(
    attack: str, registry_of_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(registry_of_one)
    tracker = open_tracker()
    attack = attack.encode("utf-8", "replace").decode()
    for tag in ("preset", "reason"):
        tracker.client.set_model_version_tag("chatmill", "1", tag, attack)
    tracker.client.set_model_version_tag("chatmill", "1", "figures", json.dumps({attack: 1.5}))
    said = call(of(models.models, models.rollback, lineage.lineage), "models", columns=900).output
    assert not DANGEROUS.search(said)
    if attack == MARKUP:
        # The preset and the figures; the champion's reason is that of its last move.
        assert said.count(MARKUP) == 2
    with pytest.raises(UserError) as failed:
        call(of(models.models, lineage.lineage), "models", attack)
    assert not DANGEROUS.search(escape_controls(str(failed.value)))


@pytest.fixture(scope="module")
def registry_of_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = open_tracker()
        run = tracker.client.create_run(tracker.experiment).info.run_id
        aligned = StageOutput("rlhf", "a", "", "a", False, 1.0, {}, run)
        metrics = {"passed": 1, "reason": "good", "score": 0.5}
        tracker.register(aligned, StageOutput("gate", "g", "", "g", False, 0.1, metrics))
    return root


def test_data_log_prints_control_characters_and_markup_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, *texts("one", "two"))
    versions.add_version(tmp_path, "", {"sources": "a", "rows": {"text": 2}})
    subject = "\x1b[31m\x07 \u202e " + MARKUP
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "data.dvc"], [*who, "commit", "-qm", subject]):
        subprocess.run(["git", *words], check=True)
    said = call(data, "log", columns=400).output
    assert not DANGEROUS.search(said) and MARKUP in said and "\\x1b[31m" in said
    for name in ("ann\x1b[2J", "ann\nchampion: version 9", "\u202enna"):
        told = _explain_unknown_person("ann", {name}, tmp_path)
        assert not DANGEROUS.search(told) and "\n" not in told


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("ab `c d e f g`; h", ["ab", "`c d e f g`;", "h"]),
        ("x 0.1 [0 to 1] y", ["x", "0.1 [0 to 1]", "y"]),
        ("longerthanten is", ["longerthanten", "is"]),
        ("日本語 日本語", ["日本語", "日本語"]),
        ("a\n\nb", ["a", "", "b"]),
        ("", [""]),
    ],
)
def test_wrap_words_breaks_between_words_alone(text: str, lines: list[str]) -> None:
    assert wrap_words(text, 10) == lines
