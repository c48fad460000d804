"""`chatmill compare` and its page, with small stages and a real Tracker."""

from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.cli.compare import _diff_table, _fitting_table, _print_differences, break_name, compare
from model.errors import UserError
from tasks.engine.catalog import read_declaration
from tasks.engine.stage import StageContext, stage
from tasks.tracking.run_diff import MACHINE, Difference, Facts, IntervalMetric, run_differences
from tasks.tracking.tracker import Tracker
from tests.any_user import as_any_user
from tests.flows.cli_runner import call, of


@dataclass(frozen=True)
class Training:
    steps: int = 4
    note: str = "plain"


@stage()
def ingest(parameters: dict[str, Any], out: Path, on_event: Any) -> dict[str, Any]:
    (out / "rows.txt").write_text("rows")
    return {"text": 3}


@stage(inputs=("ingest",))
def sft(parameters: Training, ingest: Path, out: Path, on_event: Any, seed: int) -> dict[str, Any]:
    """Write curves and metrics that depend on the parameters."""
    speed = {"tokens_per_second": 9.0 * parameters.steps}
    rows = [{"step": n, "loss": 4.0 - n / parameters.steps, **speed} for n in range(5)]
    (out / "curves.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"kl": 4.0 / parameters.steps, **speed}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Make three runs: the second has other parameters, the third repeats the first."""
    root = tmp_path_factory.mktemp("project")
    tracker = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow")
    runs, made = {}, {}
    for name, parameters, commit, data in (
        ("first", Training(), "a" * 40, "0123.dir"),
        ("second", Training(8, "<b>bold</b>"), "b" * 40, "4567.dir"),
        ("again", Training(), "a" * 40, "0123.dir"),
    ):
        tags = {"prefect.flow_run_id": "flow", "git.commit": commit, "git.dirty": "false", "device": "cpu"}
        with tracker.open_run(name, {"preset.json": json.dumps({"seed": 1})}, tags, "note"):
            inputs: dict[str, Any] = {}
            for each, given in ((ingest, {}), (sft, parameters)):
                with tracker.open_stage(each.name, given, []) as run:
                    found = each.run(given, inputs, StageContext(root), lambda event: None, run=run)
                    held = tracker.close_stage(found, data)
                inputs[each.name] = type(found)(**{**vars(found), "run": held})
            made[name] = inputs["sft"].run
        runs[name] = tracker.run
    tracker.client.create_registered_model("chatmill")
    tracker.client.create_model_version("chatmill", "file:///gone", made["first"])
    tracker.client.create_model_version("chatmill", "file:///gone", made["second"])
    tracker.client.set_registered_model_alias("chatmill", "champion", "2")
    return root, runs


@pytest.fixture
def root(project: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project[0])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return project[0]


@pytest.fixture
def runs(project: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return project[1]


def say(*words: str) -> str:
    return call(of(compare), *words).output


def rows(said: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in said.splitlines()]


def page(root: Path, runs: dict[str, str], *names: str) -> str:
    return (root / "var" / f"compare-{'-'.join(runs[name][:8] for name in names)}.html").read_text()


def test_compare_lists_differences_and_separates_speed(root: Path, runs: dict[str, str]) -> None:
    said = say(runs["first"], runs["second"][:10])
    told, speed = said.split("speed and cost, which depend on the machine")
    assert ["parameter", "sft", "steps", "4", "8"] in rows(told)
    assert ["figure", "sft", "kl", "1", "0.5", "-0.5"] in rows(told)
    assert ["run", "git commit", "a" * 12, "b" * 12] in rows(told)
    assert ["run", "data", "0123.dir", "4567.dir"] in rows(told)
    assert "ingest" not in told and "tokens per second" not in told
    assert ["figure", "sft", "tokens per second", "36", "72", "+36"] in rows(speed)
    assert f"var/compare-{runs['first'][:8]}-{runs['second'][:8]}.html" in said


def test_compare_page_has_both_curves_and_no_external_links(root: Path, runs: dict[str, str]) -> None:
    say("1", "champion")
    found = page(root, runs, "first", "second")
    assert found.startswith("<!doctype html>") and not list((root / "var").glob("*.part"))
    assert all(runs[name][:8] in found for name in ("first", "second"))
    assert "<h2>Training: sft</h2>" in found and "<h2>Training: ingest</h2>" not in found
    # One chart of the loss has a line for each run; speed has no chart.
    assert found.count("<svg") == 1 and len(re.findall(r'class="line \w+"', found)) == 2
    assert "Speed and cost" in found and found.index("Speed and cost") > found.index("Parameters")
    # Text of users is escaped.
    assert "<b>bold" not in found and "&lt;b&gt;bold&lt;/b&gt;" in found
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)", found)


def test_compare_reused_run_shows_no_difference(root: Path, runs: dict[str, str]) -> None:
    said = say(runs["first"], runs["again"])
    assert "nothing differs" in said and "figure" not in said
    found = page(root, runs, "first", "again")
    assert "Nothing differs" in found
    # A reused stage shows the curves of the run that made it.
    assert found.count("<svg") == 1 and "Both runs have the same curves" in found


def test_compare_lost_artifacts_keeps_parameter_rows(
    root: Path, runs: dict[str, str], tmp_path: Path
) -> None:
    # Only files are moved: MLflow keeps the database open.
    artifacts = root / "var" / "mlflow" / "artifacts"
    shutil.copytree(artifacts, tmp_path / "artifacts")
    for name in ("curves.jsonl", "manifest.json"):
        for path in artifacts.rglob(name):
            path.unlink()
    try:
        assert ["parameter", "sft", "steps", "4", "8"] in rows(say(runs["first"], runs["second"]))
        assert "<svg" not in page(root, runs, "first", "second")
    finally:
        shutil.copytree(tmp_path / "artifacts", artifacts, dirs_exist_ok=True)


@contextmanager
def closed_folder(page: Path) -> Iterator[None]:
    page.unlink(missing_ok=True)
    page.parent.chmod(0o500)
    try:
        with as_any_user():
            yield
    finally:
        page.parent.chmod(0o700)


@contextmanager
def no_room(page: Path) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def folder_in_place(page: Path) -> Iterator[None]:
    page.unlink(missing_ok=True)
    (page / "kept").mkdir(parents=True)
    try:
        yield
    finally:
        (page / "kept").rmdir()
        page.rmdir()


@pytest.mark.parametrize(
    ("obstacle", "says"),
    [
        (closed_folder, "Permission denied"),
        (no_room, "File too large"),
        (folder_in_place, "Is a directory"),
    ],
)
def test_compare_page_that_cannot_be_written_keeps_the_table(
    root: Path, runs: dict[str, str], obstacle: Callable[[Path], AbstractContextManager[None]], says: str
) -> None:
    name = f"compare-{runs['first'][:8]}-{runs['second'][:8]}.html"
    say("1", "champion")
    files = {path for path in (root / "var").iterdir() if path.name != name}
    with obstacle(root / "var" / name):
        said = say("1", "champion")
    assert ["parameter", "sft", "steps", "4", "8"] in rows(said)
    assert said.splitlines()[-1] == f"the page with the curves was not written: var/{name}: {says}"
    # No part of the page is left.
    assert {path for path in (root / "var").iterdir() if path.name != name} == files


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "'nothing' is not a run: MLflow's page lists run ids"),
        ("9", "MLflow has no version 9 of chatmill"),
        ("'", '"\'" is not a run'),
    ],
)
def test_compare_unknown_run_is_refused_with_one_sentence(
    root: Path, runs: dict[str, str], name: str, says: str
) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        say(name, runs["first"])


def test_compare_ambiguous_run_prefix_is_refused(root: Path, runs: dict[str, str]) -> None:
    # The prefix must be a letter, because digits alone mean a version.
    tracker = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow")
    found = tracker.client.search_runs([tracker.experiment])
    firsts = [run.info.run_id[0] for run in found]
    while not (twice := [first for first in firsts if first.isalpha() and firsts.count(first) > 1]):
        firsts.append(tracker.client.create_run(tracker.experiment).info.run_id[0])
    with pytest.raises(UserError, match="matches several runs: give more characters"):
        say(twice[0], runs["first"])


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_diff_table_names_of_metrics_are_whole_on_a_narrow_terminal(columns: int) -> None:
    names = [f"few_shot_completion_loss{end}" for end in ("", "_low", "_high")]
    rows = [Difference("figure", "evaluate", name, 1.23456, -0.00012345, -1.2) for name in names]
    rows.append(Difference("run", "", "git commit", "a" * 40, "b" * 40, None))
    text = StringIO()
    Console(width=columns, file=text).print(_diff_table(rows, ["799cec2e", "210d82f5"]))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    # The column of the names, with what was folded joined again.
    start, end = lines[0].index("what"), lines[0].index("799cec2e")
    joined = "".join(line[start:end].strip() for line in lines)
    assert all(name in joined for name in names)
    assert "…" not in text.getvalue() and "aaaaaaaaaaaa " in text.getvalue()


def test_fitting_table_names_of_parameters_are_broken_after_dots() -> None:
    names = ["learning_rate", "optimizer.learning_rate", "early_stopping_patience", "short.name"]
    rows = [Difference("parameter", "label_batch", name, 0.0003, 0.0004) for name in names]
    rows.append(Difference("code", "rlhf", "code", "a" * 40, "b" * 40))
    rows.append(Difference("figure", "rlhf", "kl", 1.0, 2.0, 1.0))
    shown = {
        80: ["learning_rate", "optimizer.", "learning_rate", "early_stopping_", "patience", "short.name"],
        120: names,
        70: ["learning_", "rate", "optimizer.", "learning_", "rate"],
    }
    for columns, lines in shown.items():
        text = StringIO()
        console = Console(width=columns, file=text)
        console.print(_fitting_table(console, rows, ["smoke/1", "smoke/2"]))
        printed = text.getvalue().splitlines()
        start, end = printed[0].index("what"), printed[0].index("smoke/1")
        names_shown = [line[start:end].strip() for line in printed[1:-1]]
        assert [name for name in names_shown if name][: len(lines)] == lines
        assert "change" in printed[0] and max(map(len, printed)) <= columns


@pytest.mark.parametrize(
    ("name", "longest", "lines"),
    [
        ("rlhf.learning_rate", 15, ["rlhf.", "learning_rate"]),
        ("rlhf.learning_rate", 18, ["rlhf.learning_rate"]),
        ("a.b.c.long_name", 9, ["a.b.c.", "long_name"]),
        ("limits.aspects", 4, ["limits.", "aspects"]),
        ("early_stopping_patience", 15, ["early_stopping_", "patience"]),
        ("", 5, [""]),
    ],
)
def test_break_name_lines_end_with_dots_or_underscores(name: str, longest: int, lines: list[str]) -> None:
    assert break_name(name, longest).split("\n") == lines


def test_print_differences_estimate_below_zero_is_explained() -> None:
    low, high = IntervalMetric(0.03, -0.02, 0.1), IntervalMetric(0.5, 0.4, 0.6)
    for name, before, told in (("kl", low, True), ("kl", high, False), ("judge_gain", low, False)):
        text = StringIO()
        rows = [Difference("figure", "evaluate", name, before, high, 0.4)]
        _print_differences(Console(width=400, file=text), rows, ["one", "two"], False)
        assert ("It cannot be below 0; its estimate and the interval can" in text.getvalue()) == told


def test_print_differences_narrow_terminal_has_interval_below_its_value() -> None:
    low, high = (IntervalMetric(value, value - 0.05098, value + 0.04698) for value in (-0.003972, 0.5))
    words = "judge's mean score, aligned less assistant, on the prompts"
    rows = [Difference("figure", "evaluate", "judge_gain", low, high, 0.5, label=words)]
    for columns, value in ((80, "-0.055 to 0.043"), (200, "-0.003972 [-0.05495, 0.04301]")):
        text = StringIO()
        _print_differences(Console(width=columns, file=text), rows, ["smoke/1", "smoke/2"], False)
        said = text.getvalue().replace("\u00a0", " ")
        assert value in said and max(map(len, said.splitlines())) <= columns
    assert ("0.449 to 0.547" in said) is False


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("more", [0, 19, 30])
def test_print_differences_main_metrics_come_first(more: int, whole: bool) -> None:
    rows = [Difference("run", "", "git commit", "a", "b")]
    rows += [Difference("figure", "sft", f"loss_{n}", 1.0, 2.0, 1.0) for n in range(more)]
    rows += [Difference("figure", "rlhf", "seconds", 1.0, 2.0, 1.0, about=MACHINE)]
    for name in ("kl", "aligned_judge"):
        rows.append(Difference("figure", "evaluate", name, 1.0, 2.0, 1.0, unlike=True))
    text = StringIO()
    _print_differences(Console(width=200, file=text), rows, ["one", "two"], whole)
    said = text.getvalue()
    places = [said.index(name) for name in ("aligned_judge", "kl ", "different held-out rows", "git commit")]
    assert places == sorted(places)
    hidden = more == 30 and not whole
    assert ("31 more metrics differ; --all prints them" in said) == hidden
    assert ("seconds" in said) != hidden and said.count("loss_") == (0 if hidden else more)


def test_compare_runs_are_named_by_version_or_run_name(root: Path, runs: dict[str, str]) -> None:
    said = say("1", "champion")
    assert re.search(r"stage +what +chatmill/1 +chatmill/2 +change", said)
    assert f"chatmill/1: first, run {runs['first'][:8]}" in said
    assert f"chatmill/2: second, run {runs['second'][:8]}" in said
    # Of a run by its id, the version is found by its model; this one reused the model of the first.
    said = say(runs["second"], runs["again"])
    assert re.search(r"what +second +again +change", said)
    said = say(runs["first"], runs["first"])
    assert f"first ({runs['first'][:8]}): first, run" in said


EVALUATED = {"aligned_reward": 0.5, "aligned_reward_low": 0.25, "aligned_reward_high": 0.75}


@pytest.mark.parametrize(
    ("one", "two", "shown"),
    [
        (
            EVALUATED,
            {**EVALUATED, "aligned_reward": 0.625},
            ("aligned assistant (RLHF): mean reward", "0.5 [0.25, 0.75]", "0.625 [0.25, 0.75]", 0.125),
        ),
        (
            EVALUATED,
            {**EVALUATED, "aligned_reward_high": 1.0},
            ("aligned assistant (RLHF): mean reward", "0.5 [0.25, 0.75]", "0.5 [0.25, 1]", 0.0),
        ),
        ({}, EVALUATED, ("aligned assistant (RLHF): mean reward", "None", "0.5 [0.25, 0.75]", None)),
        (
            {"kl": 1.0, "kl_low": 0.5},
            {"kl": 2.0, "kl_low": 0.5},
            ("divergence from the assistant, nats an answer", "1.0", "2.0", 1.0),
        ),
    ],
)
def test_run_differences_interval_is_one_row_with_its_label(
    one: dict[str, float], two: dict[str, float], shown: tuple[str, str, str, float | None]
) -> None:
    declared = {"evaluate": read_declaration("evaluate", None)}
    facts = [
        Facts(name, {}, figures={"evaluate": each}, declared=declared)
        for name, each in (("a", one), ("b", two))
    ]
    (row,) = run_differences(*facts)
    assert (row.label, str(row.before), str(row.now), row.change) == shown
    assert not {"low", "high"} & set(row.label.split())


def test_run_differences_same_interval_is_no_row() -> None:
    facts = [Facts(name, {}, figures={"evaluate": dict(EVALUATED)}) for name in ("a", "b")]
    assert run_differences(*facts) == []


def test_diff_table_of_one_stage_gives_its_columns_to_the_names() -> None:
    rows = [Difference("figure", "evaluate", "kl", 1.0, 2.0, 1.0)]
    for one_stage, columns in (
        (True, ["what", "a", "b", "change"]),
        (False, ["", "stage", "what", "a", "b", "change"]),
    ):
        table = _diff_table(rows, ["a", "b"], one_stage)
        assert [column.header for column in table.columns] == columns
        assert len({len([*column.cells]) for column in table.columns}) == 1


@pytest.mark.parametrize("kind", ["parameter", "code", "run"])
def test_diff_table_without_numbers_has_no_column_of_changes(kind: str) -> None:
    # Squeezed to one letter, its empty column took room from the values.
    table = _diff_table([Difference(kind, "ingest", "presets", "none", "smoke")], ["a", "b"])
    assert [column.header for column in table.columns] == ["", "stage", "what", "a", "b"]
