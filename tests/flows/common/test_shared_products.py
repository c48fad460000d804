"""Test that presets of one product are named: by `init`, `models` and a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import models
from flows.cli.init import propose_preset
from flows.common.shared_products import describe_shared_product
from flows.orchestration.new_product import describe_new_product
from model.atomic_file import replace_text
from tasks.engine.stage import StageOutput
from tasks.tracking.tracker import Tracker
from tests.example_project import write_project
from tests.flows.cli_runner import call, of

DATA = "data: {sources: [{name: mine, files: mine/*.jsonl}]}\n"
# The head of the first and of the second preset, and the product of both.
SHARED = [
    ("name: press", "name: press", "press"),
    ("name: press", "name: other\nregistry: {model: press}", "press"),
    ("name: a\nregistry: {model: 'Größe 50%'}", "name: b\nregistry:\n  model: Größe 50%", "Größe 50%"),
]
APART = [
    ("name: press", "name: Press"),
    ("name: press", "name: other"),
    ("name: press", "name: press\nregistry: {model: other}"),
    ("name: press", "name: [press"),
    ("name: press", "- press"),
]


def write_presets(root: Path, first: str, second: str) -> None:
    for name, head in (("one", first), ("two", second)):
        (root / "configs").mkdir(exist_ok=True)
        replace_text(root / "configs" / f"{name}.yaml", f"{head}\n{DATA}")


@pytest.fixture
def tracker(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_bytes(empty_database)
    return Tracker(f"sqlite:///{tmp_path / 'var' / 'mlflow.db'}", "chatmill", tmp_path / "var" / "mlflow")


@pytest.mark.parametrize(("first", "second", "product"), SHARED)
def test_describe_shared_product_names_both_presets(
    tmp_path: Path, first: str, second: str, product: str
) -> None:
    write_presets(tmp_path, first, second)
    said = describe_shared_product(tmp_path, product)
    assert said.startswith(f"configs/one.yaml, configs/two.yaml have the same product, {product}: ")


@pytest.mark.parametrize(("first", "second"), APART)
def test_describe_shared_product_other_presets_say_nothing(tmp_path: Path, first: str, second: str) -> None:
    write_presets(tmp_path, first, second)
    assert describe_shared_product(tmp_path, "press") == ""


@pytest.mark.parametrize(("first", "second", "product"), SHARED)
def test_run_and_models_shared_product_is_said(
    tmp_path: Path, tracker: Tracker, first: str, second: str, product: str
) -> None:
    from flows.config import read_preset
    from tasks.tracking.products import product_named

    write_presets(tmp_path, first, second)
    tracker.registry = tracker.registry_of(product_named(product))
    for file in ("one", "two"):
        said = describe_new_product(tracker, read_preset(tmp_path / "configs" / f"{file}.yaml"), tmp_path)
        assert f"have the same product, {product}" in said
    run = tracker.client.create_run(tracker.experiment, run_name="one · rlhf").info.run_id
    tracker.client.log_text(run, json.dumps({"weights": "a"}), "model/config.json")
    aligned = StageOutput("rlhf", "a", "", "a", False, 1.0, {}, run)
    verdict = StageOutput("gate", "g", "", "v", False, 0.1, {"passed": 1, "reason": "good", "score": 1.0})
    tracker.register(aligned, verdict, None, "one")
    assert f"configs/two.yaml have the same product, {product}" in call(of(models.models)).output
    (tmp_path / "configs" / "two.yaml").unlink()
    assert "the same product" not in call(of(models.models)).output


@pytest.mark.parametrize("other", ["name: mine", "name: x\nregistry: {model: mine}", "name: 'mine'"])
def test_init_name_of_other_product_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_project(tmp_path)
    (tmp_path / "configs").mkdir()
    replace_text(tmp_path / "configs" / "zwei.yaml", f"{other}\n{DATA}")
    propose_preset(Path("mine"), "", 5, "cpu", False, checked=False)
    said = capsys.readouterr().out
    assert "configs/mine.yaml, configs/zwei.yaml have the same product, mine" in said
