"""Test the notice about sources that a preset no longer names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from model.events import Event, Message
from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.stage import StageContext
from tasks.ingest import ingest


def test_ingest_source_missing_from_preset_is_named_with_its_rows(tmp_path: Path) -> None:
    for name, count in (("a", 2), ("b", 3), ("c", 4)):
        rows = [{"prompt": f"{name} {n}?", "completion": f"It is {n} of {name}."} for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    a, b, c = (Source(name=name, files=f"{name}.jsonl") for name in ("a", "b", "c"))
    context = StageContext(tmp_path, 1)

    def lines(*sources: Source) -> list[str]:
        events: list[Event] = []
        ingest.run(DataParameters(sources=sources), {}, context, events.append)
        said = [event.text for event in events if isinstance(event, Message)]
        return [text for text in said if "lacks" in text]

    assert lines(a, b) == []
    assert lines(a) == [
        "this preset lacks a source of the version of data/ before: b (3 rows). Rows that no other source "
        "has leave data/; to keep them, name the source in data.sources, or run the preset that does"
    ]
    (tmp_path / "data" / "pairs" / "00000.jsonl").write_text("no row")
    assert lines(a, b) == []
    (tmp_path / "data" / "pairs" / "00000.jsonl").write_text("no row")
    (said,) = lines(b, c)
    assert said.startswith("this preset lacks a source of the version of data/ before: a. Rows")
    # Another product's data: nothing is left out of it.
    assert lines(a) == []
    # A fresh clone has data.dvc alone, so that no row can leave data/.
    assert lines(a, b) == []
    shutil.rmtree(tmp_path / "data")
    assert lines(a) == []
