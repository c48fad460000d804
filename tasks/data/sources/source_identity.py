"""Identify the bytes of the sources, for the data's version and the cache key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from model.errors import UserError
from tasks.common.checksums import file_sums
from tasks.data.sources import huggingface
from tasks.data.sources.download import content_version
from tasks.data.sources.page_source import read_page
from tasks.data.sources.source_reading import labelling_config_path, own_files, source_path_name
from tasks.data.sources.source_types import DataParameters, Source

# Options that were renamed, under the names that the sources' digest is computed from.
_DIGEST_NAMES = {"label_config": "labelling", "document_unit": "documents"}


def sources_digest(parameters: DataParameters, root: Path) -> str:
    """Return the digest of the sources: their descriptions and the identities of their bytes.

    Options at their default are left out, so that a new option does not change the digest. A version that
    replaces the sources is the whole digest.
    """
    return identities_digest(parameters, source_identities(parameters, root))


def source_identities(parameters: DataParameters, root: Path) -> list[dict[str, Any]]:
    """Return the identity of each source's bytes, with its name.

    It is an archive's pin, the SHA-256 of files and of the labelling configuration, or a data set's revision.
    For an address it is the checksum or the server's state. A file's cached checksum is reused while the file
    is unchanged.
    """
    if parameters.pinned_version:
        return []
    found: list[dict[str, Any]] = []
    files = [own_files(source, root) for source in parameters.sources]
    labelling = [
        [labelling_config_path(source, root)] if source.label_config else [] for source in parameters.sources
    ]
    # All at once: each call reads and writes the file of known checksums.
    sums = _file_sums([path for some in (*files, *labelling) for path in some], root)
    named = partial(source_path_name, root=root)
    for number, source in enumerate(parameters.sources):
        urls = [
            {"url": given.display_text, "version": content_version(given, root)} for given in source.addresses
        ]
        identity = {
            "name": source.name,
            "pin": asdict(parameters.archives[source.archive]) if source.archive else None,
            "files": {name: sums[name] for name in map(named, files[number])},
            "labelling": {name: sums[name] for name in map(named, labelling[number])},
            "urls": urls,
            "page": _page_digest(source, parameters, root) if source.labels else None,
            "dataset": huggingface.dataset_identity(source.wanted, root) if source.dataset else None,
        }
        found.append({name: value for name, value in identity.items() if value})
    return found


def _page_digest(source: Source, parameters: DataParameters, root: Path) -> str:
    return hashlib.sha256(read_page(source, parameters, root).content).hexdigest()


def check_still(parameters: DataParameters, root: Path, found: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError if a file changed since `source_identities` was called.

    New files are not considered; the next ingestion reads them.
    """
    sums = [{**each.get("files", {}), **each.get("labelling", {})} for each in found]
    now = _file_sums([root / name for before in sums for name in before if (root / name).is_file()], root)
    for source, before in zip(parameters.sources, sums, strict=True):
        for name in before:
            # A file that was read while it was written gives rows of neither version, under the checksum of
            # one of them.
            if now.get(name) != before[name]:
                raise UserError(
                    f"source {source.name}: {name} changed while it was read; write it under a "
                    "temporary name, rename it when complete, and run again"
                )


def _file_sums(paths: Sequence[Path], root: Path) -> dict[str, str]:
    """Return the SHA-256 of files by their names relative to the project's folder."""
    if not paths:
        return {}
    return dict(
        zip((source_path_name(path, root) for path in paths), file_sums(list(paths), root), strict=True)
    )


def identities_digest(parameters: DataParameters, found: Sequence[Mapping[str, Any]]) -> str:
    """Return `sources_digest` for identities that are already known."""
    if parameters.pinned_version:
        return f"version {parameters.pinned_version}"
    described = [
        [
            _describe_source(source),
            each.get("pin"),
            # Names too: a renamed file changes the places of rows and, by its suffix, its container.
            list(each.get("files", {})),
            [*each.get("files", {}).values(), *each.get("labelling", {}).values()],
            [url["version"] for url in each.get("urls", ())],
            each.get("dataset"),
            # Appended only where it is set, so that the digests of all other sources stay as they were.
            *([each["page"]] if "page" in each else []),
        ]
        for source, each in zip(parameters.sources, found, strict=True)
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _describe_source(source: Source) -> dict[str, Any]:
    defaults = {
        known.name: known.default if known.default_factory is MISSING else known.default_factory()
        for known in fields(source)
    }
    values = {name: value for name, value in asdict(source).items() if value != defaults[name]}
    # Neither changes a row, so a change of them need not make a new version.
    values.pop("max_bad_fraction", None)
    values.pop("strict", None)
    # The digest is recorded in data.dvc and in manifests, so it is computed from the names that it began
    # with.
    return {_DIGEST_NAMES.get(name, name): value for name, value in values.items()}
