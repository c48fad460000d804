"""Test the verdict of a reproduction: identical, equivalent or diverged."""

from __future__ import annotations

import pytest

from tasks.reproduction.verdict import StageResult, judge_stages, overall_verdict, verdict_sentence

SAME = ({}, {})


def manifest(**changed):
    environments = {"seed": 1, "device": "cpu"}
    plain = {
        "key": "k", "code": "c", "definitions": {"model.training.sft.loss": "one"},
        "parameters": {"steps": 4},
        "inputs": {"split": {"key": "s", "digest": "d"}}, "lock": "l", "device": "cpu", "seed": 1,
        "surroundings": environments, "sums": {"model/model.safetensors": "a", "curves.jsonl": "b"},
    }  # fmt: skip
    return {**plain, **changed}


def made(stage="sft", digest="one", manifest=None, **figures):
    return StageResult(stage, digest, figures, manifest)


def verdict(before, now, *repeated, environments=SAME):
    (found,) = judge_stages([before], {now.stage: now} if now else {}, {before.stage: repeated}, environments)
    return found


def test_judge_stages_same_digest_is_identical():
    found = verdict(made(valid_loss=1.0, tokens_per_second=1.0), made(valid_loss=1.0, tokens_per_second=9.0))
    assert found.says == "identical" and verdict_sentence([found]) == (
        "identical: the one stage has identical bits"
    )


@pytest.mark.parametrize(
    ("stage", "name", "before", "now", "says"),
    [
        ("sft", "valid_loss", 1.0, 1.019, "equivalent"),
        ("sft", "valid_loss", 1.0, 1.021, "diverged"),
        ("evaluate", "ends_by_itself", 0.90, 0.94, "equivalent"),
        ("evaluate", "ends_by_itself", 0.90, 0.84, "diverged"),
        ("reward", "pair_accuracy/tone/film", 0.9, 0.84, "diverged"),
        ("rlhf", "valid_kl", 10.0, 11.9, "equivalent"),
        ("rlhf", "policy_loss", 0.1, -0.1, "equivalent"),
        ("rlhf", "tokens_per_second", 10.0, 1.0, "equivalent"),
        ("split", "train_text", 10, 11, "diverged"),
        ("gate", "passed", 1, 0, "diverged"),
        ("gate", "reason", "0.91 is above", "0.92 is above", "equivalent"),
        ("gate", "score", None, 0.2, "diverged"),
    ],
)
def test_judge_stages_other_digest_compares_metrics(stage, name, before, now, says):
    found = verdict(made(stage, "one", **{name: before}), made(stage, "two", **{name: now}))
    assert found.says == says, found


def test_judge_stages_repetitions_set_tolerance():
    before, now = made(valid_loss=1.0), made(digest="now", valid_loss=1.03)
    few = [made(digest="two", valid_loss=1.02)]
    assert verdict(before, now, *few).says == "diverged"
    more = [*few, made(digest="three", valid_loss=1.01)]
    found = verdict(before, now, *more)
    # Of 1.00, 1.01 and 1.02: 1.01 ± 9.925 × 0.01 × √(4/3), Student's t for 99% and two degrees of freedom.
    assert found.says == "equivalent" and "learned from 3 repetitions" in found.reason
    assert found.figures[0].tolerance == pytest.approx(0.1146, abs=1e-4)
    # Equal digests are no further repetition, and neither is the judged run.
    assert verdict(before, now, *few, made(digest="two", valid_loss=1.02), now).says == "diverged"
    assert verdict(before, made(digest="now", valid_loss=1.2), *more).says == "diverged"


def test_judge_stages_rows_of_version_are_identical():
    one = {"rows/text/0.jsonl": "a", "origins/text/0.jsonl": "b"}
    before = made("ingest", "one", manifest(sums=one), data_hash="h")
    now = made("ingest", "two", manifest(sums={**one, "origins/text/0.jsonl": "c"}), data_hash="h")
    assert (
        verdict(before, now).says == "identical"
        and "only their recorded origins differ" in verdict(before, now).reason
    )
    other = made("ingest", "two", manifest(sums={**one, "rows/text/0.jsonl": "c"}), data_hash="g")
    assert verdict(before, other).says == "diverged"
    # An older manifest has only DVC's hash and no checksums.
    assert verdict(made("ingest", "one", data_hash="h"), now).says == "identical"


def test_verdict_sentence_names_first_differing_stage():
    stages = [made("split", "a"), made("sft", "b", manifest(), valid_loss=1.0), made("rlhf", "c", valid_kl=1)]
    now = {
        "split": made("split", "a"),
        "sft": made(
            "sft",
            "x",
            manifest(key="other", definitions={"model.training.sft.loss": "two"}, code="d"),
            valid_loss=1.01,
        ),
        "rlhf": made("rlhf", "y", valid_kl=3.0),
    }
    environments = ({"threads": "2", "python": ""}, {"threads": "1", "python": "3.11"})
    verdicts = judge_stages(stages, now, {}, environments)
    assert [each.says for each in verdicts] == ["identical", "equivalent", "diverged"] == [
        *["identical", "equivalent"], overall_verdict(verdicts)
    ]  # fmt: skip
    says = verdict_sentence(verdicts)
    assert says.startswith("diverged at rlhf: valid_kl 1 → 3") and "bits differ from sft on" in says
    assert (
        "code model.training.sft.loss one → two" in says and "threads 2 → 1" in says and "python" not in says
    )


def test_judge_stages_equal_inputs_or_missing_stage_are_explained():
    files = {"model/model.safetensors": "z", "curves.jsonl": "b"}
    found = verdict(made(manifest=manifest()), made(digest="two", manifest=manifest(sums=files)))
    assert found.says == "equivalent" and "(model/model.safetensors)" in found.reason
    assert "this stage is not deterministic here" in verdict_sentence([found])
    gone = verdict(made(), None)
    assert gone.says == "diverged" and "was not computed" in gone.reason


def test_judge_stages_stage_without_record_is_named():
    now = {"sft": made("sft", "one"), "rlhf": made("rlhf", "two")}
    verdicts = judge_stages([made("sft", "one")], now, {}, ({}, {}))
    assert overall_verdict(verdicts) == "identical"
    assert verdict_sentence(verdicts) == (
        "identical: the one stage has identical bits; rlhf is left out: MLflow has no record of it"
    )
