"""Ingestion: sources become canonical rows in `data/`, versioned by data.dvc."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.launch import Report
from tasks import versions
from tasks.formats import Reading, find_parser
from tasks.records import TYPES, Rows, write_rows
from tasks.sources import DataParameters, read_source, sources_digest
from tasks.stage import stage


def _stands(folder: Path, root: Path) -> bool:
    """Whether data/ still holds what an earlier run put there; by size, as the bytes are DVC's to compare."""
    files = [(folder / "rows" / f"{kind}.jsonl", root / "data" / f"{kind}.jsonl") for kind in TYPES]
    pointed = versions.read_pointer(root) is not None
    return pointed and all(b.exists() and a.stat().st_size == b.stat().st_size for a, b in files)


@stage(outside=sources_digest, stands=_stands)
def ingest(parameters: DataParameters, out: Path, report: Report, root: Path) -> dict[str, Any]:
    """Rows of every source in out/rows, the same bytes as in root/data; metrics are counts and the hash.

    A data.dvc that knows these sources is followed: its version is pulled from the remote, or made again
    and compared. Sources that changed make a new version. Raises UserError for what cannot be read.
    """
    made_of = sources_digest(parameters, root)
    known = versions.read_pointer(root)
    followed = known is not None and known["meta"].get("sources") == made_of and not parameters.accept
    data = root / "data"
    if not (known and followed and _restored(root, known["md5"], parameters.remote)):
        counts = write_data(parse_sources(parameters, root, report), data)
        found = versions.folder_hash(root)
        if known and followed and found != known["md5"]:
            raise UserError(
                f"the sources are those of data.dvc, but their rows have the hash {found} and data.dvc says "
                f"{known['md5']}: the parsers changed; set data.accept=true to take it as a new version"
            )
        if not followed:
            found = versions.add(root, parameters.remote, {"sources": made_of, "rows": counts})
            text = f"data.dvc has a new version, {found[:12]}: `git add data.dvc` and commit it"
            report({"event": "message", "text": text})
    pointer = versions.read_pointer(root)
    assert pointer is not None
    rows = out / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    for kind in TYPES:
        shutil.copyfile(data / f"{kind}.jsonl", rows / f"{kind}.jsonl")
    return {**pointer["meta"]["rows"], "data_hash": pointer["md5"]}


def _restored(root: Path, wanted: str, remote: str) -> bool:
    """Whether data/ is what data.dvc says, or could be brought there from the remote."""
    whole = all((root / "data" / f"{kind}.jsonl").exists() for kind in TYPES)
    if whole and versions.folder_hash(root) == wanted:
        return True
    return bool(remote) and versions.pull(root, remote)


def parse_sources(parameters: DataParameters, root: Path, report: Report) -> Rows:
    """The rows of all sources, each content once: the first source that has it keeps it."""
    found = Rows()
    for number, source in enumerate(parameters.sources):
        files = read_source(source, parameters, root)
        rows = find_parser(source.format)(files, Reading(source.name, source.prompt))
        if not any(rows.of(kind) for kind in TYPES):
            raise UserError(f"source {source.name}: no rows in {', '.join(file.origin for file in files)}")
        found.extend(rows)
        report({"event": "step", "step": number + 1, "steps": len(parameters.sources), "metrics": {}})
    distinct = Rows()
    for kind in TYPES:
        once = {row.id: row for row in reversed(found.of(kind))}
        distinct.of(kind).extend(once.values())
    return distinct


def write_data(rows: Rows, data: Path) -> dict[str, int]:
    """Write the four files of `data/`; counts by type."""
    for kind in TYPES:
        write_rows(data / f"{kind}.jsonl", rows.of(kind))
    return {kind: len(rows.of(kind)) for kind in TYPES}
