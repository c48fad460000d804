"""Test the lineage of a model, and the differences between two runs, on a real MLflow store."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext

import pytest

from model.errors import UserError
from tasks.engine.catalog import load_stages
from tasks.engine.stage import StageContext, stage
from tasks.evaluation.scores import Score, score_tags
from tasks.tracking.lineage import count_labels, described_sources, recorded_diffs, trace_model
from tasks.tracking.model_card import LONGEST, lineage_markdown, run_note, write_model_card
from tasks.tracking.registry import Registry
from tasks.tracking.run_diff import (
    LAST,
    MACHINE,
    MODEL,
    Facts,
    HeldOut,
    find_run,
    run_differences,
    run_facts,
    tells_of,
)
from tasks.tracking.run_diff_page import diff_page
from tests.tasks.tracking.mlflow_store import open_tracker


@stage()
def ingest(parameters, out, on_event):
    (out / "a").write_text("a")
    return {"rows": 3}


@stage(inputs=("ingest",))
def split(parameters, ingest, out, on_event):
    (out / "train" / "ratings").mkdir(parents=True)
    rows = [{"scores": [1, 2], "annotators": ["ann", "bob"]}, {"scores": [1], "annotators": []}]
    (out / "train" / "ratings" / "0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (out / "test" / "comparisons").mkdir(parents=True)
    (out / "test" / "comparisons" / "0.jsonl").write_text(json.dumps({"annotator": "ann"}) + "\n")
    return {"parts": 2}


@stage(inputs=("split",))
def rlhf(parameters, split, out, on_event):
    (out / "model").mkdir()
    (out / "model" / "config.json").write_text("{}")
    return {"kl": parameters["steps"] / 2}


@stage(inputs=("ingest",))
def report(parameters, ingest, out, on_event):
    return {}


PRESET = {
    "data": {"archives": {"x": {"sha256": "12"}}, "sources": [{"name": "s", "archive": "x", "urls": []}]}
}


def run_chain(tracker, root, steps, commit="abc"):
    made = {}
    tags = {"git.commit": commit, "git.dirty": "true", "lock.digest": "lock", "device": "cpu"}
    with tracker.open_run("demo", {"preset.json": json.dumps(PRESET)}, tags, "note"):
        for each in (ingest, split, rlhf, report):
            parameters = {"steps": steps} if each is rlhf else {}
            parents = [made[name].run for name in each.inputs]
            with tracker.open_stage(each.name, parameters, parents) as run:
                reference = each.run(parameters, made, StageContext(root), lambda event: None, run=run)
                held = tracker.close_stage(reference, "0123.dir")
            made[each.name] = type(reference)(**{**vars(reference), "run": held})
    return tracker.run, made


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    tracker = open_tracker(root)
    first, _ = run_chain(tracker, root, 4)
    second, made = run_chain(tracker, root, 6, "def")
    tracker.client.create_registered_model("chatmill")
    tracker.client.create_model_version("chatmill", "file:///gone", made["rlhf"].run)
    return root, tracker.client, first, second


def test_trace_model_follows_reused_stages(store):
    root, client, first, second = store
    found = trace_model(client, "1", root)
    assert found["pipeline_run"] == second and found["git_commit"] == "def" and found["git_diff"] is True
    told = {each["stage"]: (each["status"], each["pipeline_run"]) for each in found["stages"]}
    assert told == {"ingest": ("cached", first), "split": ("cached", first), "rlhf": ("computed", second)}
    assert found["data_hash"] == "0123.dir" and found["environment"] == {"lock": "lock", "device": "cpu"}
    assert found["sources"] == [{"name": "s", "archive": "x", "pin": {"sha256": "12"}}]
    assert found["labels"] == {"(unnamed)": {"train": 1}, "ann": {"train": 1, "test": 1}, "bob": {"train": 1}}
    assert trace_model(client, "aligned", root)["mlflow_run"] == found["mlflow_run"]


def test_trace_model_missing_data_gives_none_unknown_model_is_refused(store, tmp_path):
    assert count_labels(tmp_path / "none") is None and described_sources(None) is None
    assert trace_model(store[1], "1", tmp_path)["labels"] is None
    for name in ("champion", "9", "tall"):
        with pytest.raises(UserError):
            trace_model(store[1], name, tmp_path)


def test_run_differences_lists_only_what_differs(store):
    _, client, first, second = store
    one, two = (run_facts(client, find_run(client, name)) for name in (first[:12], "1"))
    assert two.run == second
    rows = {
        (row.kind, row.stage, row.name): (row.before, row.now, row.change)
        for row in run_differences(one, two)
        if not row.name.startswith("cost/")
    }
    assert rows == {
        ("run", "", "git commit"): ("abc", "def", None),
        ("parameter", "rlhf", "steps"): ("4", "6", None),
        ("figure", "rlhf", "kl"): (2.0, 3.0, 1.0),
    }
    assert run_differences(one, one) == []
    runs = (find_run(client, first), find_run(client, second))
    page = diff_page(client, runs, run_differences(one, two), ["1", "2"])
    assert re.search("<td[^>]*>steps<td[^>]*>4<td[^>]*>6", page.replace("\n", "")) and "+1" in page
    assert "Nothing differs" in diff_page(client, (runs[0], runs[0]), [], ["1", "1"])
    with pytest.raises(UserError, match="is not a run"):
        find_run(client, "nothing")


def test_described_sources_label_page_is_named():
    page = {"name": "people", "labels": "page", "format": "rows", "files": []}
    text = {"name": "diary", "labels": "", "format": "plain", "files": "texts"}
    assert described_sources({"data": {"sources": [page, text]}}) == [
        {"name": "people", "format": "rows", "labels": "page"},
        {"name": "diary", "format": "plain", "files": "texts"},
    ]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({}, "Registered as demo/3."),
        ({"passed": "true", "reason": "all 10 thresholds are met"}, "**Passed the gate**: all 10 thresholds"),
        ({"passed": "false", "reason": "kl is *20*"}, "**Did not pass the gate**: kl is \\*20\\*"),
    ],
)
def test_run_note_has_version_and_verdict(tags, said):
    assert said in run_note("demo/3", tags)
    assert run_note("demo/3", tags).startswith("Registered as demo/3.")


def test_write_model_card_has_lineage(store):
    root, client, _, second = store
    write_model_card(Registry(client, nullcontext), "1", second, root)
    note = client.get_run(second).data.tags["mlflow.note.content"]
    assert note.startswith("Registered as ") and "one for each stage" in note
    page = client.get_model_version("chatmill", "1")
    assert "commit `def`, with changes" in page.description and "| ann | 1 | 0 | 1 |" in page.description
    assert page.tags["git.commit"] == "def" and page.tags["git.dirty"] == "true"
    assert page.tags["data.hash"] == "0123.dir" and page.tags["lineage"] == f"runs:/{second}/lineage.json"
    found = trace_model(client, "chatmill/1", root)
    assert json.loads(client_text(client, second, "lineage.json")) == found
    assert trace_model(client, "chatmill/1", root / "elsewhere")["labels"] == found["labels"]
    many = {**found, "labels": {f"person *{n}*" * 40: {"train": n} for n in range(50)}}
    assert "…" in lineage_markdown(many, second) and len(lineage_markdown(many, second)) <= LONGEST
    assert "chatmill lineage chatmill/1" in lineage_markdown(many, second)


def client_text(client, run, name):
    with open(client.download_artifacts(run, name), encoding="utf-8") as file:
        return file.read()


def test_described_sources_and_recorded_diffs_have_sums_and_stages(store):
    root, client, first, second = store
    identities = [{"name": "s", "files": {"a.txt": "12"}, "urls": [{"url": "https://x", "version": "v"}]}]
    assert described_sources(PRESET, identities)[0]["sums"] == {"a.txt": "12"}
    assert described_sources(PRESET, identities)[0]["versions"] == {"https://x": "v"}
    client.log_text(second, "diff --git a/x b/x\n", "git.diff")
    said = recorded_diffs(client, trace_model(client, "1", root))
    assert f"# commit def, pipeline run {second}: rlhf\ndiff --git a/x b/x\n" in said
    assert f"# commit abc, pipeline run {first}: ingest, split\n# gone from MLflow\n" in said


def test_lineage_markdown_begins_with_verdict_and_metrics(store):
    root, client, _, second = store
    score = Score("reward_gain", 0.25, judge="j", prompts="p", n=64, interval=(0.1, 0.4))
    tags = {
        **score_tags(score),
        "passed": "false",
        "reason": "kl is 20, at most 12 is wanted *now*",
        "figures": json.dumps({"kl": 20.123456, "reward_gain": 0.25}),
        "preset": "demo [b]",
    }
    page = lineage_markdown(trace_model(client, "chatmill/1", root), second, tags)
    assert page.startswith("**Did not pass the gate**: kl is 20, at most 12 is wanted \\*now\\*\n")
    assert "score: mean reward, aligned less assistant: 0.25 \\[0.1, 0.4\\] (n = 64)" in page
    assert "divergence from the assistant, nats an answer: 20.12" in page
    assert "demo \\[b\\]" in page and page.index("figures") < page.index("Pipeline run")
    assert lineage_markdown(trace_model(client, "chatmill/1", root), second).startswith("Pipeline run")


def held(n: int, letter: str) -> dict[str, HeldOut]:
    return {"test pairs": HeldOut(n, letter * 64), "valid text": HeldOut(9, "0" * 64)}


def test_run_differences_other_held_out_rows_are_marked():
    figures = {
        "evaluate": {"win_rate": 0.78, "seconds": 3.0},
        "pretrain": {"bits_per_byte": 2.0, "loss": 3.0},
        "ingest": {"rows": 5.0},
    }
    later = {
        "evaluate": {"win_rate": 0.94, "seconds": 4.0},
        "pretrain": {"bits_per_byte": 1.0, "loss": 2.5},
        "ingest": {"rows": 6.0},
    }
    declared = {name: load_stages()[name].declaration for name in figures}
    one = Facts("a", {}, figures=figures, held_out=held(23, "a"), declared=declared)
    two = Facts("b", {}, figures=later, held_out=held(16, "b"), declared=declared)
    found = {(row.kind, row.stage, row.name): row for row in run_differences(one, two)}
    exam = found["held-out rows", "split", "test pairs"]
    assert str(exam.before) == "23 rows, aaaaaaaa" and str(exam.now) == "16 rows, bbbbbbbb"
    assert ("held-out rows", "split", "valid text") not in found
    assert found["figure", "evaluate", "win_rate"].unlike
    # Metrics of the same rows, or of the machine, are not marked.
    for name in (("evaluate", "seconds"), ("pretrain", "bits_per_byte"), ("ingest", "rows")):
        assert not found[("figure", *name)].unlike
    assert [row.stage for row in run_differences(one, two)][-1] == "ingest"
    same = run_differences(one, Facts("c", {}, figures=later, held_out=held(23, "a")))
    assert not any(row.unlike for row in same)
    # Other rows of the same number are marked too.
    other = run_differences(one, Facts("d", {}, figures=later, held_out=held(23, "c")))
    assert any(row.unlike for row in other)


def test_tells_of_last_step_and_machine_metrics_are_apart():
    for made, name, tells in (
        ("rlhf", "policy_loss", LAST), ("sft", "gradient_norm", LAST), ("sft", "cost/memory", MACHINE),
        ("sft", "valid_loss", MODEL), ("evaluate", "loss", MODEL), ("evaluate", "tokens_per_second", MACHINE),
    ):  # fmt: skip
        assert tells_of(load_stages()[made].declaration, name) == tells
