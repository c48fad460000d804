"""Training on another host: two folders share a repository, a remote and two servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.two_hosts import SMOKE, Hosts, asked, logs, two_hosts

# Run the pipeline up to the base model, and print the status of each stage.
FLOW = """
import json, sys
from pathlib import Path
from flows.servers.environment import prepare_environment
prepare_environment(Path.cwd())
from prefect import flow
from flows.config import read_preset
from flows.pipeline_run import PipelineRun
from tasks.ingest import ingest
from tasks.pretrain import BaseParameters, pretrain
from tasks.split import split
from tasks.tokenizer import tokenizer
from tasks.validate import validate

@flow(name="base", persist_result=False)
def base(preset):
    with PipelineRun(preset) as run:
        good = run(validate, preset.validation_parameters(), run(ingest, preset.data))
        tokens = run(tokenizer, preset.tokenizer_parameters(), run(split, preset.split, good))
        run(pretrain, BaseParameters(preset.architecture, preset.pretrain, preset.base_model), tokens)
        return run.stages

print("stages", json.dumps(base(read_preset(Path(sys.argv[1]), sys.argv[2:]), return_state=False)))
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with two_hosts(tmp_path_factory.mktemp("hosts") / "both") as found:
        yield found


def stages(hosts: Hosts, root: Path, *changes: str) -> dict[str, dict[str, object]]:
    said = hosts.run(root, "-c", FLOW, SMOKE, "pretrain.steps=20", *changes)
    [line] = [line for line in said.splitlines() if line.startswith("stages ")]
    return {entry["name"]: entry for entry in json.loads(line.partition(" ")[2])}


@pytest.mark.long
def test_training_stage_on_worker_host_is_tracked_cached_and_checked(hosts: Hosts) -> None:
    made = stages(hosts, hosts.cpu, *hosts.changes)
    assert {entry["status"] for entry in made.values()} == {"computed"}
    assert logs(hosts.gpu) == {"pretrain"} and not logs(hosts.cpu)
    # The metrics of each step are in the MLflow run that the flow opened.
    client = asked(hosts)
    folder = Path(str(made["pretrain"]["folder"]))
    assert folder.is_relative_to(hosts.cpu) and (folder / "model" / "model.safetensors").exists()
    run = client.get_run(json.loads((folder / "manifest.json").read_text())["run"])
    assert run.info.status == "FINISHED" and run.data.tags["chatmill.status"] == "computed"
    steps = {metric.step for metric in client.get_metric_history(run.info.run_id, "loss")}
    assert steps == set(range(1, 21))
    assert run.data.tags["mlflow.parentRunId"]

    # The other host reuses everything from the remote.
    (hosts.gpu / "data.dvc").write_bytes((hosts.cpu / "data.dvc").read_bytes())
    again = stages(hosts, hosts.gpu, *hosts.changes[:1])
    assert {entry["status"] for entry in again.values()} == {"cached"}
    assert [entry["key"] for entry in again.values()] == [entry["key"] for entry in made.values()]

    # A worker with different code is refused, because it would make another model.
    source = hosts.gpu / "model" / "training" / "pretrain.py"
    source.write_text(source.read_text() + "\nSTRAY = 1\ndel STRAY\n")
    with pytest.raises(RuntimeError, match="worker's code of pretrain differs from the flow's"):
        stages(hosts, hosts.cpu, *hosts.changes, "seed=2")
