"""`chatmill label batch` on the outputs of a run of the smoke preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.labelling.batches import Batch, list_batches
from tasks.labelling.schema import read_label_store
from tests.integration.clones import SMOKE, Clones, chatmill


@pytest.fixture(scope="module")
def root(clones: Clones) -> Path:
    """Return a folder in which the pipeline has run once."""
    return clones.first


def batches(root: Path) -> list[Batch]:
    store = read_label_store(root)
    assert store is not None
    try:
        return list_batches(store)
    finally:
        store.close()


def test_label_batch_after_run_adds_batch_once(root: Path) -> None:
    label = ("label", "batch", "--config", str(SMOKE), "--size", "12")
    said = chatmill(root, *label)
    assert "batch smoke-1 has 12 items: 4 at random, 8 uncertain" in said
    assert "left out: " in said and "Judge its items: chatmill label" in said
    (made,) = batches(root)
    assert (made.name, made.items, made.needed) == ("smoke-1", 12, 2)
    # The same models and settings: the page has the batch already, as after a kill behind the stage.
    assert "the page has it already" in chatmill(root, *label)
    assert len(batches(root)) == 1
    said = chatmill(root, *label, "--name", "second", "--set", "label_batch.round=2")
    assert "batch second has 12 items" in said
    assert [batch.name for batch in batches(root)] == ["smoke-1", "second"]
    # The runs that made batches do not hide the run with the models.
    assert "pretrain" in chatmill(root, "explain")


def test_label_batch_without_run_names_command(root: Path) -> None:
    label = ("label", "batch", "--config", str(SMOKE), "--set")
    said = chatmill(root, *label, "name=other", code=2)
    assert "no run of preset other has made an SFT model yet; `chatmill run`" in " ".join(said.split())
    said = chatmill(root, *label, "label_batch.guide=missing.md", code=2)
    assert "label_batch.guide: missing.md cannot be read" in " ".join(said.split())
