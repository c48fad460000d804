"""The old keys of recorded presets, manifests and MLflow's parameters, and their present names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.common.old_keys import (
    OLD_KEYS,
    present_key,
    recorded_key,
    rename_old_keys,
    rename_stage_parameters,
)
from tasks.data.sources.source_identity import identities_digest
from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.cache_key import flatten_values
from tasks.reproduction.checkout import Checkout
from tasks.reproduction.data import standalone_preset
from tasks.reproduction.past_opponents import _set_preset_key
from tasks.tracking.cache_explanation import explain_differences
from tasks.tracking.run_diff import Facts, run_differences

FIXTURES = Path(__file__).parents[2] / "fixtures"


def read_fixture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FIXTURES / f"{name}.yaml").read_text())
    return found


def stage_parameters(preset: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parameters of the stages as their runs record them, from a preset's sections."""
    sections = {
        "validate",
        "split",
        "tokenizer",
        "drift",
        "sft",
        "labels",
        "reward",
        "rlhf",
        "evaluate",
        "gate",
    }
    base = {name: preset[name] for name in ("base", "base_model") if name in preset}
    return {
        **{name: preset[name] for name in sorted(sections)},
        "ingest": preset["data"],
        "pretrain": {"architecture": preset["architecture"], "training": preset["pretrain"], **base},
        "judge": {"kind": "reward_model", "reward": preset["reward"]},
        "report": preset["report"],
    }


OLD, PRESENT = read_fixture("old_keys"), read_fixture("present_keys")
OLD_STAGES, PRESENT_STAGES = stage_parameters(OLD), stage_parameters(PRESENT)


def test_rename_old_keys_of_every_key_gives_present_preset() -> None:
    before = json.dumps(OLD)
    renamed, found = rename_old_keys(OLD)
    assert renamed == PRESENT and json.dumps(OLD) == before
    sections = {old for old in OLD_KEYS if any(other.startswith(f"{old}.") for other in OLD_KEYS)}
    assert found == {old: new for old, new in OLD_KEYS.items() if old not in sections}


def test_rename_old_keys_of_present_keys_changes_nothing() -> None:
    assert rename_old_keys(PRESENT) == (PRESENT, {})


def test_old_keys_are_as_deep_as_present_keys_and_differ() -> None:
    assert all(old.count(".") == new.count(".") for old, new in OLD_KEYS.items())
    # A name that is both would be renamed in records that are in present keys.
    assert not set(OLD_KEYS) & set(OLD_KEYS.values()) and len(set(OLD_KEYS.values())) == len(OLD_KEYS)


@pytest.mark.parametrize(
    "values",
    [
        {"rlhf": {"clip": 0.2, "clip_range": 0.1}},
        {"sft": {"optimizer": {"max_grad_norm": 1, "clip": 1}}},
        {"data": {"sources": [{"name": "a"}, {"documents": "file", "document_unit": "file"}]}},
        {"spread": {"workers": 1}, "parallel": {"dask_address": "local"}},
    ],
)
def test_rename_old_keys_with_both_names_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"(\S+) is the old name of (\S+), and both are given") as error:
        rename_old_keys(values)
    old, new = str(error.value).split()[0], str(error.value).split()[6].rstrip(",")
    assert OLD_KEYS[old] == new


@pytest.mark.parametrize("value", [None, 3, "text", [], ["rlhf"], [{"clip": 1}], {1: {"clip": 2}}])
def test_rename_old_keys_leaves_other_shapes(value: Any) -> None:
    assert rename_old_keys({"name": value, "seed": value}) == ({"name": value, "seed": value}, {})


@pytest.mark.parametrize("stage", sorted(OLD_STAGES))
def test_rename_stage_parameters_of_an_old_run_equals_a_new_run(stage: str) -> None:
    old, new = (dict(flatten_values(stages[stage])) for stages in (OLD_STAGES, PRESENT_STAGES))
    assert rename_stage_parameters(stage, old) == new == rename_stage_parameters(stage, new)


@pytest.mark.parametrize("stage", sorted(OLD_STAGES))
def test_explain_differences_of_renamed_keys_finds_none(stage: str) -> None:
    around = {"inputs": {}, "lock": "l", "code": "c", "surroundings": {}, "stage": stage}
    before = {"key": "1", "parameters": OLD_STAGES[stage], **around}
    assert explain_differences(before, {**before, "key": "2", "parameters": PRESENT_STAGES[stage]}) == []
    other = json.loads(json.dumps(PRESENT_STAGES["rlhf"])) | {"clip_range": 0.4}
    found = explain_differences(
        {**before, "stage": "rlhf", "parameters": OLD_STAGES["rlhf"]},
        {**before, "stage": "rlhf", "key": "2", "parameters": other},
    )
    assert [(each.name, each.before, each.now) for each in found] == [("clip_range", "0.1", "0.4")]


def test_run_differences_of_renamed_keys_are_none() -> None:
    before, now = (
        Facts(
            run,
            {},
            {name: rename_stage_parameters(name, dict(flatten_values(p))) for name, p in stages.items()},
        )
        for run, stages in (("a", OLD_STAGES), ("b", PRESENT_STAGES))
    )
    assert run_differences(before, now) == []


@pytest.mark.parametrize(
    ("key", "present"),
    [
        ("rlhf.clip", "rlhf.clip_range"),
        ("data.sources.0.documents", "data.sources.0.document_unit"),
        ("gate.least.kl", "gate.min.kl"),
        ("placement.train", "execution.gpu_work_pool"),
        ("spread.workers", "parallel.workers"),
        ("rlhf.steps", "rlhf.steps"),
    ],
)
def test_present_key_renames_each_segment(key: str, present: str) -> None:
    assert present_key(key) == present == present_key(present)


def test_recorded_key_is_name_in_preset() -> None:
    assert recorded_key(OLD, "data.pinned_version") == "data.version"
    assert recorded_key(PRESENT, "data.pinned_version") == "data.pinned_version"
    assert recorded_key(OLD, "registry.compare_with") == "registry.compare_with"


@pytest.mark.parametrize(
    ("preset", "section", "address", "drift"),
    [(OLD, "spread", "dask", "reference"), (PRESENT, "parallel", "dask_address", "reference_output")],
)
def test_preset_for_checkout_keeps_names_of_its_code(
    tmp_path: Path, preset: dict[str, Any], section: str, address: str, drift: str
) -> None:
    alone = standalone_preset(preset)
    assert {"share", "remote_cache", "placement", "execution"}.isdisjoint(alone)
    assert alone[section] == {"workers": 2, address: ""}
    checkout = Checkout(tmp_path, tmp_path / "preset.json", "")
    checkout.preset.write_text(json.dumps(alone))
    _set_preset_key(checkout, "drift.reference_output", "k")
    written = json.loads(checkout.preset.read_text())
    assert written["drift"][drift] == "k" and set(written["drift"]) == set(preset["drift"])


def test_sources_digest_equals_that_of_former_version() -> None:
    source = Source(
        "film", files="a.json", document_unit="paragraph", label_config="film.xml", max_bad_fraction=0.2,
        aspect="tone",
    )  # fmt: skip
    identity = {"name": "film", "labelling": {"film.xml": "12"}}
    # Recorded before the keys were renamed; another digest would make a new version of everybody's data.
    recorded = "d367abcb2599dcc8646b950479cd5f261a8e35055f1f68fdcc78d18902dbd3f7"
    assert identities_digest(DataParameters((source,)), [identity]) == recorded
