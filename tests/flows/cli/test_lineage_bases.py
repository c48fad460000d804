"""`chatmill lineage` of models whose base is a registered model: people and rows are found through it."""

from __future__ import annotations

import json
import shutil

import pytest

from tasks.data.records import TYPES, text_row
from tasks.data.splits import SplitParameters
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext, stage
from tasks.split import split
from tasks.tracking.tracker import Tracker
from tests.flows.cli.test_lineage import project, say, validate
from tests.tasks.record_files import write_rows

__all__ = ["project"]


@stage(inputs=("split",), resumable=True)
def pretrain(parameters, split, out, on_event):
    return {}


@stage(inputs=("pretrain",), resumable=True)
def rlhf(parameters, pretrain, out, on_event):
    (out / "model").mkdir()
    (out / "model" / "weights").write_text(str(parameters))
    return {}


@pytest.fixture(scope="module")
def descended_once(project, tmp_path_factory):
    """A project in which version 2 began from version 1, version 3 from 2, and a run from another model."""
    root = tmp_path_factory.mktemp("descended") / "project"
    shutil.copytree(project, root)
    tracker = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow")
    others = [text_row(f"another text {n}", "tales") for n in range(40)]
    shutil.rmtree(root / "data" / "ratings")
    shutil.rmtree(root / "data" / "text")
    for kind in TYPES:
        write_rows(root / "data" / kind / "00000.jsonl", others if kind == "text" else [])

    for number, base in enumerate(("chatmill/1", "chatmill/2", "hub")):
        tags = {"prefect.flow_run_id": f"g{number}", **({"base.model": base} if base != "hub" else {})}
        made = {}
        with tracker.open_run("demo", {}, tags, f"note{number}"):
            for each in (validate, split, pretrain, rlhf):
                parameters = SplitParameters(0.2, 0.2) if each is split else {"number": number}
                with tracker.open_stage(each.name, parameters, [], declaration=each.declaration) as run:
                    found = each.run(parameters, made, StageContext(root), lambda event: None, run=run)
                    held = tracker.close_stage(found, "1.dir")
                    made[each.name] = StageOutput(**{**vars(found), "run": held})
        gate = {"passed": 1, "reason": "good", "score": 1.0 + number}
        tracker.register(made["rlhf"], StageOutput("gate", "k", "", f"g{number}", False, 0.1, gate))
    return root


@pytest.fixture
def descended(descended_once, tmp_path):
    """A copy of that project."""
    return shutil.copytree(descended_once, tmp_path / "descended", symlinks=True)


def test_lineage_person_reaches_models_through_base(descended, monkeypatch):
    monkeypatch.chdir(descended)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    models = json.loads(say("--annotator", "ann", "--json"))["models"]
    assert [each["versions"] for each in models] == [["chatmill/3"], ["chatmill/2"], ["chatmill/1"]]
    assert [each["base_models"] for each in models] == [["chatmill/2"], ["chatmill/1"], []]
    assert [each["carried"] for each in models[:2]] == [["pretrain", "rlhf"]] * 2
    assert not models[0]["rows"] and models[0]["certain"]
    said = say("--annotator", "ann")
    assert "version chatmill/3" in said and "through its base model chatmill/2" in said


def test_lineage_withdrawn_person_is_named_in_newest_version_through_base(descended, monkeypatch):
    monkeypatch.chdir(descended)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = descended / "configs" / "withdrawn.jsonl"
    path.parent.mkdir()
    signed = {"by": "max", "why": "asked to be left out", "time": "2026-03-04T05:06:07+00:00"}
    path.write_text(json.dumps({"annotator": "ann", **signed}) + "\n")
    assert "version chatmill/4, the newest, does not contain it" in say("--annotator", "ann")
    client = Tracker(f"sqlite:///{descended / 'var' / 'mlflow.db'}", "chatmill", descended / "mlflow").client
    client.delete_model_version("chatmill", "4")
    said = say("--annotator", "ann")
    assert "version chatmill/3, the newest, still contains it" in said
    assert "name another base_model than chatmill/2" in said
