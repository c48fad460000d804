"""Which labels are new since the last time that somebody was told of them."""

from __future__ import annotations

from pathlib import Path

from tasks.arrivals import known_labels
from tasks.records import rating_row, write_rows


def lay(rows: Path, *people: str) -> None:
    for kind in ("comparisons", "ratings"):
        (rows / kind).mkdir(parents=True, exist_ok=True)
    """A rating for each word; of several people where a word joins them by a plus."""
    ratings = [
        rating_row("the film", f" is {place}", [1.0] * len(who.split("+")), who.split("+"), "tone", "s", "g")
        for place, who in enumerate(people)
    ]
    write_rows(rows / "ratings" / "00000.jsonl", ratings)


def test_labels_are_told_of_once(tmp_path: Path) -> None:
    lay(tmp_path / "rows", "ann", "ben")
    known = known_labels(tmp_path, "a/preset")
    came = known.arrived(tmp_path / "rows", "first")
    assert came.rows == {"comparisons": 0, "ratings": 2} and came.annotators == {"ann": 1, "ben": 1}
    known.remember(tmp_path / "rows", "first", "data-1")

    again = known_labels(tmp_path, "a/preset")
    assert again.data == "data-1" and not again.arrived(tmp_path / "rows", "first")
    lay(tmp_path / "rows", "ann", "ben", "cay")
    assert again.arrived(tmp_path / "rows", "second").annotators == {"cay": 1}
    # Another preset's labels are its own, and a file that is broken knows none.
    assert known_labels(tmp_path, "other").arrived(tmp_path / "rows", "second").rows["ratings"] == 3
    again.path.write_bytes(b"half")
    assert known_labels(tmp_path, "a/preset").arrived(tmp_path / "rows", "second").rows["ratings"] == 3


def test_labels_that_are_gone_are_no_news(tmp_path: Path) -> None:
    lay(tmp_path / "rows", "ann", "ben")
    known = known_labels(tmp_path, "demo")
    known.remember(tmp_path / "rows", "first", "data-1")
    lay(tmp_path / "rows", "ann")
    assert not known.arrived(tmp_path / "rows", "second")


def test_a_rating_that_lost_a_score_is_no_news_and_one_that_got_one_is(tmp_path: Path) -> None:
    lay(tmp_path / "rows", "ann+ben", "ben")
    known = known_labels(tmp_path, "demo")
    known.remember(tmp_path / "rows", "first", "data-1")
    lay(tmp_path / "rows", "ben", "ben")
    assert not known.arrived(tmp_path / "rows", "second")
    lay(tmp_path / "rows", "ann+ben", "ben+cay")
    came = known.arrived(tmp_path / "rows", "third")
    assert came.rows["ratings"] == 1 and came.annotators == {"cay": 1}
