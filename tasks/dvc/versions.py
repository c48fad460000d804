"""Manage versions of data/ in DVC's cache and remote."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from model.atomic_file import fixed_part, replace_text
from model.errors import UserError
from tasks.common.checksums import file_sums
from tasks.common.file_lock import exclusive_lock
from tasks.common.git_checkout import run_git
from tasks.dvc import remote as remotes
from tasks.dvc.pointer_file import (
    POINTER,
    is_former_layout,
    is_own,
    parse_pointer,
    read_pointer,
    write_pointer,
)
from tasks.dvc.settings_files import IGNORED, explain_config, read_ignored
from tasks.dvc.version_list import complete_list, is_kept, remember_versions, remembered_versions
from tasks.project import data_folder
from tasks.project.paths import DVC_LOCK, DVC_NOTES, RECORDS
from tasks.project.private_folder import make_private_folder

_IGNORED = tuple(
    f"/data/{name}" for name in (data_folder.QUARANTINE, data_folder.STATE, *data_folder.TOLERATED)
)


@contextmanager
def open_repository(root: Path) -> Any:
    """Open DVC's repository of a project, or initialize it, without its log. The lock is released on exit."""
    import logging

    from dvc.config import ConfigError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    # These levels turn off DVC's progress bars, whose remains would stand between chatmill's own lines.
    for name in ("dvc.progress", "dvc_data.callbacks"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not is_kept(root) or _lacking_patterns(read_ignored(root)):
        make_private_folder(root / RECORDS)
        # The second of two commands that start at once would take the first for killed.
        with exclusive_lock(root / DVC_LOCK, lambda event: None, ""):
            _initialize_repository(root)
    # DVC's default is a folder in /var/tmp that each user of the machine may change, with pickles in it.
    settings: dict[str, Any] = {"site_cache_dir": str(root.absolute() / DVC_NOTES)}
    # .dvc/config may say that there is a git repository where a download of the files alone has none.
    if not _can_open_git(root):
        settings["no_scm"] = True
    try:
        opened = Repo(str(root), uninitialized=False, config={"core": settings})
    except ConfigError as error:
        raise UserError(explain_config(root, error)) from error
    with opened as repo:
        yield repo


def _initialize_repository(root: Path) -> None:
    from dvc.repo import Repo

    no_scm = not ((root / ".git").exists() and _can_open_git(root))
    if not (root / ".dvc").exists():
        try:
            Repo.init(str(root), no_scm=no_scm).close()
        except Exception as error:
            # DVC's last step adds its files to git, for which it has other libraries than for reading.
            if no_scm or isinstance(error, OSError) or not is_kept(root):
                raise
    elif not is_kept(root):
        # A process was killed inside `init`. DVC's own remedy, `init -f`, would remove the cache.
        config = root / ".dvc" / "config"
        replace_text(config, "[core]\n    no_scm = True\n" if no_scm else "", fixed_part(config))
    _write_ignored(root)


def _can_open_git(root: Path) -> bool:
    """Return whether DVC can open the git repository that holds a project. DVC needs it for .gitignore alone.

    A damaged repository, or one of a format that DVC's libraries do not know, is opened by git alone or not
    at all.
    """
    from dvc.scm import SCM

    try:
        scm = SCM(str(root))
        scm.is_ignored(str(root / "data"))
        scm.close()
    except Exception:
        # Each of DVC's git libraries raises errors of its own for a damaged repository.
        return False
    return True


def _lacking_patterns(text: str) -> list[str]:
    """Return the patterns that the text of a .dvcignore must have and does not."""
    return [line for line in _IGNORED if line not in text.splitlines()]


def _write_ignored(root: Path) -> None:
    text = read_ignored(root)
    if lacking := _lacking_patterns(text):
        added = "# No part of a version: rows set aside, chatmill's own notes, what keeps a folder in git.\n"
        lines = [*text.splitlines(), added.rstrip(), *lacking, ""]
        replace_text(root / IGNORED, "\n".join(lines), fixed_part(root / IGNORED))


def claim_data(root: Path) -> None:
    """Check that data/ may be replaced, list its files, and complete an interrupted replacement.

    Raises UserError as `check_data` does; nothing is changed then.
    """
    _pointer, unlisted = check_data(root)
    data = root / "data"
    data_folder.finish_replacement(data)
    if unlisted:
        data_folder.list_files(data, data_folder.data_files(data))
    complete_list(root)


def check_data(root: Path) -> tuple[dict[str, Any] | None, bool]:
    """Check that data/ may be replaced.

    It may if it is empty, or if chatmill's list names each file in it. It also may if its content is a
    version that chatmill made, as after `dvc pull`.

    Returns:
        The content of data.dvc, and whether the list lacks files of data/.

    Raises:
        UserError: data/ or data.dvc belongs to the user.
    """
    data = data_folder.check_place(root)
    pointer = read_pointer(root)
    if pointer is not None and not is_own(pointer):
        raise UserError(
            "data.dvc is not chatmill's (it has no `meta` with sources and rows): DVC tracks a data/ of your "
            "own. chatmill keeps its rows under that name; move yours first, as in `dvc move data my-data`, "
            "name that folder in the preset, and run again. If it was chatmill's and is damaged, "
            "`git checkout data.dvc` restores it"
        )
    if foreign := data_folder.foreign_quarantine(data):
        raise UserError(data_folder.refusal_message(foreign))
    foreign = data_folder.foreign_files(data)
    if foreign:
        found = data_folder.data_files(data)
        fits = all(data_folder.SHARD.fullmatch(name) or name in data_folder.FORMER for name in found)
        known = _known_hashes(root, pointer) if fits else set()
        if not known:
            raise UserError(data_folder.refusal_message(foreign))
        if folder_hash(root) not in known:
            raise UserError(
                f"data/{foreign[0]} is in no list of chatmill's, and data/ is not a version of data.dvc; "
                "nothing was changed. If no file in data/ is yours, remove data/ and run again: it is "
                "recomputed. Else move your files to another folder"
            )
    return pointer, bool(foreign)


def _known_hashes(root: Path, pointer: dict[str, Any] | None) -> set[str]:
    """Return the hashes of all versions that chatmill made, as recorded in this folder and in git."""
    known = {entry["md5"] for entry in remembered_versions(root)} | ({pointer["md5"]} if pointer else set())
    # Without git there is no output, and no version.
    commits = run_git(root, "log", "--format=%H", "--", POINTER).stdout.decode().split()
    for commit in commits:
        text = run_git(root, "show", f"{commit}:./{POINTER}").stdout.decode("utf-8", "replace")
        try:
            found = parse_pointer(text, root / POINTER)
        except UserError:
            continue  # a commit that removed or damaged it
        if is_own(found):
            known.add(found["md5"])
    return known


def checkout_data(root: Path) -> bool:
    """Restore the version of data.dvc from DVC's cache into data/, and return whether that worked.

    It does not if the cache lacks the version or has it damaged. Raises UserError if data/ is the user's.
    """
    pointer = read_pointer(root)
    if pointer is None or is_former_layout(pointer):
        return False

    def action() -> bool:
        with open_repository(root) as repo:
            return _place_version(root, repo.cache.local, pointer["md5"])

    return remotes.retry_action(action)


def _place_version(root: Path, store: Any, version: str) -> bool:
    files = remotes.version_listing(store, version)
    if files is None or remotes.missing_hashes(store, sorted(set(files.values()))):
        return False
    paths = {name: Path(store.oid_to_path(found)) for name, found in files.items()}
    try:
        data_folder.replace_rows(root, paths, files)
    except data_folder.Damaged:
        return False
    return folder_hash(root) == version


def checkout_version(root: Path, version: str, into: Path, remote: str = "", endpoint: str = "") -> bool:
    """Copy a version's files into the cache of the checkout `into`, and return whether a store had them.

    The cache of the project at `root` is tried first, then the remote. Raises UserError if the remote cannot
    be reached or opened.
    """

    def kept() -> bool:
        with open_repository(root) as repo, open_repository(into) as own:
            return bool(remotes.copy_version(repo.cache.local, own.cache.local, version))

    def fetched() -> bool:
        with open_repository(into) as own:
            remotes.set_remote(own, root, remote, endpoint)
            store = remotes.open_remote(own)
            return bool(remotes.copy_version(store, own.cache.local, version))

    return remotes.retry_action(kept) or (bool(remote) and remotes.retry_action(fetched, remote))


def pull_data(root: Path, remote: str, endpoint: str = "") -> bool:
    """Restore the version of data.dvc from the remote into data/, and return whether that worked.

    It does not if the remote lacks the version or has it damaged, or if its layout is the former one. Raises
    UserError if the remote cannot be reached or opened, or if data/ is the user's.
    """
    pointer = read_pointer(root)
    if pointer is None or is_former_layout(pointer):
        return False

    def action() -> bool:
        with open_repository(root) as repo:
            remotes.set_remote(repo, root, remote, endpoint)
            store = remotes.open_remote(repo)
            if not remotes.copy_version(store, repo.cache.local, pointer["md5"]):
                return False
            return _place_version(root, repo.cache.local, pointer["md5"])

    return remotes.retry_action(action, remote)


def push_data(root: Path, remote: str, endpoint: str = "", doubted: bool = False) -> None:
    """Copy the version of data.dvc to the remote, as far as the remote lacks it or has it damaged.

    DVC's cache is verified first and repaired from data/. A remote that is a folder is always checked for
    damage. Another remote is checked only if it is `doubted`, as after it could not give this version. Raises
    UserError if the remote cannot be reached or opened, or if the version is not whole on this machine.
    """
    pointer = read_pointer(root)
    if pointer is None or not remote:
        return
    version = pointer["md5"]

    def action() -> None:
        with open_repository(root) as repo:
            remotes.set_remote(repo, root, remote, endpoint)
            store, cache = remotes.open_remote(repo), repo.cache.local
            there = remotes.version_listing(store, version)
            if there is not None:
                wanted = [*sorted(set(there.values())), version]
                if remotes.is_folder(store):
                    bad = remotes.damaged_hashes(store, wanted)
                elif doubted:
                    bad = [name for name in wanted if remotes.is_damaged(store, name)]
                else:
                    return
                if not bad:
                    return
                # The listing goes first: an interrupted repair then looks like a version that was never
                # pushed.
                for name in dict.fromkeys([version, *bad]):
                    if store.exists(name):
                        store.delete(name)
            # DVC copies without verifying: a bad byte in the cache would reach the remote under a good name.
            keep_version(root, cache, version)
            if not remotes.copy_version(cache, store, version):
                raise UserError(
                    f"version {version[:12]} of data.dvc is not here whole, so it was not sent to "
                    f"{remote}; recompute it with `chatmill ingest`"
                )

    remotes.retry_action(action, remote)


def keep_data(root: Path) -> None:
    """Store the version of data.dvc in DVC's cache, if it lacks objects and data/ is that version.

    Otherwise a clone that made this version from its sources could not restore it once the sources change.
    """
    pointer = read_pointer(root)
    if pointer is None or is_former_layout(pointer):
        return
    version = pointer["md5"]
    objects = root / ".dvc" / "cache" / "files" / "md5"
    # A look at the usual place takes no time; opening DVC takes a third of a second.
    hashes = _hash_data(root)
    files = data_folder.data_files(root / "data")
    sizes = {found: files[name].stat().st_size for name, found in hashes.items()}
    sizes[version] = len(_listing_of(hashes))
    if all(_has_size(objects / name[:2] / name[2:], size) for name, size in sizes.items()):
        return

    def action() -> None:
        with open_repository(root) as repo, repo.lock:
            keep_version(root, repo.cache.local, version)

    remotes.retry_action(action)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def keep_version(root: Path, store: Any, version: str) -> None:
    """Write the objects that DVC's cache lacks of a version or has damaged, if data/ is that version."""
    found = _hash_data(root)
    content = _listing_of(found)
    if _hash_of(content) == version:
        _keep_version(root, store, found, content)


def _keep_version(root: Path, store: Any, found: dict[str, str], content: bytes) -> None:
    files = data_folder.data_files(root / "data")
    places = {digest: files[name] for name, digest in found.items()}
    for digest in remotes.damaged_hashes(store, sorted(places)):
        with places[digest].open("rb") as stream:
            if not remotes.store_object(store, digest, stream):
                raise UserError(f"{places[digest]} changed while it was stored as a version; run again")
    if remotes.damaged_hashes(store, [_hash_of(content)]):
        remotes.store_object(store, _hash_of(content), BytesIO(content))


def folder_hash(root: Path) -> str:
    """Return DVC's hash of data/, which depends only on contents and relative paths.

    A file's cached hash is reused as long as its inode, size and times stay the same.
    """
    return _hash_of(_listing_of(_hash_data(root)))


def folder_listing(root: Path) -> dict[str, str]:
    """Return the hashes of the files in data/ by path."""
    return _hash_data(root)


def _hash_data(root: Path) -> dict[str, str]:
    files = data_folder.data_files(root / "data")
    return dict(zip(files, file_sums(list(files.values()), root, "md5"), strict=True))


def _listing_of(found: dict[str, str]) -> bytes:
    """Return the content of DVC's object for a folder: its files with their hashes, in order."""
    listed = [{"md5": found[name], "relpath": name} for name in sorted(found)]
    return json.dumps(listed, sort_keys=True).encode()


def _hash_of(listing: bytes) -> str:
    return f"{hashlib.md5(listing, usedforsecurity=False).hexdigest()}.dir"


def _former_meta(root: Path, version: str, meta: dict[str, Any]) -> dict[str, Any]:
    """Return what data.dvc said of this version when it was made here of the same sources; else `meta`.

    Another release may record more of a version, and data.dvc must not change where the data did not.
    """

    def made_of(found: dict[str, Any]) -> tuple[Any, Any]:
        return found.get("sources"), (found.get("withdrawn") or {}).get("digest", "")

    former = (entry["meta"] for entry in remembered_versions(root) if entry["md5"] == version)
    return next((found for found in former if made_of(found) == made_of(meta)), meta)


def add_version(root: Path, remote: str, meta: dict[str, Any], endpoint: str = "") -> str:
    """Record data/ as the new version, push it if there is a remote, and return its hash.

    Its files are in DVC's cache before data.dvc, with `meta`, is replaced. The former version is remembered.
    Raises UserError if the remote cannot be reached or opened: the version then exists on this machine, and
    `push_data` copies it later.
    """

    def action() -> str:
        with open_repository(root) as repo, repo.lock:
            found = _hash_data(root)
            content = _listing_of(found)
            _keep_version(root, repo.cache.local, found, content)
            complete_list(root)
            size = sum(path.stat().st_size for path in data_folder.data_files(root / "data").values())
            version = _hash_of(content)
            write_pointer(root, version, _former_meta(root, version, meta), size, len(found))
            if repo.config["core"].get("no_scm") is not True and (root / ".git").exists():
                repo.scm.ignore(str(root / "data"))
            return version

    version = remotes.retry_action(action)
    now = read_pointer(root)
    assert now is not None
    remember_versions(root, [(now, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))])
    push_data(root, remote, endpoint)
    return version
