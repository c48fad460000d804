"""`chatmill label batch` on the outputs of a run of the smoke preset."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tasks.labelling.batch_requests import unsent_requests
from tasks.labelling.batches import Batch, list_batches
from tasks.labelling.schema import open_label_store, read_label_store
from tests.integration.clones import SMOKE, Clones, call, chatmill


@pytest.fixture(scope="module")
def root(clones: Clones) -> Path:
    """Return a folder in which the pipeline has run once."""
    return clones.first


def batches(root: Path) -> list[Batch]:
    store = read_label_store(root)
    if store is None:
        return []
    with store:
        return list_batches(store)


def test_label_batch_after_run_adds_batch_once(root: Path) -> None:
    label = ("label", "batch", "--config", str(SMOKE), "--size", "12")
    said = chatmill(root, *label)
    assert "batch smoke-1 has 12 items: 4 at random, 8 uncertain" in said
    assert "left out: " in said and "next: chatmill people add NAME" in said
    (made,) = batches(root)
    assert (made.name, made.items, made.needed) == ("smoke-1", 12, 2)
    another = (*label, "--name", "second", "--set", "label_batch.round=2")
    said = " ".join(chatmill(root, *another, code=2).split())
    assert "batch smoke-1 is open and still needs 24 judgements, so no batch was added" in said
    # The same models and settings: the page has the batch already, as after a kill behind the stage.
    assert "the page has it already" in chatmill(root, *label, "--add-another")
    assert len(batches(root)) == 1
    said = chatmill(root, *another, "--add-another")
    assert "batch second has 12 items" in said
    assert [batch.name for batch in batches(root)] == ["smoke-1", "second"]
    # The runs that made batches do not hide the run with the models.
    assert "pretrain" in chatmill(root, "explain")


def test_label_batch_without_run_names_command(root: Path) -> None:
    label = ("label", "batch", "--config", str(SMOKE), "--set")
    said = chatmill(root, *label, "name=other", code=2)
    assert "no run of preset other has made an SFT model yet; `chatmill run`" in " ".join(said.split())
    said = chatmill(root, *label, "label_batch.guide=missing.md", code=2)
    assert re.search(r"label_batch\.guide: the guide \S*missing\.md cannot be read", " ".join(said.split()))


FLOW = """
import json, sys
from flows.deployments import batch_labels

config, changes = sys.argv[1], json.loads(sys.argv[2])
said = batch_labels(
    config=config, changes=changes, announced=config, add_another=len(sys.argv) > 3, return_state=True
)
print(said.message)
"""


def test_label_batch_flow_killed_before_store_adds_batch_once(root: Path) -> None:
    preset = yaml.safe_load(SMOKE.read_text())
    page = [*preset["data"]["sources"], {"name": "people", "labels": "page"}]
    changes = [f"data.sources={json.dumps(page)}", "label_batch.round=3", "label_batch.size=6"]
    # The stage is complete, and the flow dies before the items are in the store.
    dies = "import flows.pipeline as p\ndef die(*a): raise SystemExit(9)\np.add_made_batch = die\n"
    words = (str(SMOKE), json.dumps(changes), "add another")
    assert call(root, "-c", dies + FLOW, *words).returncode != 0
    before = len(batches(root))
    for _ in range(2):
        done = call(root, "-c", FLOW, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "made the items" in done.stdout
    names = [batch.name for batch in batches(root)][before:]
    assert len(names) == 1
    # Without that, nothing is computed while a batch needs judgements.
    done = call(root, "-c", FLOW, *words[:2])
    assert "is open and still needs 12 judgements, so no batch was added" in done.stdout, done.stderr
    assert unsent(root) == 0


def unsent(root: Path) -> int:
    """Return how many batches have a request that was not sent."""
    with open_label_store(root) as store:
        return len(unsent_requests(store, "smoke"))


def test_label_batch_flow_killed_behind_store_asks_people_next_time(root: Path) -> None:
    preset = yaml.safe_load(SMOKE.read_text())
    page = [*preset["data"]["sources"], {"name": "people", "labels": "page"}]
    changes = [f"data.sources={json.dumps(page)}", "label_batch.round=4", "label_batch.size=6"]
    dies = (
        "import flows.pipeline as p\nadd = p.add_made_batch\n"
        "def die(*a): print(add(*a).name, flush=True); raise SystemExit(9)\np.add_made_batch = die\n"
    )
    words = (str(SMOKE), json.dumps(changes))
    before = len(batches(root))
    done = call(root, "-c", dies + FLOW, *words, "add another")
    assert done.returncode != 0 and len(batches(root)) == before + 1
    assert unsent(root) == 1
    # The next run adds none, as this batch needs judgements, and sends its request.
    done = call(root, "-c", FLOW, *words)
    assert "so no batch was added" in done.stdout, done.stdout + done.stderr
    assert unsent(root) == 0
