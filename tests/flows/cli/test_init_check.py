"""`chatmill init`: its check of the rows before it recommends the preset."""

from __future__ import annotations

import json
import random
import re
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from flows.cli import init
from flows.cli.ingest_preview import print_preview
from flows.cli.main import app
from flows.config import read_preset
from model.errors import UserError
from model.events import ignore_event
from tasks.data.splits import LEAST_TEST_PROMPTS
from tasks.ingest import ingest
from tasks.onboarding import source_proposal
from tests.example_project import write_jsonl, write_texts
from tests.flows.cli.test_init import propose, run_first_stages
from tests.flows.cli_runner import call


def comparison_row(number: int, annotator: str, choice: str) -> dict[str, str]:
    asked = {"prompt": f"Which is better, {number}?", "a": f"The mill {number}.", "b": f"The stone {number}."}
    return {**asked, "choice": choice, "annotator": annotator}


def test_propose_preset_doubtful_labels_raise_quarantine_and_are_named(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [comparison_row(n, "ana" if n % 2 else "ben", "ab"[n % 2]) for n in range(150)]
    twice = [comparison_row(n, "ben", "b") for n in range(0, 16, 2)]
    write_jsonl(sample / "mine" / "press" / "labels.jsonl", *rows, *twice)
    path = propose(checked=True)
    said, text = " ".join(capsys.readouterr().out.split()), path.read_text()
    assert (
        "validate.max_bad_fraction is 0.13, so that a run continues without these rows: 16 comparisons"
        in said
    )
    wrong = "one person gave different verdicts on the same answers"
    assert f"# A run goes on without these rows: 16 comparisons: {wrong}" in text
    preset = read_preset(path)
    assert preset.validation.max_bad_fraction == 0.13
    print_preview(preset, sample, Console(file=StringIO()), whole=True)
    assert not list(sample.glob("data*")) and not (sample / "var").exists()


LATE_ROWS = {
    "a verdict": (
        {"prompt": "What is it?", "completion": "A mill.", "reply_quality": "rejected"},
        "reply_quality",
    ),
    "a passage": ({"prompt": "What?", "completion": "A mill.", "passage": "The mill is old."}, "passage"),
    "a text of turns": ({"text": "### Human: What is it?### Assistant: A mill."}, "a conversation that was"),
}


@pytest.mark.parametrize("kind", LATE_ROWS)
def test_propose_preset_key_beyond_the_read_part_stops_the_dry_run_and_ingestion(
    sample: Path,
    steady_pace: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    row, says = LATE_ROWS[kind]
    many = [{"prompt": f"What is mill {n}?", "completion": f"A mill of {n} stones."} for n in range(3000)]
    write_jsonl(sample / "mine" / "press" / "late.jsonl", *many, row)
    size = (sample / "mine" / "press" / "late.jsonl").stat().st_size
    monkeypatch.setattr(source_proposal, "READ", size // 2)
    monkeypatch.setattr(init, "CHECKED", size // 2)
    path = propose(checked=True)
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"init read 0\.\d of 0\.\d MB, and not all of press: a key or a row in the rest", said)
    preset = read_preset(path)
    with pytest.raises(UserError, match=says) as previewed:
        print_preview(preset, sample, Console(file=StringIO()))
    with pytest.raises(UserError) as ingested:
        ingest(preset.data, out=sample / "out", on_event=ignore_event, root=sample)
    assert str(ingested.value) == str(previewed.value)


def test_propose_preset_mostly_bad_rows_writes_preset_and_reports_refusal(
    sample: Path, steady_pace: None
) -> None:
    rows = [comparison_row(n, "ana", choice) for n in range(20) for choice in "ab"]
    write_jsonl(sample / "mine" / "press" / "labels.jsonl", *rows)
    with pytest.raises(UserError, match=r"configs/mine.yaml is written, but .* would stop: .* 40 of 40 comp"):
        propose(checked=True)
    preset = read_preset(sample / "configs" / "mine.yaml")
    assert preset.validation.max_bad_fraction == 0.02
    with pytest.raises(UserError, match="the data was rejected before any training: 40 of 40 comparisons"):
        print_preview(preset, sample, Console(file=StringIO()))


UNEXPLAINED_ROWS = {
    "a verdict in words": ({"prompt": "What is it?", "completion": "A mill."}, {"reply_quality": "meh"}),
    "classes beside a text": ({"text": "The mill turns under the bridge."}, {"labels": [0, 2]}),
    "a mask in a turn": (
        {"messages": [
            {"role": "user", "content": "What is it?"},
            {"role": "assistant", "content": "A mill.", "supervise": "half"},
        ]},
        {},
    ),
    "a key with brackets": (
        {"instruction": "What is it?", "output": "A mill."}, {"meta": {"votes [up]: #1": 3}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(UNEXPLAINED_ROWS))
@pytest.mark.parametrize("texts", [True, False])
def test_propose_preset_unexplained_key_stops_like_dry_run(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str], name: str, texts: bool
) -> None:
    """Init gives the same error as a dry run of the preset that it writes."""
    row, more = UNEXPLAINED_ROWS[name]
    asked = [{**row, **more, "origin": f"page {n}"} for n in range(9)]
    # The proposed answer may drop all rows with the key, so one row without it is added.
    other = json.loads(json.dumps(row).replace("mill", "barn").replace("supervise", "masked"))
    write_jsonl(sample / "own" / "a.jsonl", *asked, json.loads(json.dumps(other).replace('"half"', "false")))
    if texts:
        write_texts(sample / "own" / "texts", random.Random(3))
    with pytest.raises(UserError, match="looks like a ") as error:
        init.propose_preset(sample / "own", "mine", 5, "cpu", False)
    said = capsys.readouterr().out
    assert "unused keys: " in said and "origin (9, as 'page 0')" in said
    assert "not read" not in said
    if not texts:
        # No preset can be made without enough text, but the question is asked too.
        first, _, later = str(error.value).partition("\nno preset is written yet")
        assert "text" in first and "\nsource a: own/a.jsonl, line 1: the key " in later
        return
    path = sample / "configs" / "mine.yaml"
    with pytest.raises(UserError) as dry:
        print_preview(read_preset(path), sample, Console(file=StringIO()))
    refused = f"configs/mine.yaml is written, but a run with it would stop: {dry.value}"
    assert str(error.value) == refused
    # The proposal in the comment is valid YAML and, completed, answers the question.
    text = path.read_text()
    found = re.search(r"# (fields: {.*})", text)
    assert found
    preset = yaml.safe_load(text)
    source = next(one for one in preset["data"]["sources"] if one["name"] == "a")
    # "..." stands where only the user knows the meaning of a word.
    source.update(yaml.safe_load(re.sub(r"""["']?\.\.\.["']?""", "ignore", found[1])))
    path.write_text(yaml.safe_dump(preset))
    print_preview(read_preset(path), sample, Console(file=StringIO()))


def test_propose_preset_unchecked_stops_at_unexplained_key(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"What {n}?", "completion": f"It {n}.", "spam_votes": n} for n in range(40)]
    write_jsonl(sample / "own" / "a.jsonl", *rows)
    write_texts(sample / "own" / "texts", random.Random(3))
    with pytest.raises(UserError, match=r"the key spam_votes is .* and looks like a verdict"):
        init.propose_preset(sample / "own", "mine", 5, "cpu", False, checked=False)
    assert "source a: keys whose meaning must be set: spam_votes (40, as 0)" in capsys.readouterr().out
    assert (sample / "configs" / "mine.yaml").exists()


def test_propose_preset_one_group_for_all_pairs_is_noted(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n}.", "group": "b"} for n in range(60)]
    write_jsonl(sample / "mine" / "pairs.jsonl", *rows)
    with pytest.raises(UserError) as error:
        propose(checked=True)
    said = " ".join(f"{capsys.readouterr().out} {error.value}".split())
    assert "all 60 pairs are of one group ('b')" in said and 'columns: {group: ""}' in said


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "there are no pairs"),
        ([{"prompt": f"What {n}?", "completion": f"It {n}."} for n in range(60)], "there are no labels"),
    ],
)  # fmt: skip
def test_propose_preset_data_for_a_part_of_a_run_stops_like_dry_run(
    sample: Path,
    steady_pace: None,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, str]],
    reason: str,
) -> None:
    write_texts(sample / "own" / "texts", random.Random(3))
    if rows:
        write_jsonl(sample / "own" / "a.jsonl", *rows)
    with pytest.raises(UserError) as error:
        init.propose_preset(sample / "own", "mine", 5, "cpu", False)
    said = " ".join(capsys.readouterr().out.split())
    reached = ("pretrain", "sft") if rows else ("pretrain",)
    assert re.search(rf"memory: ({'|'.join(reached)}) needs the most", said)
    later = print_preview(read_preset(sample / "configs" / "mine.yaml"), sample, Console(file=StringIO()))
    assert isinstance(error.value, init.PartialRun)
    assert str(error.value) == (
        f"written: configs/mine.yaml, for a part of a run: {later}. "
        "`chatmill run --config configs/mine.yaml` runs that part"
    )
    assert reason in later
    done = call(app, "init", "own", "--name", "mine", "--force", "--minutes", "5", "--device", "cpu")
    assert done.exit_code == 2 and "error" not in done.output
    assert done.stdout.splitlines()[-1] == str(error.value)


def test_propose_preset_good_rows_pass_check(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = read_preset(propose(checked=True))
    assert "would stop" not in capsys.readouterr().out
    print_preview(preset, sample, Console(file=StringIO()), whole=True)


REFUSED = "No model can become champion, as gate.min.prompts needs 5 test prompts"


@pytest.mark.parametrize(("prompts", "is_enough"), [(120, True), (40, True), (6, False)])
def test_propose_preset_small_data_gets_the_test_prompts_of_its_gate_or_says_so(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str], prompts: int, is_enough: bool
) -> None:
    asked = (
        {"prompt": f"Why mill {n % prompts}?", "completion": f"It grinds {n} sacks."} for n in range(120)
    )
    write_jsonl(sample / "mine" / "pairs.jsonl", *asked)
    labels = (comparison_row(n, "ana", "ab"[n % 2]) for n in range(150))
    write_jsonl(sample / "mine" / "labels" / "film.jsonl", *labels)
    preset = read_preset(propose(checked=True))
    said = " ".join(capsys.readouterr().out.split())
    page = StringIO()
    print_preview(preset, sample, Console(file=page, width=400), whole=True)
    previewed = " ".join(page.getvalue().split())
    assert (REFUSED in said, REFUSED in previewed) == (not is_enough, not is_enough)
    made = run_first_stages(preset, sample)
    if is_enough:
        assert made["split"].metrics["test_pairs"] >= LEAST_TEST_PROMPTS * 120 / prompts


def test_propose_preset_names_the_quarantined_rows_that_stop_no_run(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [comparison_row(n, "ana", "ab"[n % 2]) for n in range(150)]
    labels += [comparison_row(150, "ana", "purple"), comparison_row(151, "ana", "weiß nicht")]
    write_jsonl(sample / "mine" / "labels" / "film.jsonl", *labels)
    preset = read_preset(propose(checked=True))
    said = " ".join(capsys.readouterr().out.split())
    page = StringIO()
    print_preview(preset, sample, Console(file=page, width=400), whole=True)
    previewed = " ".join(page.getvalue().split())
    named = "would be quarantined: 1 of 151 comparisons"
    # The row with `weiß nicht` is no vote, and so neither counted nor quarantined.
    assert named in said and named in previewed
