"""A person is asked about a model: real runs on Prefect's server, suspended, answered, run to the end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.surroundings import bare, free_port, silent
from tests.hosts import until

REPOSITORY = Path(__file__).parent.parent.parent
# The end of the chain: a model and its figures as they are given, the gate, and whether a person is asked.
FLOW = """
import json
from pathlib import Path
from flows.surroundings import prepare
prepare(Path.cwd())
from prefect import flow
from flows.configuration import read_preset
from flows.deployed import _answered, _ended
from flows.running import Running
from tasks.gate import gate
from tasks.ingest import ingest
from tasks.stage import Reference

@flow(name="asking", persist_result=False)
def asking(config: str, score: float):
    preset = read_preset(Path(config), ["promote.approval=human"])
    if answered := _answered(preset):
        return answered
    with Running(preset) as run:
        run(ingest, preset.data)
        figures = Path("figures") / str(score)
        figures.mkdir(parents=True)
        (figures / "metrics.json").write_text(json.dumps({"judge_gain": score, "ends_by_itself": 0.9}))
        measured = Reference("evaluate", "k", str(figures), str(score), False, 1.0, {})
        aligned = Reference("rlhf", "k", "", str(score), False, 1.0, {}, run.tracker.run)
        run.register(aligned, run(gate, preset.gate, measured))
        outcome = run.outcome()
    Path(f"made-{score}").touch(exist_ok=False)
    return _ended(preset, outcome)
"""
MAKE = """
import sys
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    flow = client.create_flow_from_name("asking")
    made = client.create_deployment(flow, "asking", entrypoint="asking.py:asking", path=sys.argv[1])
    for score in (0.4, 0.5):
        run = client.create_flow_run_from_deployment(made, parameters={"config": sys.argv[2], "score": score})
        print(run.id, run.name)
"""


class Project:
    """A folder with that flow, and a Prefect server that knows it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.api = f"http://127.0.0.1:{free_port()}/api"
        self.environment = {
            **bare(REPOSITORY), "OMP_NUM_THREADS": "1", "COLUMNS": "120",
            "PREFECT_API_URL": self.api, "PREFECT_HOME": str(root / "var" / "prefect"),
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words], cwd=self.root, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def call(self, *words: str, code: int = 0) -> str:
        return ended(self.start(*words), code)

    def chatmill(self, *words: str, code: int = 0) -> str:
        return self.call("-m", "flows.command", *words, code=code)

    def run(self, *ids: str) -> None:
        """Run flow runs that are due, as a worker does."""
        for process in [self.start("-m", "prefect", "flow-run", "execute", run) for run in ids]:
            ended(process, 0)

    def ask(self, program: str) -> Any:
        """What a few lines print about Prefect's server."""
        before = "from uuid import UUID; import json; from prefect.client.orchestration import get_client\n"
        return json.loads(self.call("-c", before + "client = get_client(sync_client=True)\n" + program))

    def state(self, run: str) -> tuple[str, str]:
        program = f"s = client.read_flow_run(UUID('{run}')).state; print(json.dumps([s.name, s.message]))"
        name, message = self.ask(program)
        return name, message or ""


def ended(process: subprocess.Popen[str], code: int) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    return said


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("asking")
    exports = root / "tests" / "exports"
    exports.mkdir(parents=True)
    (exports / "smoke").symlink_to(REPOSITORY / "tests" / "exports" / "smoke")
    (root / "asking.py").write_text(FLOW)
    found = Project(root)
    port = found.api.rpartition(":")[2].removesuffix("/api")
    with (root / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port],
            cwd=root, env=found.environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: not silent(found.api), 90, "the server's start")
        yield found
    finally:
        server.terminate()
        server.wait(30)


def test_a_run_waits_for_a_person_and_ends_with_what_they_said(project: Project) -> None:
    smoke = str(REPOSITORY / "configs" / "smoke.yaml")
    said = project.call("-c", MAKE, str(project.root), smoke)
    (first, name), (second, _) = [line.split() for line in said.splitlines()]
    project.run(first, second)
    assert project.state(first)[0] == project.state(second)[0] == "Suspended"
    # The evaluation stands where the person decides: in the form, and as a page of the run.
    form, artifact = project.ask(
        f"run = UUID('{first}'); keys = client.read_flow_run(run).state.state_details.run_input_keyset\n"
        "from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId as Of\n"
        "found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=Of(any_=[run])))\n"
        "print(json.dumps([client.read_flow_run_input(run, keys['description']), found[0].data]))"
    )
    assert json.loads(form) == artifact and "| judge\\_gain | 0.4 |  |" in artifact
    assert "waits" in project.chatmill("models")
    versions = {float(line.split("judge_gain ")[1].split()[0]): line.split()[0] for line in
                project.chatmill("models").splitlines() if "judge_gain" in line}  # fmt: skip

    shown = project.chatmill("approve", name, "--show")
    assert "judge_gain" in shown and "no champion yet" in shown and "waits for a person until" in shown
    assert "wants its reason" in project.chatmill("approve", name, "--reject", code=2)
    said = project.chatmill("approve", name, "--why", "reads well")
    assert f"version {versions[0.4]} of chatmill is now the champion" in said and f"{name} goes on" in said
    # As Prefect's page does it: Resume, and the form.
    project.ask(
        f"answer = {{'approve': False, 'why': 'rude', 'who': 'ann'}}\n"
        f"done = client.resume_flow_run(UUID('{second}'), run_input=answer)\n"
        "print(json.dumps(str(done.status)))"
    )
    # What made the models would fail on its second time.
    project.run(first, second)
    name, message = project.state(first)
    assert name == "Completed" and "approved by" in message and "reads well" in message
    name, message = project.state(second)
    assert name == "Completed" and "refused by ann" in message
    assert f"champion: version {versions[0.4]}" in project.chatmill("models")
    assert "reads well" in project.chatmill("models", "--history")
    again = project.chatmill("approve", versions[0.4])
    assert "approved by" in again and "is not suspended: Completed" in again
