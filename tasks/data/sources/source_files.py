"""Find the files of a glob or a folder, each real file once, regardless of links."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from model.errors import UserError, file_error, one_line_path

NOT_UNICODE = "its name is not UTF-8; rename it"
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def match_files(pattern: str, root: Path, is_wanted: Callable[[str], bool]) -> list[Path]:
    """Return the files of a glob, a folder or a name, sorted.

    Links to folders are followed, but no folder is entered twice, so a loop of links ends. Hidden files are
    skipped.

    Args:
        pattern: A glob, a folder or a file, relative to `root`.
        root: The project's folder.
        is_wanted: Returns whether a file of a folder is wanted, by its name.

    Raises:
        UserError: A match is a pipe, a socket, a device, or a broken link, its name is not UTF-8, or a folder
            cannot be listed.
    """
    # An existing file of this name is meant, even if the name is also a glob, as in data[1].txt.
    path = root / pattern
    if path.is_dir():
        names = [os.path.join(pattern, name) for name in _walk_names(path) if is_wanted(name)]
    elif os.path.lexists(path):
        names = [pattern]
    elif "**" in PurePosixPath(pattern).parts:
        names = list(_match_recursive(pattern, root))
    else:
        _check_listed(pattern, root)
        names = glob.glob(pattern, root_dir=root)
    found: dict[str, Path] = {}
    for name in sorted(names):
        if not (root / name).is_dir():
            check_file(root / name, name)
            # A file that links name twice would otherwise be read twice, and its rows be duplicates.
            found.setdefault(os.path.realpath(root / name), root / name)
    return list(found.values())


def check_file(path: Path, name: str) -> None:
    """Raise UserError for anything but a regular file with a name in UTF-8.

    Reading a pipe or a device might never end. A name in another encoding cannot stand in a preset, in a
    record of where a row came from, or in a message.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{one_line_path(name)}: {NOT_UNICODE}") from error
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            raise UserError(f"{one_line_path(name)} leads nowhere; fix or remove it") from error
        raise file_error(name, "cannot be read", error, "fix or remove it") from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise UserError(f"{one_line_path(name)} is {kind}; expected a file: remove it, or list other files")


def _match_recursive(pattern: str, root: Path) -> Iterator[str]:
    """Yield the matches of a glob with `**`. The module `glob` itself would follow a loop of links."""
    parts = PurePosixPath(pattern).parts
    place = parts.index("**")
    base, rest = os.path.join(*parts[:place]) if place else "", parts[place:]
    _check_listed(base, root)
    folders = glob.glob(base, root_dir=root) if base else [""]
    for folder in sorted(folders):
        if (root / folder).is_dir():
            for name in _walk_names(root / folder):
                if _matches_parts(PurePosixPath(name).parts, rest):
                    yield os.path.join(folder, name)


def _matches_parts(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches_parts(names[count:], parts[1:] or ("*",)) for count in range(len(names) + 1))
    # `fnmatch` would ignore case on some systems, so a glob would match other files there.
    return bool(names) and fnmatchcase(names[0], parts[0]) and _matches_parts(names[1:], parts[1:])


def _walk_names(folder: Path) -> Iterator[str]:
    """Yield the names of files below a folder, relative to it, without hidden ones."""
    for place, _, files in walk_folders(folder):
        for name in files:
            yield Path(os.path.relpath(place / name, folder)).as_posix()


def walk_folders(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield a folder and the folders below it, each with its folders' and files' names, without hidden ones.

    Links to folders are followed, but no folder is entered twice, so a loop of links ends. A folder that
    another program removes meanwhile is skipped.

    Raises:
        UserError: A folder cannot be listed. Its files would otherwise be left out in silence.
    """
    entered: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse_unlisted):
        try:
            state = os.stat(place)
        except FileNotFoundError:
            folders.clear()
            continue
        # A path cannot tell whether a folder was entered: a loop of links gives it ever longer ones.
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        # A file system has its own lost+found, which only root may list.
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "lost+found")
        yield Path(place), folders, [name for name in files if not name.startswith(".")]


def _refuse_unlisted(error: OSError, folder: object = None) -> None:
    # Between the listing of its parent and its own, a folder may vanish or become a file.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        what = f"the folder {folder or error.filename}"
        raise file_error(what, "cannot be listed", error, "make it readable, or move it elsewhere") from error


def _check_listed(pattern: str, root: Path) -> None:
    """Raise UserError if a folder on the way of a glob cannot be listed or entered: `glob` would skip it."""
    parts = PurePosixPath(pattern).parts
    for place, part in enumerate(parts):
        above = os.path.join(*parts[:place]) if place else ""
        for folder in glob.glob(above, root_dir=root) if above else [""]:
            try:
                if glob.has_magic(part):
                    os.scandir(root / folder).close()
                else:
                    os.stat(root / folder / part)
            except OSError as error:
                _refuse_unlisted(error, root / folder)
