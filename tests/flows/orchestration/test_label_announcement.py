"""Test that runs which accept the same labels at the same moment announce them once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest

from flows.orchestration.label_announcement import announce_labels
from model.events import Event, Message
from tasks.data.new_labels import known_labels
from tasks.data.records import comparison_row, rating_row
from tests.tasks.record_files import write_rows

RATINGS = [rating_row("the film", f" is {n}", [1.0], ["ann"], "tone", "s", "g") for n in range(3)]
CHOICES = [comparison_row("why?", f"a{n}", "b", "a", "tone", "unknown", "s", "g") for n in range(2)]


def lay(root: Path, ratings: int, choices: int) -> Path:
    good = root / "good"
    for kind, rows in (("ratings", RATINGS[:ratings]), ("comparisons", CHOICES[:choices])):
        (good / kind).mkdir(parents=True)
        write_rows(good / kind / "00000.jsonl", rows)
    return good


@pytest.mark.parametrize(
    ("ratings", "choices", "says"),
    [
        (1, 0, "1 new rating by 1 person were accepted"),
        (3, 0, "3 new ratings by 1 person were accepted"),
        (0, 2, "2 new comparisons by people without a name were accepted"),
        (3, 1, "1 new comparison and 3 new ratings by 1 person and some without a name were accepted"),
    ],
)
def test_announce_labels_runs_at_same_moment_announce_once(
    server_root: Path, tmp_path: Path, ratings: int, choices: int, says: str
) -> None:
    good = lay(tmp_path, ratings, choices)
    said: list[str] = []

    def on_event(event: Event) -> None:
        assert isinstance(event, Message)
        said.append(event.text)

    with ThreadPoolExecutor(4) as pool:
        runs = [
            # The settings of Prefect's client are in the context.
            pool.submit(
                copy_context().run, announce_labels, tmp_path, "mine", good, "g", "d5", "mine.yaml", on_event
            )
            for _ in range(4)
        ]
        for each in runs:
            each.result()
    assert [text for text in said if "accepted" in text] == [says]
    assert {text for text in said if "accepted" not in text} <= {
        "another run is announcing labels; waiting for it"
    }
    assert known_labels(tmp_path, "mine").data == "d5"
