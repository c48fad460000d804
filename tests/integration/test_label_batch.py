"""`chatmill label batch` on the outputs of a run of the smoke preset."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tasks.labelling.batch_requests import unsent_requests
from tasks.labelling.batches import Batch, list_batches
from tasks.labelling.schema import open_label_store, read_label_store
from tests.flows.prefect_project import run_server
from tests.integration.clones import SMOKE, Clones, call, chatmill_each


@pytest.fixture(scope="module")
def root(clones: Clones) -> Path:
    """Return a folder in which the pipeline has run once."""
    return clones.later


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the settings of a Prefect server for all processes; without one each would start its own."""
    with run_server(tmp_path_factory.mktemp("server")) as project:
        password = project.login.text
        yield {
            "PREFECT_API_URL": project.api, "PREFECT_API_AUTH_STRING": password,
            "CHATMILL_PASSWORD": password,
        }  # fmt: skip


def batches(root: Path) -> list[Batch]:
    store = read_label_store(root)
    if store is None:
        return []
    with store:
        return list_batches(store)


def test_label_batch_after_run_adds_batch_once(root: Path, server: dict[str, str]) -> None:
    label = ("label", "batch", "--config", str(SMOKE), "--size", "12")
    another = (*label, "--name", "second", "--set", "label_batch.round=2")
    # The third has the same models and settings: the page has the batch already, as after a kill behind the
    # stage. The runs that made batches do not hide the run with the models from the last.
    first, refused, same, second, explained = chatmill_each(
        root, label, another, (*label, "--add-another"), (*another, "--add-another"), ("explain",),
        codes=(0, 2, 0, 0, 0), **server,
    )  # fmt: skip
    assert "batch smoke-1 has 12 items: 4 at random, 8 uncertain" in first
    assert "left out: " in first and "next: chatmill people add NAME" in first
    refused = " ".join(refused.split())
    assert "batch smoke-1 is open and still needs 24 judgements, so no batch was added" in refused
    assert "the page has it already" in same
    assert "batch second has 12 items" in second
    made, more = batches(root)
    assert (made.name, made.items, made.needed) == ("smoke-1", 12, 2)
    assert more.name == "second"
    assert "pretrain" in explained


def test_label_batch_without_run_names_command(root: Path, server: dict[str, str]) -> None:
    label = ("label", "batch", "--config", str(SMOKE), "--set")
    commands = ((*label, "name=other"), (*label, "label_batch.guide=missing.md"))
    other, guide = chatmill_each(root, *commands, codes=(2, 2), **server)
    assert "no run of preset other has made an SFT model yet; `chatmill run`" in " ".join(other.split())
    assert re.search(r"label_batch\.guide: the guide \S*missing\.md cannot be read", " ".join(guide.split()))


FLOW = """
import json, sys
from flows.deployments import batch_labels

config, changes = sys.argv[1], json.loads(sys.argv[2])
for add_another in json.loads(sys.argv[3]):
    said = batch_labels(
        config=config, changes=changes, announced=config, add_another=add_another, return_state=True
    )
    print(said.message)
"""


def test_label_batch_flow_killed_before_store_adds_batch_once(root: Path, server: dict[str, str]) -> None:
    preset = yaml.safe_load(SMOKE.read_text())
    page = [*preset["data"]["sources"], {"name": "people", "labels": "page"}]
    changes = [f"data.sources={json.dumps(page)}", "label_batch.round=3", "label_batch.size=6"]
    # The stage is complete, and the flow dies before the items are in the store.
    dies = "import flows.pipeline as p\ndef die(*a): raise SystemExit(9)\np.add_made_batch = die\n"
    words = (str(SMOKE), json.dumps(changes))
    assert call(root, "-c", dies + FLOW, *words, "[true]", **server).returncode != 0
    before = len(batches(root))
    done = call(root, "-c", FLOW, *words, "[true, true, false]", **server)
    assert done.returncode == 0, done.stdout + done.stderr
    *made, last = done.stdout.splitlines()
    assert len([line for line in made if "made the items" in line]) == 2, done.stdout
    names = [batch.name for batch in batches(root)][before:]
    assert len(names) == 1
    # Unless another is asked for, nothing is computed while a batch needs judgements.
    assert "is open and still needs 12 judgements, so no batch was added" in last, done.stdout
    assert unsent(root) == 0


def unsent(root: Path) -> int:
    """Return how many batches have a request that was not sent."""
    with open_label_store(root) as store:
        return len(unsent_requests(store, "smoke"))


def test_label_batch_flow_killed_behind_store_asks_people_next_time(
    root: Path, server: dict[str, str]
) -> None:
    preset = yaml.safe_load(SMOKE.read_text())
    page = [*preset["data"]["sources"], {"name": "people", "labels": "page"}]
    changes = [f"data.sources={json.dumps(page)}", "label_batch.round=4", "label_batch.size=6"]
    dies = (
        "import flows.pipeline as p\nadd = p.add_made_batch\n"
        "def die(*a): print(add(*a).name, flush=True); raise SystemExit(9)\np.add_made_batch = die\n"
    )
    words = (str(SMOKE), json.dumps(changes))
    before = len(batches(root))
    done = call(root, "-c", dies + FLOW, *words, "[true]", **server)
    assert done.returncode != 0 and len(batches(root)) == before + 1
    assert unsent(root) == 1
    # The next run adds none, as this batch needs judgements, and sends its request.
    done = call(root, "-c", FLOW, *words, "[false]", **server)
    assert "so no batch was added" in done.stdout, done.stdout + done.stderr
    assert unsent(root) == 0
