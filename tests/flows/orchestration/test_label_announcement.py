"""Test that runs which accept the same labels at the same moment announce them once."""

from __future__ import annotations

from pathlib import Path
from queue import Queue
from threading import Thread

import pytest

from flows.orchestration import events
from flows.orchestration.label_announcement import announce_labels, remember_learned_labels
from model.events import Event, Message
from tasks.common.file_lock import exclusive_lock
from tasks.data.labels.new_labels import known_labels
from tasks.data.records import comparison_row, rating_row
from tasks.engine.output import StageOutput
from tasks.project.paths import LABELS_LOCK
from tests.flows.prefect_project import unreachable_server
from tests.tasks.record_files import write_rows

RATINGS = [rating_row("the film", f" is {n}", [1.0], ["ann"], "tone", "s", "g") for n in range(3)]
CHOICES = [comparison_row("why?", f"a{n}", "b", "a", "tone", "unknown", "s", "g") for n in range(2)]


def lay(root: Path, ratings: int, choices: int) -> Path:
    good = root / "good"
    for kind, rows in (("ratings", RATINGS[:ratings]), ("comparisons", CHOICES[:choices])):
        (good / kind).mkdir(parents=True)
        write_rows(good / kind / "00000.jsonl", rows)
    return good


@pytest.mark.parametrize(("ratings", "choices"), [(1, 0), (3, 0), (0, 2), (3, 1)])
def test_announce_labels_waits_for_run_that_announces_them(
    tmp_path: Path, ratings: int, choices: int
) -> None:
    good = lay(tmp_path, ratings, choices)
    said: Queue[str] = Queue()

    def on_event(event: Event) -> None:
        assert isinstance(event, Message)
        said.put(event.text)

    second = Thread(target=announce_labels, args=(tmp_path, "mine", good, "g", "d5", "mine.yaml", on_event))
    with exclusive_lock(tmp_path / LABELS_LOCK, on_event, ""):
        second.start()
        assert said.get(timeout=60) == "another run is announcing labels; waiting for it"
        known = known_labels(tmp_path, "mine")
        assert known.find_new_labels(good, "g")
        known.remember_labels(good, "g", "d5")
    second.join(timeout=60)
    # It would have announced them, had it read the known labels before it waited.
    assert said.empty() and not second.is_alive()
    assert known_labels(tmp_path, "mine").data == "d5"


def announced(root: Path, good: Path, digest: str) -> str:
    """Announce the labels; return the sentence about them."""
    said: list[str] = []

    def on_event(event: Event) -> None:
        assert isinstance(event, Message)
        said.append(event.text)

    # The sentence comes before the event, which has no part in these tests.
    with unreachable_server():
        announce_labels(root, "mine", good, digest, f"data-{digest}", "mine.yaml", on_event)
    return said[0] if said else ""


def test_announce_labels_after_a_whole_run_counts_those_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVENT_PATIENCE_SECONDS", 0.0)
    learned = lay(tmp_path / "one", 2, 1)
    (learned.parent / "rows").symlink_to(learned)
    output = StageOutput("validate", "k", str(learned.parent), "one", False, 1.0, {})
    remember_learned_labels(tmp_path, "mine", output, "data-one", print)
    assert announced(tmp_path, learned, "one") == ""
    later = lay(tmp_path / "two", 3, 1)
    assert announced(tmp_path, later, "two") == "1 new rating by 1 person were accepted"
    # An announcement is not taken back by a later run.
    remember_learned_labels(tmp_path, "mine", output, "data-one", print)
    assert known_labels(tmp_path, "mine").data == "data-one"


def test_announce_labels_without_a_run_before_names_none_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVENT_PATIENCE_SECONDS", 0.0)
    said = announced(tmp_path, lay(tmp_path, 2, 1), "one")
    assert said.startswith("1 comparison and 2 ratings by ") and "new" not in said
    assert said.endswith("were accepted; no labels of mine were announced before")
