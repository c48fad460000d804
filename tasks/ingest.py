"""Ingestion: makes canonical rows in `data/` from the sources, versioned by data.dvc."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.events import EventCallback, Message
from tasks.common.commit_advice import advise_commit
from tasks.common.counts import counted
from tasks.common.file_lock import exclusive_lock
from tasks.data.records import TYPES, list_shards
from tasks.data.sources.source_identity import check_still, identities_digest, source_identities
from tasks.data.sources.source_types import DataParameters
from tasks.data.versions.readmitted_rows import check_readmitted, member_digests, note_withdrawn
from tasks.data.versions.row_counts import rows_headline
from tasks.data.withdrawals import WITHDRAWN, Withdrawn, count_withdrawn, read_withdrawn
from tasks.dvc import versions
from tasks.dvc.pointer_file import explain_mismatch, read_pointer
from tasks.dvc.version_list import is_kept
from tasks.engine.output import MANIFEST
from tasks.engine.parallel import ParallelMap, serial_map
from tasks.engine.stage import stage
from tasks.ingestion.missing_sources import describe_missing_sources
from tasks.ingestion.row_making import Rows, make_rows
from tasks.ingestion.row_origins import find_origins, write_places
from tasks.project import data_folder
from tasks.project.owned_folder import copy_folder
from tasks.project.paths import DATA_LOCK, is_reproduction

WAITS = "another run is writing data/; waiting for it"


def _output_is_current(folder: Path, root: Path) -> bool:
    """Return whether data/ and data.dvc have the content that an earlier run left.

    If there is no data/ yet, as on another host, and data.dvc names these rows, they are copied there.
    """
    known = read_pointer(root)
    wanted = str(_read_manifest(folder)["metrics"].get("data_hash", ""))
    if known is None or known["md5"] != wanted:
        return False
    with exclusive_lock(root / DATA_LOCK, lambda event: None, WAITS):
        versions.claim_data(root)
        # The cache key includes the parameters, so the manifest's are those of this run.
        readmit = bool(_read_manifest(folder)["parameters"].get("readmit"))
        check_readmitted(root, read_withdrawn(root), readmit)
        if not data_folder.data_files(root / "data"):
            publish_rows(folder / "rows", root)
        stands = versions.folder_hash(root) == wanted
        # The note is kept beside DVC's cache, so only where DVC is set up.
        if stands and is_kept(root):
            note_withdrawn(root, read_withdrawn(root))
            versions.keep_data(root)
        return stands


def _read_manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return found


def _external_inputs(parameters: DataParameters, root: Path) -> dict[str, Any]:
    """Return what the rows depend on: the sources' digest, each source's identity, and the withdrawals."""
    found = source_identities(parameters, root)
    external = {"digest": identities_digest(parameters, found), "sources": found}
    withdrawn = read_withdrawn(root)
    return {**external, "withdrawn": withdrawn.withdrawals_content} if withdrawn else external


# `origins` is apart from the digest: the same rows may be found in other places of other sources.
@stage(
    external_inputs=_external_inputs,
    output_is_current=_output_is_current,
    excluded_from_digest=("origins",),
    row_folders=("rows",),
    origin_files=("origins/",),
    headline=rows_headline,
)
def ingest(
    parameters: DataParameters,
    out: Path,
    on_event: EventCallback,
    root: Path,
    parallel_map: ParallelMap = serial_map,
) -> dict[str, Any]:
    """Write rows of every source to out/rows, with the same bytes as in root/data; return counts and hash.

    out/origins gives the origin of each row: in its source, or in data/ if that was fetched. If data.dvc
    knows these sources, its version is used: pulled from the remote, or made again and compared. Changed
    sources and new withdrawals make a new version.

    Raises:
        UserError: A source cannot be read, or changes while it is read.
    """
    # Two presets of a project share data/, so it must stay what data.dvc says until the rows are copied.
    with exclusive_lock(root / DATA_LOCK, on_event, WAITS):
        versions.claim_data(root)
        withdrawn = read_withdrawn(root)
        check_readmitted(root, withdrawn, parameters.readmit)
        if parameters.pinned_version:
            figures = _from_version(parameters, out, on_event, root, withdrawn)
        else:
            figures = _from_sources(parameters, out, on_event, root, parallel_map, withdrawn)
        note_withdrawn(root, withdrawn)
        return figures


def _from_sources(
    parameters: DataParameters,
    out: Path,
    on_event: EventCallback,
    root: Path,
    parallel_map: ParallelMap,
    withdrawn: Withdrawn,
) -> dict[str, Any]:
    external = _external_inputs(parameters, root)
    known = read_pointer(root)
    # `data.accept_changes` makes a new version even of known sources.
    followed = (
        known is not None and _is_of(known["meta"], external, withdrawn) and not parameters.accept_changes
    )
    restored = known is not None and followed and _restore_version(root, known["md5"], parameters, on_event)
    if restored and known:
        _copy_rows(root, out, known["md5"])
    else:
        made = make_rows(parameters, root, out, on_event, parallel_map, withdrawn)
        if known and (missing := describe_missing_sources(root, parameters, known)):
            on_event(Message(missing))
        # Sources that changed while they were read would give rows of no version.
        check_still(parameters, root, external["sources"])
        publish_rows(out / "rows", root)
        if known and followed:
            found = versions.folder_hash(root)
            # Equal sources gave other rows: the code or a library has changed what they are read as.
            if found != known["md5"]:
                raise UserError(explain_mismatch(known, found))
        else:
            meta = describe_version(parameters, external, made, withdrawn)
            found = versions.add_version(root, parameters.remote, meta, parameters.endpoint)
            # A reproduction's data.dvc is removed with its checkout, so there is nothing to commit.
            if not is_reproduction(root):
                advice = advise_commit(root, "data.dvc")
                text = f"data.dvc has a new version, {found[:12]}{advice and ': '}{advice}"
                on_event(Message(text))
    if followed:
        versions.keep_data(root)
        versions.push_data(root, parameters.remote, parameters.endpoint, doubted=not restored)
    pointer = read_pointer(root)
    assert pointer is not None
    return _version_metrics(pointer)


def _version_metrics(pointer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a version's metrics: its rows, repeated and unreadable rows by kind, and its hash."""
    meta = pointer["meta"]
    repeats = {f"repeated_{kind}": count for kind, count in (meta.get("repeats") or {}).items()}
    unreadable = {f"unreadable_{kind}": count for kind, count in (meta.get("unreadable") or {}).items()}
    return {**meta["rows"], **repeats, **unreadable, "data_hash": pointer["md5"]}


def _is_of(meta: Mapping[str, Any], external: Mapping[str, Any], withdrawn: Withdrawn) -> bool:
    """Return whether a version was made of these sources without the withdrawn rows."""
    same = (meta.get("withdrawn") or {}).get("digest", "") == withdrawn.withdrawals_digest
    return bool(meta.get("sources") == external["digest"]) and same


def describe_version(
    parameters: DataParameters, external: Mapping[str, Any], made: Rows, withdrawn: Withdrawn
) -> dict[str, Any]:
    """Return what data.dvc records of a version; of withdrawals only the digest and counts."""
    names = sorted(source.name for source in parameters.sources)
    meta = {"sources": external["digest"], "names": names, "rows": made.counts}
    if made.repeats:
        meta["repeats"] = made.repeats
    if made.unreadable:
        meta["unreadable"] = made.unreadable
    if not withdrawn:
        return meta
    members = member_digests(withdrawn)
    return {
        **meta,
        "withdrawn": {"digest": withdrawn.withdrawals_digest, "members": members, "rows": made.withdrawn},
    }


def _from_version(
    parameters: DataParameters, out: Path, on_event: EventCallback, root: Path, withdrawn: Withdrawn
) -> dict[str, Any]:
    """Copy the rows of the version in data.dvc, whatever became of their sources; return its metrics."""
    known = read_pointer(root)
    if known is None or known["md5"] != parameters.pinned_version:
        raise UserError(
            f"data.pinned_version is {parameters.pinned_version}, and data.dvc names "
            f"{known['md5'] if known else 'none'}; "
            "restore that data.dvc first, as in `git checkout COMMIT data.dvc`"
        )
    stands = versions.folder_hash(root) == known["md5"]
    if not (
        stands or versions.checkout_data(root) or _restore_version(root, known["md5"], parameters, on_event)
    ):
        raise UserError(
            f"version {known['md5'][:12]} is in neither data/ nor DVC's cache"
            f"{f' nor at {parameters.remote}' if parameters.remote else ''}; without "
            "data.pinned_version it is made "
            "from its sources"
        )
    if withdrawn and (found := count_withdrawn(root / "data", withdrawn)):
        counts = " and ".join(counted(count, kind) for kind, count in found.items())
        raise UserError(
            f"data.pinned_version is {parameters.pinned_version}, which holds {counts} that "
            f"{WITHDRAWN} withdraws; take "
            "data.pinned_version out of the preset, and a version without them is made from its sources"
        )
    _copy_rows(root, out, known["md5"])
    return _version_metrics(known)


def _copy_rows(root: Path, out: Path, version: str) -> None:
    """Copy data/ to the output, with the rows' origins if an earlier run here read the sources."""
    for kind in TYPES:
        copy_folder(root / "data" / kind, out / "rows" / kind)
    if known := find_origins(root, version):
        for kind in TYPES:
            copy_folder(known / kind, out / "origins" / kind)
    else:
        write_places(out)


def _restore_version(root: Path, wanted: str, parameters: DataParameters, on_event: EventCallback) -> bool:
    """Return whether data/ is what data.dvc says, or could be restored from the remote."""
    found = versions.folder_hash(root)
    if found == wanted:
        return True
    if data_folder.data_files(root / "data"):
        text = "data/ differs from data.dvc; its rows are replaced by that version"
        on_event(Message(text))
    # Not from DVC's cache: rows that are made from their sources again get their origins.
    return bool(parameters.remote) and versions.pull_data(root, parameters.remote, parameters.endpoint)


def publish_rows(rows: Path, root: Path) -> None:
    """Replace the shards of data/ by those of a folder."""
    found = {f"{kind}/{path.name}": path for kind in TYPES for path in list_shards(rows / kind)}
    data_folder.replace_rows(root, found)
