"""`chatmill explain`, with a small stage and a real Tracker."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from flows.cli.explain import describe_difference, explain, summarize_differences
from model.errors import UserError
from tasks.engine.stage import Stage, StageContext, stage
from tasks.tracking.cache_explanation import InputDifference
from tasks.tracking.tracker import Tracker

app = typer.Typer()
app.command()(explain)


@dataclass(frozen=True)
class Words:
    words: str = "a"


@stage()
def write(parameters: Words, out: Path, on_event):
    """Write a file of words."""
    if parameters.words == "fail":
        raise UserError("the words are wrong")
    (out / "words.txt").write_text(parameters.words)
    return {}


def quiet(event):
    pass


@pytest.fixture
def root(tmp_path, empty_database, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_bytes(empty_database)
    return tmp_path


def pipeline(root: Path, words: str, preset: str = "demo", commit: str = "abc") -> str:
    """Run a pipeline of one stage and return its id."""
    # Runs are ordered by the millisecond of their start.
    time.sleep(0.005)
    tracker = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "here", root / "var" / "mlflow")
    tags = {"prefect.flow_run_id": "flow", "git.commit": commit}
    with (
        tracker.open_run(preset, {}, tags, "note"),
        tracker.open_stage("write", Words(words), []) as run,
    ):
        tracker.close_stage(write.run(Words(words), {}, StageContext(root), quiet, run=run), "")
    return tracker.run


def say(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return str(done.output)


def test_explain_without_run_is_refused(root):
    with pytest.raises(UserError, match="no pipeline run yet"):
        say("write")


def test_explain_first_run_of_preset_has_no_run_before(root):
    pipeline(root, "a", preset="smoke")
    first = pipeline(root, "a")
    said = say("write")
    assert f"write was cached in run {first[:12]} (demo" in said
    assert "no earlier run of preset" in said


def test_explain_changed_parameter_is_named_as_reason(root):
    first, second, third, fourth = (pipeline(root, words) for words in ("a", "b", "a", "a"))
    said = say("write", second)
    assert "was computed" in said and f"previous run: run {first[:12]}" in said
    assert "parameter  words  a → b" in said
    said = say("write", third[:10])
    assert "was cached" in said and "words  b → a" in said and "cached anyway" in said
    said = say("write")
    assert f"in run {fourth[:12]}" in said and "nothing that it depends on differs" in said


def test_explain_deleted_output_is_reason(root):
    pipeline(root, "a")
    shutil.rmtree(root / "var" / "cache" / "artifacts")
    pipeline(root, "a")
    assert "computed because its output was missing" in say("write")


def test_explain_lost_manifest_is_reported(root):
    first = pipeline(root, "a")
    pipeline(root, "b")
    for path in (root / "var" / "mlflow" / "artifacts").rglob("manifest.json"):
        path.unlink()
    said = say("write")
    assert f"the manifest of run {first[:12]}" in said and "is missing in MLflow" in said


def test_explain_failed_stage_is_skipped_in_comparison(root):
    first = pipeline(root, "a")
    with pytest.raises(UserError):
        pipeline(root, "fail")
    assert "not finished (failed)" in say("write")
    pipeline(root, "b")
    assert f"previous run: run {first[:12]}" in say("write")


def test_explain_newest_run_without_stage_shows_last_that_has_it(root):
    first = pipeline(root, "a")
    time.sleep(0.005)
    tracker = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "here", root / "var" / "mlflow")
    with tracker.open_run("ingest", {}, {"prefect.flow_run_id": "flow", "git.commit": "abc"}, "note"):
        pass
    other = tracker.run
    assert first[:12] in say("write") and other[:12] not in say("write")
    with pytest.raises(UserError, match=rf"run {other[:12]} .* has no stage write: it has no stage"):
        say("write", other)


def test_explain_unknown_stage_or_run_is_refused_with_one_sentence(root):
    pipeline(root, "a")
    with pytest.raises(UserError, match=r"has no stage sift: it has write"):
        say("sift")
    for run in ("zzz", "'"):
        with pytest.raises(UserError, match="no pipeline run whose id begins with"):
            say("write", run)


def test_explain_without_stage_shows_a_line_for_each_of_newest_run(root: Path) -> None:
    with pytest.raises(UserError, match="no pipeline run yet"):
        say()
    pipeline(root, "a")
    assert "write  computed  no earlier run of preset demo finished this stage" in say()
    pipeline(root, "b")
    assert "write  computed  parameter  words  a → b" in say()
    pipeline(root, "b")
    assert "write  cached    nothing that it depends on differs" in say()
    pipeline(root, "a")
    said = say()
    assert "write  cached    it was cached anyway" in said
    assert "`chatmill explain STAGE` shows everything" in said


def test_explain_without_stage_shows_failed_stage(root: Path) -> None:
    pipeline(root, "a")
    with pytest.raises(UserError, match="words are wrong"):
        pipeline(root, "fail")
    assert "write  failed    the stage did not finish" in say()


@pytest.mark.parametrize("names", [("ingest",), ("ingest", "validate"), ()])
def test_explain_without_stage_passes_over_newer_ingestions(root: Path, names: tuple[str, ...]) -> None:
    """A schedule ingests every few minutes; the run that trained is the one that is asked about."""
    trained = pipeline(root, "a")
    for _ in range(2):
        time.sleep(0.005)
        tracker = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "here", root / "var" / "mlflow")
        with tracker.open_run("demo", {}, {"prefect.flow_run_id": "flow"}, "note"):
            for name in names:
                again = Stage(name, write.function, write.declaration)
                with tracker.open_stage(name, Words("a"), []) as run:
                    made = again.run(Words("a"), {}, StageContext(root), quiet, run=run)
                    tracker.close_stage(made, "")
    said = say()
    assert said.startswith(f"run {trained[:12]}") and "write  computed" in said
    assert f"a newer run, {tracker.run[:12]}, has {' and '.join(names) or 'no stage'} alone" in said


def difference(kind: str, name: str, before: str | None, now: str | None) -> InputDifference:
    return InputDifference(kind, name, before, now)


@pytest.mark.parametrize(
    ("differ", "summary"),
    [
        (
            [
                difference("outside", "outside.digest", "a1", "b2"),
                difference("outside", "outside.sources.0.files.texts/new.jsonl", None, "c3"),
                difference("outside", "outside.sources.0.files.texts/old.jsonl", "d4", "e5"),
                difference("outside", "outside.sources.1.files.texts/gone.txt", "f6", None),
            ],
            "source files: 1 added, 1 gone, 1 changed",
        ),
        ([difference("outside", "outside.digest", "a1", "b2")], "outside  [bold]digest[/bold]  a1 → b2"),
        (
            [difference("input", "split", "a1", "b2"), difference("input", "labels", "a1", "b2")],
            "other output of split, labels",
        ),
        (
            [
                difference("code", "model.ppo.train", "a1", "b2"),
                difference("parameter", "steps", "12", "40"),
                difference("input", "sft", "a1", "b2"),
            ],
            "other output of sft; code of model.ppo.train; parameter  [bold]steps[/bold]  12 → 40",
        ),
        (
            [difference("code", f"model.ppo.{name}", "a1", "b2") for name in ("train", "clip")],
            "code of model.ppo.train and 1 more definition",
        ),
        (
            [difference("code", f"model.ppo.{name}", "a1", "b2") for name in ("train", "clip", "loss")],
            "code of model.ppo.train and 2 more definitions",
        ),
    ],
)
def test_summarize_differences_counts_files_and_names_inputs(
    differ: list[InputDifference], summary: str
) -> None:
    assert summarize_differences(differ) == summary


@pytest.mark.parametrize("name", ["a\x1b[31m.txt", "b\x07.txt", "c[bold].txt"])
def test_describe_difference_shows_control_characters_of_a_file_as_escapes(name: str) -> None:
    said = describe_difference(difference("outside", f"outside.sources.0.files.{name}", None, "a1"))
    shown = Text.from_markup(said).plain
    assert shown.isprintable() and shown.startswith(f"source file  {name[0]}") and "added" in shown


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (difference("parameter", "presets", None, "['demo']"), "presets of that product  not set → ['demo']"),
        (difference("parameter", "kind", "none", "lexicon"), "parameter  kind  none → lexicon"),
        (difference("input", "champion", "a1", None), "input  champion  a1 → absent"),
    ],
)
def test_describe_difference_missing_value_is_no_value_named_none(found: InputDifference, words: str) -> None:
    assert Text.from_markup(describe_difference(found)).plain.endswith(words)


def test_describe_difference_of_seed_names_it_once() -> None:
    said = Text.from_markup(describe_difference(InputDifference("seed", "seed", "1", "2"))).plain
    assert said == "seed  1 → 2"
