"""Test the sentence about a new product on data whose champion belongs to another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.dvc.version_list import KNOWN
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext, stage
from tasks.tracking.other_products import describe_other_champion
from tasks.tracking.products import product_named
from tasks.tracking.tracker import Tracker
from tests.tasks.event_sink import ignore_event


@stage()
def rlhf(parameters, out, on_event):
    (out / "model").mkdir()
    (out / "model" / "config.json").write_text(json.dumps(parameters))
    return {}


@pytest.fixture
def root(tmp_path: Path, empty_database: bytes) -> Path:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    return tmp_path


def make_champion(root: Path, product: str, data: str, passed: int = 1) -> Tracker:
    """Register a model that learned from a data version; it becomes champion if it passed."""
    tracker = Tracker(f"sqlite:///{root / 'mlflow.db'}", "chatmill", root / "mlflow", product)
    with (
        tracker.open_run(product, {}, {}, "note"),
        tracker.open_stage("rlhf", {"data": data}, []) as run,
    ):
        made = rlhf.run({"data": data, "product": product}, {}, StageContext(root), ignore_event, run=run)
        tracker.close_stage(made, data)
    reason = "good" if passed else "kl is 20, at most 12 is wanted"
    verdict = StageOutput(
        "gate", "g", "", f"{data}{product}", False, 0.1, {"passed": passed, "reason": reason, "score": 1}
    )
    tracker.register(StageOutput(**{**vars(made), "run": run}), verdict)
    return tracker


def point(root: Path, data: str, names: list[str]) -> None:
    meta = f"meta: {{sources: s, names: {json.dumps(names)}, rows: {{text: 3}}}}\n"
    (root / "data.dvc").write_text(f"outs:\n- {{md5: {data}, path: data}}\n{meta}")


def describe(tracker: Tracker, root: Path, product: str, *sources: str) -> str:
    return describe_other_champion(tracker.client, product_named(product), sources, root)


@pytest.mark.parametrize(
    ("former", "written"), [("mine", '"mine"'), ("press/films", '"press/films"'), ('say "x"', "'say \"x\"'")]
)
def test_describe_other_champion_new_name_on_same_data_is_said_with_the_key(
    root: Path, former: str, written: str
) -> None:
    tracker = make_champion(root, former, "one.dir")
    point(root, "one.dir", ["film", "notes"])
    said = describe(tracker, root, "mine2", "film", "notes")
    assert "new product, mine2" in said and f"version 1, belongs to {former}" in said
    assert f"registry: {{model: {written}}}" in said and "\n" not in said
    # The same product, with its own versions, says nothing.
    assert describe(tracker, root, former, "film", "notes") == ""
    make_champion(root, "mine2", "one.dir", passed=0)
    assert describe(tracker, root, "mine2", "film", "notes") == ""


def test_describe_other_champion_of_earlier_version_is_found(root: Path) -> None:
    tracker = make_champion(root, "mine", "one.dir")
    (root / KNOWN).parent.mkdir(parents=True)
    entry = {"md5": "one.dir", "meta": {"names": ["film", "notes"]}, "made": ""}
    (root / KNOWN).write_text(json.dumps(entry) + "\n")
    point(root, "two.dir", ["film", "notes", "more"])
    assert "belongs to mine" in describe(tracker, root, "mine2", "film", "notes", "more")


@pytest.mark.parametrize(
    ("data", "names", "passed"),
    [("one.dir", ["other", "else"], 1), ("two.dir", ["film"], 1), ("one.dir", ["film"], 0), ("", [], 1)],
)
def test_describe_other_champion_other_data_says_nothing(
    root: Path, data: str, names: list[str], passed: int
) -> None:
    tracker = make_champion(root, "mine", "one.dir", passed)
    if data:
        point(root, data, names)
    assert describe(tracker, root, "mine2", "film", "notes") == ""
