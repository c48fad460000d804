"""`chatmill quarantine`: list, show and release rows."""

from __future__ import annotations

import dataclasses
import json
from operator import itemgetter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.quarantine import _describe_row, quarantine
from model.errors import UserError
from tasks.data.records import Record, comparison_row, fault_row, pair_row, rating_row, text_row
from tasks.validation.exact_dedup import CONTRADICTS
from tasks.validation.expectations import ACROSS, READABLE
from tasks.validation.quarantine import read_releases
from tests.flows.cli_runner import call, print_as_in_terminal


def invoke(*words: str) -> tuple[str, str]:
    """Return what was printed on stdout and on stderr."""
    done = call(quarantine, *words)
    return done.stdout, done.stderr


def say(*words: str) -> str:
    return "".join(invoke(*words))


def lay(root: Path, kind: str, *rows: dict) -> None:
    folder = root / "data" / "quarantine" / kind
    folder.mkdir(parents=True)
    (folder / "00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Set two texts and a pair aside in a project, and return their ids."""
    monkeypatch.chdir(tmp_path)
    texts = [
        dataclasses.asdict(text_row(text, source))
        for text, source in (("[b]\x1b[2J", "tales"), ("x", "notes"))
    ]
    pair = dataclasses.asdict(pair_row("Why?", "So " * 200, "chat", "g"))
    where = "texts/a.txt, line"
    lay(
        tmp_path, "text",
        {**texts[0], "rule": "text is printable", "where": f"{where} 3", "value": "\x1b"},
        {**texts[1], "rule": "text has a fit length", "where": f"{where} 7", "value": 1},
    )  # fmt: skip
    lay(
        tmp_path,
        "pairs",
        {**pair, "rule": "completion has a fit length", "where": "c.csv, row 2", "value": 600},
    )
    return [row["id"] for row in (*texts, pair)]


def test_quarantine_list_empty_project_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert say("list") == "no rows are quarantined\n"
    assert say("show") == "no rows are quarantined\n"
    assert "no rows are released in configs/admitted.jsonl" in say("show", "--released")
    assert list(tmp_path.iterdir()) == []


def test_quarantine_list_counts_by_rule_and_source(ids: list[str]) -> None:
    head, *lines = say("list").splitlines()
    assert " ".join(head.split()) == "kind what is wrong source rows released for example"
    assert [line.split()[:1] for line in lines[:3]] == [["text"], ["text"], ["pairs"]]
    printable = next(line for line in lines if "cannot be printed" in line)
    assert printable.split()[9:] == ["tales", "1", ids[0], r"[b]\x1b[2J"]
    assert "chatmill quarantine show WORDS" in lines[-1]


def test_quarantine_list_in_a_terminal_is_a_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {**dataclasses.asdict(text_row(f"text {n} of a source " * 9, f"s{n % 12}")), "rule": f"rule {n % 11}"}
        for n in range(132)
    ]
    rows.append({**dataclasses.asdict(text_row("one more", "s0")), "rule": "rule 3"})
    lay(tmp_path, "text", *({**row, "where": "a.txt, line 1", "value": ""} for row in rows))
    whole = say("list")
    print_as_in_terminal(monkeypatch)
    said = call(quarantine, "list", columns=80).stdout
    lines = said.splitlines()
    assert lines[0] == "quarantined: 133 texts"
    # The most frequent first, five of them with an example.
    assert lines[1] == "  13 texts  rule 3" and lines[2].split()[0] in {row["id"] for row in rows}
    assert len([line for line in lines if " texts  rule" in line]) == 10
    assert len([line for line in lines if "of a source" in line]) == 5
    at = next(n for n, line in enumerate(lines) if line.startswith("by source: s0 12, "))
    assert lines[at].endswith("and 2 more")
    assert lines[at + 1] == "1 more rule; `chatmill quarantine list --all` counts by rule and source"
    assert max(map(len, lines[:at])) <= 80 and len(lines) < 25
    assert say("list", "--all") == whole and len(whole.splitlines()) == 1 + 132 + 1


def test_quarantine_show_prints_place_value_and_text_of_each_row(ids: list[str]) -> None:
    said = say("show").splitlines()
    at = said.index("text  tales  the text has characters that cannot be printed")
    assert said[at + 1 : at + 3] == [rf"  {ids[0]}  texts/a.txt, line 3: \x1b", r"    [b]\x1b[2J"]
    assert said[6:8] == [
        "pairs  chat  the completion is empty, too short or too long",
        f"  {ids[2]}  c.csv, row 2: 600",
    ]
    assert said[8].startswith("    Why? → So So") and len(said[8]) == 204 and said[8].endswith("…")
    assert "--author YOU --reason TEXT" in said[-1]


def test_quarantine_show_says_what_rows_share_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    broken = [
        {**dataclasses.asdict(fault_row("text", "notes", f"a.jsonl, line {line}", says)), "rule": READABLE}
        | {"where": f"a.jsonl, line {line}", "value": says}
        for line in range(1, 5)
        for says in [f"a.jsonl, line {line}: no text here" if line < 4 else "not JSON"]
    ]
    empty = {**dataclasses.asdict(text_row(" ", "notes")), "rule": "text has a fit length"}
    lay(tmp_path, "text", *broken, {**empty, "where": "b.txt", "value": " "})
    said = say("show").splitlines()[:-1]
    assert sorted(line for line in said if line.startswith("text")) == [
        "text  notes  the row cannot be read: no text here",
        "text  notes  the row cannot be read: not JSON",
        "text  notes  the text is empty",
    ]
    # Each row has its id and place, and nothing of what is said above them.
    for line, row in enumerate(broken, 1):
        assert f"  {row['id']}  a.jsonl, line {line}" in said
    assert len([line for line in said if line.strip()]) == 3 + 5


def test_quarantine_show_filters_by_rule_and_source(ids: list[str]) -> None:
    assert ids[0] in say("show", "text is printable") and ids[1] not in say("show", "text is printable")
    part = say("show", "FIT LENGTH")
    assert ids[1] in part and ids[2] in part and ids[0] not in part
    assert ids[2] not in say("show", "fit length", "--source", "notes")
    assert "no rows are quarantined for this rule and source" in say("show", "printable", "--source", "notes")
    assert "2 more: `--limit 0`" in say("show", "--limit", "1")
    assert "more" not in say("show", "--limit", "0")
    assert ids[0] in say("show", "the text has characters that cannot be printed")
    assert ids[1] in say("show", "too SHORT") and ids[0] not in say("show", "too SHORT")
    with pytest.raises(UserError, match=r"did you mean text is printable"):
        say("show", "text is prinatble")
    with pytest.raises(UserError, match=r"there are chat, notes, tales"):
        say("show", "--source", "tale")


def test_quarantine_release_is_listed_with_person_and_reason(tmp_path: Path, ids: list[str]) -> None:
    said = say("release", ids[0][:6], ids[1], "--author", "Ann", "--reason", "a [red]poem")
    assert "2 rows released, exempt from every rule; recorded in configs/admitted.jsonl" in said
    assert "`chatmill run` reads them" in said
    assert read_releases(tmp_path).keys() == set(ids[:2])
    listed = say("list")
    assert "2 rows released by Ann in configs/admitted.jsonl" in listed
    assert "`chatmill run` reads the 2 rows released since" in listed
    assert say("show").count("released\n") == 2
    told = say("show", "--released")
    assert ids[0] in told and ids[1] in told and "Ann  as it is" in told and "a [red]poem" in told
    assert "1 more: `--limit 0`" in say("show", "--released", "--limit", "1")
    with pytest.raises(UserError, match="--released cannot be combined with"):
        say("show", "text", "--released")


def test_quarantine_release_replacement_replaces_text(tmp_path: Path, ids: list[str]) -> None:
    lines, notes = invoke("show", "printable", "--json")
    assert "--replacement FILE" in notes
    row = json.loads(lines)
    assert (row["id"], row["value"]) == (ids[0], "\x1b")
    Path("edited.jsonl").write_text(json.dumps({**row, "text": "A tale."}) + "\n")
    said = say("release", "--replacement", "edited.jsonl", "--author", "Ann", "--reason", "escapes taken out")
    assert "1 row released, edited" in said and "reads it" in said
    wanted = {name: row[name] for name in ("id", "source", "fault")} | {"text": "A tale."}
    wanted["group"] = text_row("A tale.", "").group
    assert read_releases(tmp_path)[ids[0]].row == wanted
    assert "A tale." in say("show", "--released")


def test_quarantine_release_without_person_reason_or_known_id_is_refused(
    tmp_path: Path, ids: list[str]
) -> None:
    done = CliRunner().invoke(quarantine, ["release", ids[0], "--reason", "so"])
    assert done.exit_code == 2 and "--author" in done.output
    with pytest.raises(UserError, match="reason is empty"):
        say("release", ids[0], "--author", "Ann", "--reason", "")
    with pytest.raises(UserError, match="nothing is not quarantined"):
        say("release", "nothing", "--author", "Ann", "--reason", "so")
    assert not (tmp_path / "configs").exists()


def test_quarantine_release_with_config_uses_file_of_preset(tmp_path: Path, ids: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndata: {sources: [{name: a, files: x, format: rows}]}\n"
        "validate: {overrides_file: mine.jsonl}\n"
    )
    said = say("release", ids[0], "--author", "Ann", "--reason", "so", "-c", "mine.yaml")
    assert "recorded in mine.jsonl" in said and "`chatmill run --config mine.yaml` reads it" in said
    assert read_releases(tmp_path, "mine.jsonl").keys() == {ids[0]}
    assert "1 row released by Ann in mine.jsonl" in say("list", "-c", "mine.yaml")


@pytest.mark.parametrize("kind", ["text", "choice", "scores"])
def test_describe_row_of_unreadable_row_is_its_fault(kind: str) -> None:
    fault = "a.csv, row 3: completion is null; expected a text"
    assert _describe_row({"prompt": "", kind: "", "fault": fault}) == fault


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("comparisons", comparison_row("p", "x", "y", "a", "tone", "ana", "s", "g"), "    by ana"),
        (
            "comparisons",
            comparison_row("p", "x", "y", "b", "tone", "bo [x]", "s", "g", (), "2026-01-21T14:03:09Z"),
            "    by bo [x], 2026-01-21 14:03",
        ),
        (
            "comparisons",
            comparison_row("p", "x", "y", "a", "tone", "unknown-2", "s", "g"),
            "    by somebody without a name",
        ),
        (
            "ratings",
            rating_row("p", "z", [4.0, -1.5], ["ana", "bo"], "tone", "s", "g", (), ["2026-01-02", ""]),
            "    4 by ana, 2026-01-02; -1.5 by bo",
        ),
        ("ratings", rating_row("p", "z", [1.0], [], "tone", "s", "g"), "    1 by somebody without a name"),
    ],
)
def test_quarantine_show_names_who_gave_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, row: Record, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, kind, {**dataclasses.asdict(row), "rule": "r", "where": "a.csv, line 2", "value": None})
    assert say("show").splitlines()[2] == said


@pytest.mark.parametrize("limit", ["0", "4", "2"])
def test_quarantine_show_contradictions_of_one_person_stand_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        comparison_row(prompt, "x", "y", choice, "tone", person, "s", "g")
        for choice in ("a", "b")
        for prompt in ("p", "q")
        for person in ("ana", "bo")
    ]
    broken = {"rule": ACROSS[CONTRADICTS], "where": "a.csv, line 2", "value": None}
    found = sorted((dataclasses.asdict(row) for row in rows), key=itemgetter("id"))
    lay(tmp_path, "comparisons", *({**row, **broken} for row in found))
    said = invoke("show", "disagree", "--limit", limit)[0].splitlines()
    asked = [f"{who.strip()} {text.strip()[:1]}" for who, text in zip(said[2::3], said[3::3], strict=True)]
    assert len(asked) == (int(limit) or 8) and asked[::2] == asked[1::2]
    assert len(set(asked)) == len(asked) // 2
