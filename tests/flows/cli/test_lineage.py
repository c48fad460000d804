"""`chatmill lineage --row` and `--annotator` on a real store, with and without the split on disk."""

from __future__ import annotations

import json
import shutil

import pytest
from rich.tree import Tree

from flows.cli.lineage import _draw_people, lineage
from flows.common.terminal import Console
from model.errors import UserError
from tasks.data.records import TYPES, rating_row, text_row
from tasks.data.splits import SplitParameters
from tasks.dvc import versions
from tasks.engine.stage import StageContext, stage
from tasks.split import split
from tasks.tracking.tracker import Tracker
from tests.flows.cli_runner import call, of, print_as_in_terminal
from tests.tasks.record_files import write_rows

TEXTS = [text_row(f"text {n}", "tales") for n in range(40)]
RATED = [rating_row(f"p{n}", "c", [1.0, 2.0], ["ann", "bob"], "tone", "film", f"g{n}") for n in range(40)]


@stage()
def validate(parameters, out, on_event, root):
    for kind in TYPES:
        shutil.copytree(root / "data" / kind, out / "rows" / kind)
    return {f"{kind}_quarantined": 0 for kind in TYPES}


@stage(inputs=("split",))
def reward(parameters, split, out, on_event):
    return {}


@stage(inputs=("split",))
def rlhf(parameters, split, out, on_event):
    return {}


def say(*words):
    return call(of(lineage), *words).stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    for kind in TYPES:
        rows = {"text": TEXTS, "ratings": RATED}.get(kind, [])
        write_rows(root / "data" / kind / "00000.jsonl", rows)
    version = versions.add_version(root, "", {"sources": "a"})
    tracker = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow")
    made = {}
    with tracker.open_run("demo", {}, {"prefect.flow_run_id": "f"}, "note"):
        for each in (validate, split, reward, rlhf):
            parameters = SplitParameters(0.2, 0.2) if each is split else {}
            with tracker.open_stage(each.name, parameters, []) as run:
                found = each.run(parameters, made, StageContext(root), lambda event: None, run=run)
                held = tracker.close_stage(found, version)
            made[each.name] = type(found)(**{**vars(found), "run": held})
    tracker.client.create_registered_model("chatmill")
    tracker.client.create_model_version("chatmill", "file:///gone", made["rlhf"].run)
    tracker.client.set_registered_model_alias("chatmill", "champion", "1")
    return root


@pytest.fixture
def root(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return project


def test_lineage_person_or_row_finds_model_with_and_without_split(root):
    asked = (("--annotator", "ann"), ("--row", TEXTS[0].id[:8]), ("--row", RATED[0].id))
    before = [json.loads(say(*words, "--json"))["models"] for words in asked]
    person = before[0][0]
    assert person["versions"] == ["chatmill/1"] and person["champion"] and person["certain"]
    assert sum(person["rows"].values()) == len(RATED) and person["rows"]["train/ratings"] > 10
    assert person["learned"] == ["reward"] and person["carried"] == ["rlhf"]
    assert [list(each[0]["rows"].values()) for each in before[1:]] == [[1], [1]]
    assert "version chatmill/1 (champion)" in say("--annotator", "bob")
    shutil.rmtree(root / "var" / "cache" / "artifacts" / "split")
    assert [json.loads(say(*words, "--json"))["models"] for words in asked] == before


def test_lineage_withdrawn_person_shows_when_and_newest_version(root):
    path = root / "configs" / "withdrawn.jsonl"
    path.parent.mkdir()
    signed = {"by": "max", "why": "asked to be left out", "time": "2026-03-04T05:06:07+00:00"}
    path.write_text(json.dumps({"annotator": "ann", **signed}) + "\n")
    client = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow").client
    try:
        said = say("--annotator", "ann")
        assert "withdrawn on 2026-03-04 by max: asked to be left out" in said
        assert "version chatmill/1, the newest, still contains it" in said
        assert "withdrawn" not in say("--annotator", "bob")
        client.create_model_version("chatmill", "file:///gone", None)
        assert "version chatmill/2, the newest, does not contain it" in say("--annotator", "ann")
    finally:
        client.delete_model_version("chatmill", "2")
        path.unlink()
        path.parent.rmdir()


def test_lineage_unknown_person_or_row_is_refused_with_one_sentence(root):
    with pytest.raises(UserError, match="no run has labels by 'anm'; did you mean ann"):
        say("--annotator", "anm")
    with pytest.raises(UserError, match="no run has learned from a row ffffffff"):
        say("--row", "ffffffff")
    for words in ((), ("1", "--annotator", "ann"), ("--row", "ab")):
        with pytest.raises(UserError):
            say(*words)


def test_lineage_model_in_a_terminal_is_a_summary(root, monkeypatch):
    whole = say("1")
    print_as_in_terminal(monkeypatch)
    brief = call(of(lineage), "1", columns=80).stdout
    # The last line is about the files of the version, which are missing here.
    assert max(map(len, brief.splitlines()[:-1])) <= 80
    assert "--all prints whole digests" in brief
    found = json.loads(say("1", "--json"))
    for digest in (found["data_hash"], found["mlflow_run"]):
        assert digest in whole and digest not in brief and digest[:8] in brief
    # One line a stage.
    for each in found["stages"]:
        assert len([line for line in brief.splitlines() if each["key"][:12] in line]) == 1
    assert say("1", "--all") == whole


def test_lineage_many_runs_in_a_terminal_are_the_newest_and_the_champion(root, monkeypatch, tmp_path):
    place = tmp_path / "many"
    shutil.copytree(root, place)
    monkeypatch.chdir(place)
    tracker = Tracker(f"sqlite:///{place / 'var' / 'mlflow.db'}", "chatmill", place / "var" / "mlflow")
    data = json.loads(say("1", "--json"))["data_hash"]
    made = {}
    for number in range(10):
        with tracker.open_run("demo", {}, {"prefect.flow_run_id": f"g{number}"}, "note"):
            for each in (validate, split, reward, rlhf):
                parameters = SplitParameters(0.2, 0.2) if each is split else {"number": number}
                with tracker.open_stage(each.name, parameters, []) as run:
                    found = each.run(parameters, made, StageContext(place), lambda event: None, run=run)
                    held = tracker.close_stage(found, data)
                made[each.name] = type(found)(**{**vars(found), "run": held})
    whole = say("--annotator", "ann")
    assert whole.count("  run ") == 11 and "earlier runs" not in whole
    print_as_in_terminal(monkeypatch)
    brief = say("--annotator", "ann")
    assert brief.count("  run ") == 9 and "version chatmill/1 (champion)" in brief
    assert "and 2 earlier runs: --all lists them" in brief
    assert say("--annotator", "ann", "--all") == whole


def test_draw_people_many_people_are_summed_and_the_most_active_named(capsys):
    tree = Tree("model")
    _draw_people(tree, {f"person-{n}": {"train": n, "test": 1} for n in range(1, 12)})
    Console(width=80).print(tree)
    lines = [line.strip("├└│─ ") for line in capsys.readouterr().out.splitlines()]
    assert lines[1:3] == ["labels by 11 annotators: 66 train, 11 test", "person-11: 11 train, 1 test"]
    assert lines[-1] == "and 3 more" and len(lines) == 11
