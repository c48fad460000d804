"""Old names of commands and options."""

import re
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import flows.cli.main as program
from flows.cli.label import label
from flows.cli.old_names import OLD_COMMANDS, OLD_OPTIONS, OldNamesGroup, keep_backticks
from flows.cli.quarantine import quarantine
from model.errors import UserError


@pytest.fixture(scope="module")
def group() -> Any:
    """The whole command line, as `main` builds it."""
    app = program.typer.Typer(cls=OldNamesGroup)
    for name in ("approve", "lineage", "reproduce", "rollback", "withdraw", "explain"):
        app.command()(getattr(program, name))
    app.command("gc")(program.collect_garbage)
    app.command()(program.chat)
    app.add_typer(program.data, name="data")
    app.add_typer(quarantine, name="quarantine")
    return get_command(app)


def replaced(group: Any, *words: str) -> list[str]:
    return group._replace_old_names(None, list(words))


def test_old_options_map_to_present_options(group: Any) -> None:
    for command, options in OLD_OPTIONS.items():
        found = group
        for word in command.split():
            found = found.commands[word]
        present = {name for option in found.params for name in option.opts}
        assert set(options.values()) <= present and not present & options.keys()
    assert not {*OLD_COMMANDS} & {*group.commands} and {"explain", "gc"} <= {*group.commands}


@pytest.mark.parametrize(
    ("given", "wanted", "notices"),
    [
        ("why pretrain e85", "explain pretrain e85", 1),
        ("clean --keep-under 20GB --dry-run", "gc --max-size 20GB --dry-run", 2),
        ("clean --keep-under=20GB", "gc --max-size=20GB", 2),
        ("rollback press/3 -w rude --even-so", "rollback press/3 --reason rude --force", 2),
        ("rollback --reason --why", "rollback --reason --why", 0),
        ("rollback --why --why", "rollback --reason --why", 1),
        ("quarantine admit ab --by a --why b", "quarantine release ab --author a --reason b", 3),
        ("quarantine admit --fixed f.jsonl", "quarantine release --replacement f.jsonl", 2),
        ("quarantine show --most 5 --json", "quarantine show --limit 5 --json", 1),
        ("data diff --rows 3", "data diff --rows 3", 0),
        ("withdraw --rows ids.txt -a ann", "withdraw --ids-file ids.txt -a ann", 1),
        ("withdraw -- --rows", "withdraw -- --rows", 0),
        ("lineage --data 3f2a9c --json", "lineage --row 3f2a9c --json", 1),
        ("reproduce champion --keep", "reproduce champion --keep-worktree", 1),
        ("nothing --why", "nothing --why", 0),
        ("--help", "--help", 0),
    ],
)
def test_replace_old_names_prints_notice_for_each(
    group: Any, capsys: pytest.CaptureFixture[str], given: str, wanted: str, notices: int
) -> None:
    assert replaced(group, *given.split()) == wanted.split()
    said = capsys.readouterr()
    assert said.out == "" and said.err.count(" is now ") == notices


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("report", "there is no command 'report': each run writes its report to var/report.html"),
        ("linage", "there is no command 'linage'; did you mean lineage?"),
        ("withdrw", "there is no command 'withdrw'; did you mean withdraw?"),
        # Similar enough for difflib, but it would remove or replace something.
        ("withhold", "there is no command 'withhold'; `chatmill --help` lists"),
        ("rollout", "there is no command 'rollout'; `chatmill --help` lists"),
        ("zzz", "there is no command 'zzz'; `chatmill --help` lists"),
    ],
)
def test_resolve_command_unknown_word_suggests_no_risky_command(group: Any, word: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        group.main([word], standalone_mode=False)


def test_help_without_colours_shows_backticks() -> None:
    app = program.typer.Typer(cls=OldNamesGroup, rich_markup_mode="markdown")
    app.add_typer(label, name="label")
    app.add_typer(quarantine, name="quarantine")
    said = CliRunner().invoke(app, ["label", "--help"], env={"NO_COLOR": "1"}).output
    assert "`up` includes it." in " ".join(said.split())


def test_keep_backticks_twice_changes_nothing() -> None:
    app = program.typer.Typer(cls=OldNamesGroup)
    app.add_typer(label, name="label")
    command: Any = get_command(app)
    keep_backticks(command)
    once = command.commands["label"].help
    assert "`` `up` `` includes it." in once
    keep_backticks(command)
    assert command.commands["label"].help == once
