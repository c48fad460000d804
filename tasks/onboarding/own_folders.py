"""Refuse a user's folder that chatmill itself writes to."""

from __future__ import annotations

from pathlib import Path

from model.errors import UserError, one_line_path
from tasks.project.paths import RECORDS

OWN_FOLDERS = ("data", "data.part", str(RECORDS), ".dvc")  # chatmill replaces and deletes files there


def check_place(folder: Path, root: Path) -> None:
    """Raise UserError for a folder that is, contains or is inside one that chatmill writes to.

    Args:
        folder: The user's folder. Links are followed, and two spellings of one folder are the same.
        root: The project's folder.
    """
    real = folder.resolve()
    for name in OWN_FOLDERS:
        own = root / name
        # A folder that does not exist yet has no inode to compare, so resolved paths are compared too.
        places = {root.resolve() / name, own.resolve()}
        if _lies_in(real, own) or real in places:
            relation = "is" if _is_same(real, own) or real in places else "lies in"
        elif any(_lies_in(place, real) for place in places):
            relation = "holds"
        else:
            continue
        there = f"{name}/ of this project"
        raise UserError(
            f"{one_line_path(folder)} {relation} {there}, which chatmill writes to and empties; put your "
            "files into another folder, such as texts/, and run `chatmill init texts`"
        )


def _lies_in(path: Path, folder: Path) -> bool:
    """Return whether `folder` is `path` or one of its parents, by inode if both exist.

    File systems without case, as on macOS, give one folder several spellings.
    """
    return any(one == folder or _is_same(one, folder) for one in (path, *path.parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
