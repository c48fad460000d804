"""Map the rows of data/ to their places in the sources, as the run that made them recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tasks.data.records import TYPES, list_shards
from tasks.engine.output import is_undamaged, read_manifest
from tasks.project.paths import ARTIFACTS

STORED = "data/"  # prefix of the place of a fetched row; no source is inside data/


def find_origins(root: Path, version: str) -> Path | None:
    """Return the folder with the origin of each row of a version of data/, line by line.

    Returns:
        None if no run that read these rows from their sources is left.
    """
    for folder in sorted((root / ARTIFACTS / "ingest").glob("*")):
        manifest = read_manifest(folder)
        if not version or not manifest or manifest["metrics"].get("data_hash") != version:
            continue
        origins = folder / "origins"
        if _names_sources(origins) and is_undamaged(folder, root):
            return origins
    return None


def _names_sources(origins: Path) -> bool:
    # One place is enough: a run either parsed all its rows or fetched all of them.
    firsts = (next(read_places(path), None) for kind in TYPES for path in list_shards(origins / kind))
    first = next((place for place in firsts if place is not None), STORED)
    return not first.startswith(STORED)


def read_places(path: Path) -> Iterator[str]:
    """Yield the place of each row of a shard: a file with a line, an item or a row."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield str(json.loads(line))


def write_places(out: Path) -> None:
    """Write out/origins for rows that were fetched instead of parsed: their lines in data/."""
    for kind in TYPES:
        (out / "origins" / kind).mkdir(parents=True)
        for path in list_shards(out / "rows" / kind):
            with path.open("rb") as rows, (out / "origins" / kind / path.name).open("w") as places:
                for number, _ in enumerate(rows, 1):
                    places.write(json.dumps(f"data/{kind}/{path.name}, line {number}") + "\n")
