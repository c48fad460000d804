"""The data of a past run, placed in a checkout: from its unchanged sources, or from DVC."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from model.errors import UserError
from tasks.common.old_keys import recorded_key, rename_old_keys
from tasks.data.sources import huggingface
from tasks.data.sources.download import find_download
from tasks.data.sources.source_identity import sources_digest
from tasks.data.sources.source_reading import own_files
from tasks.data.sources.source_types import Archive, DataParameters, Source, as_list
from tasks.data.withdrawals import WITHDRAWN, Withdrawal, Withdrawn, read_withdrawn
from tasks.dvc import versions
from tasks.dvc.pointer_file import POINTER, write_pointer
from tasks.dvc.version_list import complete_list
from tasks.project.paths import BASE_MODELS, DOWNLOADS
from tasks.reproduction.known_code import SHOWN_DIGITS

# Sections that do not change the result: where a run is recorded, shared and placed. A reproduction keeps to
# itself.
_ELSEWHERE = ("tracking", "remote_cache", "execution")
# The present and the old name of keys that hold paths: a recorded preset has either.
_BASE_MODEL = ("base_model", "base")
_OVERRIDES = ("overrides_file", "admitted")
_BENCHMARKS = ("decontaminate_against", "benchmarks")
_LABEL_CONFIG = ("label_config", "labelling")


@dataclass(frozen=True)
class PlacedData:
    """The preset that reads the placed data, and a description of where the data came from.

    The description also says whether rows were withdrawn since.
    """

    preset: dict[str, Any]
    how: str


def place_data(
    root: Path, project: Path, preset: Mapping[str, Any], version: str, ingest: Mapping[str, Any] | None
) -> PlacedData:
    """Make a run's data available to a checkout of its project.

    Sources that are on this machine and match the run's manifest of ingestion are read again. Otherwise the
    version of the data comes from DVC's cache or the remote. Exactly the rows that were withdrawn then are
    left out again.

    Args:
        root: The project's folder.
        project: The project's folder in the checkout.
        preset: The run's preset.
        version: DVC's hash of the data.
        ingest: The manifest of the run's ingestion; None if it is gone.

    Raises:
        UserError: Neither the sources nor the version can be had.
    """
    # A damaged data.dvc, or a disk without space, says nothing about a past run.
    with suppress(OSError, UserError):
        complete_list(root)
    given = _absolute_paths(copy.deepcopy(dict(preset)), root)
    data = given["data"]
    remote, endpoint = str(data.get("remote") or ""), str(data.get("endpoint") or "")
    # A reproduction must not send anything to the remote of the project.
    accept = recorded_key(preset, "data.accept_changes").removeprefix("data.")
    data.update({"remote": "", "endpoint": "", accept: False, "readmit": False})
    _link_downloads(root, project, given)
    since = _withdraw_as_then(root, project, ingest)
    recorded = _recorded_digest(ingest)
    known = _data_parameters(data)
    if known and _all_here(known, root) and recorded in _current_digests(known, root, project):
        (project / POINTER).unlink(missing_ok=True)
        return PlacedData(given, f"read again from its unchanged sources{since}")
    if version and versions.checkout_version(root, version, project, remote, endpoint):
        meta = {
            "sources": recorded,
            "names": sorted(source["name"] for source in data["sources"]),
            "rows": _recorded_counts(ingest),
        }
        write_pointer(project, version, meta)
        # checkout_data compares each file with its hash.
        if not versions.checkout_data(project):
            raise UserError(f"version {version[:SHOWN_DIGITS]} of the data is damaged in DVC's cache")
        # A preset that pins a version of the data must pin the one that was placed.
        if (pinned := recorded_key(preset, "data.pinned_version").removeprefix("data.")) in data:
            data[pinned] = version
        return PlacedData(given, f"its version in DVC replaces its sources{since}")
    # Last, because it needs the network, and the sources' servers may be gone.
    if known and recorded in _current_digests(known, root, project):
        (project / POINTER).unlink(missing_ok=True)
        return PlacedData(given, f"fetched again from its sources{since}")
    where = f" nor at {remote}" if remote else ""
    raise UserError(
        f"the data of that run, version {version[:SHOWN_DIGITS] or 'unknown'}, is not in DVC's cache{where}, "
        "and its sources are missing or changed"
    )


def standalone_preset(preset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the preset for a run in its own folder: on this machine, and recorded nowhere else.

    Its keys keep the names that the run's own code reads.
    """
    elsewhere = [recorded_key(preset, name) for name in _ELSEWHERE]
    kept = {name: value for name, value in preset.items() if name not in elsewhere}
    if isinstance(kept.get("promote"), dict):
        # Nothing of this run is put to use, so no person is asked.
        kept["promote"] = {name: value for name, value in kept["promote"].items() if name != "approval"}
    section, _, address = recorded_key(preset, "parallel.dask_address").partition(".")
    if kept.get(section):
        kept[section] = {**kept[section], address: ""}
    return kept


def _data_parameters(data: Mapping[str, Any]) -> DataParameters | None:
    """Return the parameters of the data as this version knows them; None if they do not fit it."""
    known = {field.name for field in fields(Source)}
    try:
        sources = tuple(
            Source(**{name: _as_tuples(value) for name, value in source.items() if name in known})
            for source in rename_old_keys({"data": data})[0]["data"]["sources"]
        )
        archives = {name: Archive(**values) for name, values in (data.get("archives") or {}).items()}
        return DataParameters(sources, archives)
    except (TypeError, ValueError, KeyError, UserError):
        return None


def _as_tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _current_digests(data: DataParameters, *roots: Path) -> Iterator[str]:
    """Yield the sources' present digest as seen from each folder; paths outside it are relative to it."""
    for root in roots:
        try:
            yield sources_digest(data, root)
        except UserError:
            continue


def _all_here(data: DataParameters, root: Path) -> bool:
    """Return whether nothing would have to be fetched."""
    return all(
        (not source.archive or (root / DOWNLOADS / data.archives[source.archive].file).exists())
        and all(find_download(address, root) for address in source.addresses)
        and not source.labels
        and (not source.dataset or huggingface.is_saved(source.wanted, root))
        for source in data.sources
    )


def _recorded_digest(ingest: Mapping[str, Any] | None) -> str:
    """Return the digest of the sources in a manifest of ingestion; older manifests hold only the digest."""
    outside = ((ingest or {}).get("surroundings") or {}).get("outside") or ""
    return str(outside["digest"] if isinstance(outside, Mapping) else outside)


def _withdraw_as_then(root: Path, project: Path, ingest: Mapping[str, Any] | None) -> str:
    """Make the checkout leave out the rows that the run left out.

    The project's own file records who withdrew them and why; only the rows matter here.

    Returns:
        A note if more was withdrawn since; else an empty text.
    """
    outside = ((ingest or {}).get("surroundings") or {}).get("outside") or {}
    content = (outside.get("withdrawn") or {}) if isinstance(outside, Mapping) else {}
    then = Withdrawn(**{name: frozenset(values) for name, values in content.items()})
    if then != read_withdrawn(project):
        signed = partial(Withdrawal, "the run", "withdrawn when it was made", "1970-01-01T00:00:00+00:00")
        ids, rated = sorted(then.ids), sorted(then.rated)
        lines = [signed(annotator=name) for name in sorted(then.annotators)]
        lines += [signed(id=number) for number in ids]
        # The pairing of ids and rated answers does not matter: either one leaves the row out.
        lines += [signed(id=ids[0], rated=number) for number in rated]
        file = project / WITHDRAWN
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line.line}\n" for line in lines), encoding="utf-8")
    now = read_withdrawn(root)
    since = now.ids - then.ids or now.annotators - then.annotators
    return "; it contains rows that were withdrawn since" if since else ""


def _recorded_counts(ingest: Mapping[str, Any] | None) -> dict[str, int]:
    metrics = (ingest or {}).get("metrics") or {}
    return {name: value for name, value in metrics.items() if isinstance(value, int)}


def _absolute_paths(preset: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the preset with absolute paths for files outside the project's folder."""
    data = preset["data"]
    for source in data["sources"]:
        if files := source.get("files"):
            outside = [_from_anywhere(name, root) for name in as_list(files)]
            source["files"] = outside[0] if isinstance(files, str) else outside
        for name in (*_LABEL_CONFIG, "dataset"):
            if source.get(name):
                source[name] = _from_anywhere(source[name], root)
    for values, names in ((preset, _BASE_MODEL), (preset.get("validate") or {}, _OVERRIDES)):
        for name in names:
            if values.get(name):
                values[name] = _from_anywhere(values[name], root)
    if data.get("remote") and "://" not in data["remote"]:
        data["remote"] = str((root / data["remote"]).resolve())
    return preset


def _from_anywhere(name: str, root: Path) -> str:
    return os.path.normpath(root / name) if os.path.normpath(name).startswith("..") else name


def _link_downloads(root: Path, project: Path, preset: Mapping[str, Any]) -> None:
    """Link downloads, and files that the preset names but Git does not hold, into the checkout."""
    validate = preset.get("validate") or {}
    names = [preset.get(name) or "" for name in _BASE_MODEL]
    names += [validate.get(name) or "" for name in _OVERRIDES]
    # A fetched model of gigabytes is not fetched once more.
    names += [str(DOWNLOADS), str(BASE_MODELS)]
    names += [
        path.relative_to(root).as_posix()
        for name in _BENCHMARKS
        for pattern in validate.get(name) or ()
        for path in root.glob(pattern)
    ]
    for source in preset["data"]["sources"]:
        names += [source.get(name) or "" for name in (*_LABEL_CONFIG, "dataset")]
        names += _matched_files(source, root)
    for name in filter(None, names):
        there, here = project / name, root / name
        # Nothing is created outside the checkout, whatever the preset in MLflow names.
        if (
            not os.path.isabs(name)
            and not os.path.normpath(name).startswith("..")
            and here.exists()
            and not there.exists()
        ):
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(here.resolve())


def _matched_files(source: Mapping[str, Any], root: Path) -> list[str]:
    """Return a source's own files and folders, relative to the project's folder."""
    found = []
    for pattern in as_list(source.get("files") or ()):
        if os.path.isabs(pattern):
            continue
        if (root / pattern).is_dir():
            found.append(pattern)
        with_pattern = Source(source["name"], files=pattern)
        try:
            found += [os.path.relpath(path, root) for path in own_files(with_pattern, root)]
        except UserError:
            continue
    return found
