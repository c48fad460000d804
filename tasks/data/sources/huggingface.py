"""Read data sets of the `datasets` library: from the hub by name and revision, or from a saved folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from model.atomic_file import atomic_path
from model.errors import UserError
from tasks.common.checksums import file_sums
from tasks.data.file_io.class_labels import name_classes, with_classes
from tasks.data.file_io.files import SourceFile
from tasks.data.records import text_digest
from tasks.project.paths import DOWNLOADS


class Wanted(NamedTuple):
    """A data set by its name on the hub or its folder. `split` is empty if it has only one."""

    name: str
    subset: str = ""
    revision: str = ""
    split: str = ""

    @property
    def shown(self) -> str:
        """The name for messages."""
        return f"{self.name}:{self.split}" if self.split else self.name


def dataset_identity(wanted: Wanted, root: Path) -> list[str]:
    """Return the parts of the cache key: the checksums of a folder's files, or the name and the revision."""
    folder = root / wanted.name
    if not folder.is_dir():
        return list(wanted)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    return [*wanted, *(part for pair in zip(names, file_sums(files, root), strict=True) for part in pair)]


def dataset_table(wanted: Wanted, root: Path, folder: Path | None = None) -> Path:
    """Return the rows as a Parquet file, which is written once.

    Args:
        wanted: The data set.
        root: The project's folder.
        folder: The folder for the file; None for var/cache/.

    Raises:
        UserError: The data set cannot be found or fetched.
    """
    name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in wanted.shown)
    if folder is None:
        place = root / DOWNLOADS / "datasets" / text_digest(*dataset_identity(wanted, root))
    else:
        # A dry run converts into its own temporary folder, so hashing the data set's files is not needed.
        place = folder / "datasets" / text_digest(*wanted)
    path = place / f"{name}.parquet"
    if not path.exists():
        found = _open_dataset(wanted, root)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The file's existence means that it is complete, so it must appear in one rename.
        with atomic_path(path, path.with_suffix(".part")) as part:
            found.to_parquet(str(part))
    return path


def is_saved(wanted: Wanted, root: Path) -> bool:
    """Return whether the data set is a folder on this machine."""
    return (root / wanted.name).is_dir()


def dataset_head(wanted: Wanted, root: Path, most: int) -> tuple[SourceFile, int]:
    """Return the first rows of a saved folder as JSON Lines in memory, and their total. Writes nothing."""
    found = _open_dataset(wanted, root)
    classes = with_classes(found.features.to_dict())
    rows = (
        {name: name_classes(value, classes.get(name)) for name, value in row.items()}
        for row in islice(found, most)
    )
    lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    return SourceFile(f"{wanted.shown}.jsonl", "".join(lines).encode()), len(found)


def _open_dataset(wanted: Wanted, root: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"the data set {wanted.name} needs a package that is not installed: pip install 'chatmill[hub]'"
        ) from error
    # Progress bars of the library would overwrite chatmill's own lines.
    datasets.disable_progress_bars()
    if is_saved(wanted, root):
        try:
            found = datasets.load_from_disk(str(root / wanted.name))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{wanted.name} is not a folder of save_to_disk ({_first_line(error)}); plain files "
                f"go under `files`"
            ) from error
    else:
        # A name on the hub may mean other rows tomorrow, and a run could not be reproduced.
        if not wanted.revision:
            raise UserError(
                f"dataset {wanted.name} is not a folder here, and a Hub dataset needs its revision, "
                "a commit hash, so that it stays the same"
            )
        cache = root / DOWNLOADS / "huggingface"
        try:
            found = datasets.load_dataset(
                wanted.name, wanted.subset or None, revision=wanted.revision, cache_dir=str(cache)
            )
        except Exception as error:  # The library passes on what its file systems and readers raise.
            raise UserError(
                f"the data set {wanted.name} could not be fetched ({_first_line(error)})"
            ) from error
    return _select_split(found, wanted)


def _select_split(found: Any, wanted: Wanted) -> Any:
    if not isinstance(found, Mapping):
        if wanted.split and wanted.split != str(found.split):
            raise UserError(f"{wanted.name} is saved without splits; leave split out")
        return found
    if not wanted.split and len(found) == 1:
        return next(iter(found.values()))
    if wanted.split not in found:
        said = f"no split {wanted.split!r}" if wanted.split else "several splits"
        raise UserError(f"the data set {wanted.name} has {said}; name one of {', '.join(map(str, found))}")
    return found[wanted.split]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
