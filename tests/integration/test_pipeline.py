"""The whole pipeline on the smoke preset, by the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.chaos.__main__ import survive
from tests.integration.clones import (
    SMOKE,
    STAGES,
    Clones,
    asked,
    call,
    chatmill,
    chatmill_each,
    mlflow,
    summary,
)


def statuses(root: Path) -> dict[str, str]:
    return {entry["name"]: entry["status"] for entry in summary(root)["stages"]}


@pytest.fixture(scope="module")
def root(clones: Clones) -> Path:
    """Return a folder in which the pipeline has run once."""
    assert "the same prompts, answered by all three models" in clones.said
    assert "var/report.html" in clones.said
    assert clones.said.index("memory: ") < clones.said.index("pretrain")
    return clones.first


def test_run_first_time_makes_every_stage_with_metrics_and_report(root: Path) -> None:
    found = summary(root)
    assert [entry["name"] for entry in found["stages"]] == STAGES
    assert set(statuses(root).values()) == {"computed"}
    told = {"seconds", "prefect_run_id", "mlflow_run_id", "data_hash", "git_commit", "pending_version"}
    assert set(found) == {"stages", *told}
    metrics = {entry["name"]: entry["metrics"] for entry in found["stages"]}
    assert {"bits_per_byte", "tokens_per_second"} <= set(metrics["pretrain"])
    assert {"pair_accuracy", "linear_pair_accuracy"} <= set(metrics["reward"])
    assert {"sft_ends_by_itself", "judge_gain", "kl", "win_rate", "aligned_distinct", "loss_increase"} <= set(
        metrics["evaluate"]
    )
    for entry in found["stages"]:
        manifest = json.loads((Path(entry["folder"]) / "manifest.json").read_text())
        assert (manifest["stage"], manifest["key"]) == (entry["name"], entry["key"])
    page = (root / "var" / "report.html").read_text()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")


def test_run_records_every_stage_in_mlflow(root: Path) -> None:
    runs = mlflow(
        root, "select r.name, r.status, r.run_uuid from runs r join tags t using (run_uuid) "
        "where t.key = 'chatmill.stage'"
    )  # fmt: skip
    assert {name for name, _, _ in runs} >= {f"smoke · {stage}" for stage in STAGES}
    tags = dict(
        mlflow(root, f"select key, value from tags where run_uuid = '{summary(root)['mlflow_run_id']}'")
    )
    assert tags["prefect.flow_run_id"] == summary(root)["prefect_run_id"]
    losses = mlflow(root, "select count(*) from metrics where key = 'loss' and step > 0")
    assert losses[0][0] > 100


def test_run_records_every_stage_as_completed_prefect_task(root: Path) -> None:
    tasks = asked(root / "var" / "prefect" / "prefect.db", "select name, state_name, tags from task_run")
    assert {name.rpartition("-")[0] for name, _, _ in tasks} == set(STAGES)
    # A tag would make Prefect ask its server for a concurrency slot, which takes two seconds.
    assert {(state, tags) for _, state, tags in tasks} == {("Completed", "[]")}


def test_run_again_reuses_all_stages_and_registers_nothing(root: Path) -> None:
    before = [entry["key"] for entry in summary(root)["stages"]]
    versions = mlflow(root, "select count(*) from model_versions")
    chatmill(root, "run", "--config", str(SMOKE))
    assert set(statuses(root).values()) == {"cached"}
    assert [entry["key"] for entry in summary(root)["stages"]] == before
    assert mlflow(root, "select count(*) from model_versions") == versions
    named = mlflow(root, "select count(*) from tags where key = 'chatmill.reuses'")
    assert named[0][0] == len(STAGES)
    database = root / "var" / "prefect" / "prefect.db"
    newest = summary(root)["prefect_run_id"]
    states = asked(database, f"select state_name from task_run where flow_run_id = '{newest}'")
    assert states == [("Cached",)] * len(STAGES)


def test_run_dry_run_plans_what_the_next_run_computes(root: Path) -> None:
    before = statuses(root)
    words = ("run", "--config", str(SMOKE), "--dry-run")
    said, changed = chatmill_each(root, words, (*words, "--set", "rlhf.steps=9"))
    assert "Of 14 stages, a run would compute 0, reuse 14:" in said
    assert re.search(r"memory: reward needs the most, up to [\d.]+ GB; [\d.]+ GB of ", said)
    assert said.count("nothing that it depends on differs") == len(STAGES)
    # A changed parameter: its stage is computed, and those after it wait for its output.
    assert "a run would compute 1, reuse 10, decide on 3 while it runs:" in changed
    assert re.search(r"rlhf +computed  parameter  steps  8 → 9", changed)
    assert re.search(r"evaluate +open +depends on rlhf, not computed yet", changed)
    # The plan is no run.
    assert statuses(root) == before


def test_run_is_named_tagged_and_linked_on_every_page(root: Path) -> None:
    found, database = summary(root), root / "var" / "prefect" / "prefect.db"
    run, tracked = found["prefect_run_id"], found["mlflow_run_id"]
    ((name, tags),) = asked(database, f"select name, tags from flow_run where id = '{run}'")
    assert re.fullmatch(r"smoke · run · \d{4}-\d\d-\d\d \d\d:\d\d", name)
    assert {"preset:smoke", "trigger:run"} < set(json.loads(tags))
    shown = asked(database, f"select key, data from artifact where flow_run_id = '{run}' and key is not null")
    artifacts = dict(shown)
    assert tracked in artifacts["mlflow-smoke"]
    page = (root / "var" / "report.html").read_text()
    for place in (artifacts["outcome-smoke"], page):
        assert f"/runs/flow-run/{run}" in place and f"/runs/{tracked}" in place and "/versions/" in place


@pytest.mark.long
def test_run_killed_several_times_ends_like_unbroken_run(root: Path, tmp_path: Path) -> None:
    assert survive(tmp_path, kills=3, seed=1, unbroken=root, code=root) == []


# Run the pipeline up to drift twice, and print the drift events of Prefect's server.
COMPARED = """
import json, sys, time
from pathlib import Path
from flows.servers.environment import prepare_environment
from flows.servers.ephemeral_prefect import EphemeralPrefectServer
server = EphemeralPrefectServer(prepare_environment(Path.cwd()))
from prefect import flow
from prefect.client.orchestration import get_client
from flows.config import read_preset
from flows.pipeline_run import PipelineRun
from tasks.drift import drift
from tasks.ingest import ingest
from tasks.split import split
from tasks.tokenizer import tokenizer
from tasks.validate import validate

@flow(name="compared", persist_result=False)
def compared(preset):
    with PipelineRun(preset) as run:
        good = run(validate, preset.validation_parameters(), run(ingest, preset.data))
        parts = run(split, preset.split, good)
        tokens = run(tokenizer, preset.tokenizer_parameters(), parts)
        found = run.run_drift(drift, preset.drift, parts, tokens)
        return found.key, found.reused

@flow(name="twice", persist_result=False)
def twice(preset):
    made = [compared(preset) for _ in range(2)]
    told, deadline = [], time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while not told and time.monotonic() < deadline:
            time.sleep(0.5)
            wanted = {"filter": {"event": {"name": ["chatmill.drift"]}}}
            told = client._client.post("/events/filter", json=wanted).json()["events"]
    return {"made": made, "told": [event["payload"] for event in told]}

server.wait_until_ready()
print("compared", json.dumps(twice(read_preset(Path(sys.argv[1])), return_state=False)))
"""


def test_drift_changed_labels_are_reported_once_against_champion(root: Path, tmp_path: Path) -> None:
    # Work in a copy, because later tests need the unchanged data.
    root = shutil.copytree(root, tmp_path / "copy", symlinks=True)
    rows = [json.loads(line) for line in (root / "tests/fixtures/exports/smoke/comparisons.jsonl").open()]
    labels = root / "comparisons.jsonl"
    labels.write_text("".join(json.dumps(row | {"choice": "a"}) + "\n" for row in rows))
    config = root / "other.yaml"
    files = "tests/fixtures/exports/smoke/comparisons.jsonl"
    config.write_text(SMOKE.read_text().replace(files, labels.name))
    done = call(root, "-c", COMPARED, str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("compared ")]
    found = json.loads(line.partition(" ")[2])
    # The second run reuses the result and emits no second event.
    (key, reused), again = found["made"]
    assert not reused and again == [key, True]
    told_of = "1 of 21 metrics above their threshold, compared"
    notes = [text for text in done.stdout.splitlines() if told_of in text]
    assert len([text for text in notes if not text.startswith("compared ")]) == 2
    [told] = found["told"]
    assert told["past"] == ["labels/helpfulness/chat"] and [(told["champion"],)] == mlflow(
        root, "select cast(version as text) from registered_model_aliases where alias = 'champion'"
    )
    names = {name for (name,) in mlflow(root, "select distinct key from metrics where key like 'drift.%'")}
    assert {"drift.labels/helpfulness/chat", "drift.unknown_pieces/text", "drift.past"} <= names
    kept = {path.name for path in next((root / "var" / "mlflow").rglob("drift.svg")).parent.iterdir()}
    assert {"drift.md", "drift.csv", "drift.json", "profile.json", "rows.txt"} <= kept
    made = json.loads((root / "var" / "cache" / "artifacts" / "drift" / key / "manifest.json").read_text())
    assert made["inputs"]["champion"]["digest"]


def test_models_and_chat_use_every_trained_model(root: Path) -> None:
    prompt = ("--prompt", "Finish this review: the film", "--new-tokens", "8")
    models = ("base", "sft", "aligned", "champion")
    listed, *answers = chatmill_each(
        root, ("models",), *(("chat", "--model", one, *prompt) for one in models)
    )
    assert "champion" in listed
    assert all(answer.strip() for answer in answers)


def test_withdraw_person_changes_data_version_and_repeats_cleanly(root: Path) -> None:
    words = ("--annotator", "person-3", "--reason", "asked to", "--author", "max", "--config", str(SMOKE))
    before = (root / "data.dvc").read_text()
    said, again = chatmill_each(root, ("withdraw", *words), ("withdraw", *words))
    assert "(champion)" in said and "learned in reward" in said
    assert re.search(r"smoke/comparisons\.jsonl +comparisons +100", said) and "were accepted" not in said
    assert (root / "data.dvc").read_text() != before
    assert "nothing to do" in again


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "--config", "none.yaml"), "none.yaml does not exist"),
        (("run", "--config", str(SMOKE), "--set", "rlhf.stepz=4"), "did you mean rlhf.steps?"),
        (("run", "--config", str(SMOKE), "--set", "tracking.mlflow=http://127.0.0.1:9"), "is unreachable"),
        (("chat", "--model", "nowhere"), "nowhere"),
    ],
)
def test_commands_user_error_exits_2_with_one_sentence(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    fixtures = Path("tests/fixtures/exports/smoke")
    shutil.copytree(SMOKE.parents[1] / fixtures, tmp_path / fixtures)
    said = chatmill(tmp_path, *words, code=2)
    assert says in said and len(said.strip().splitlines()) == 1


def test_gc_then_lost_cache_keeps_records_and_data_version(root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(root, tmp_path / "copy", symlinks=True)
    commands = (("models",), ("models", "--history"), ("lineage", "champion", "--json"), ("cost", "--json"))
    answer = ("chat", "--model", "champion", "--temperature", "0", "--prompt", "What did the miller keep?")
    *before, would, gone = chatmill_each(
        root, *commands, answer, ("gc", "--dry-run", "--older-than", "0m"), ("gc", "--older-than", "0m")
    )
    data = (root / "data.dvc").read_text()
    assert re.search(r"would be removed: \d+ Prefect's runs", would) and "var/mlflow.db" in would
    assert re.findall(r"\d+ Prefect's runs", would) == re.findall(r"\d+ Prefect's runs", gone)
    assert asked(root / "var" / "prefect" / "prefect.db", "select count(*) from task_run") == [(0,)]
    shutil.rmtree(root / "var" / "cache")
    ingest = ("ingest", "--config", str(SMOKE))
    *after, _, history = chatmill_each(root, *commands, answer, ingest, ("models", "--history"))
    assert after == before
    assert (root / "data.dvc").read_text() == data
    assert history == before[1]
