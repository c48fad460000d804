"""Versions of the data: `data/` is content, `data.dvc` the pointer that is committed, DVC what keeps both."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterable
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from model.atomic_file import atomic_path
from model.errors import UserError
from tasks.common.checksums import file_sums
from tasks.dvc import remote as remotes
from tasks.project import data_folder

POINTER = "data.dvc"
# 1 was a file a kind, 2 is a folder of shards a kind.
LAYOUT = 2
_IGNORED = tuple(
    f"/data/{name}" for name in (data_folder.QUARANTINE, data_folder.STATE, *data_folder.TOLERATED)
)
KNOWN = Path(".dvc") / "cache" / "versions.jsonl"


def read_pointer(root: Path) -> dict[str, Any] | None:
    """data.dvc: the folder's `md5`, and `meta` with the sources' digest and counts. None: no version yet."""
    path = root / POINTER
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(_broken(path, "it is no text")) from error
    return parse_pointer(text, path)


def parse_pointer(text: str, path: Path) -> dict[str, Any]:
    """`read_pointer` of the text of a data.dvc. Raises UserError where it is none."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        said = f"it is no YAML from line {mark.line + 1} on" if mark else "it is no YAML"
        raise UserError(_broken(path, said)) from error
    if found is None:
        raise UserError(_broken(path, "it is empty"))
    try:
        return {"md5": str(found["outs"][0]["md5"]), "meta": dict(found.get("meta") or {})}
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise UserError(_broken(path, "it lacks outs with an md5")) from error


def _broken(path: Path, said: str) -> str:
    return f"{path} is broken ({said}); restore it with `git checkout {POINTER}`"


def is_former_layout(pointer: dict[str, Any]) -> bool:
    """Whether a version was made when `data/` was a file a kind: its hash can never be that of shards."""
    return int(pointer["meta"].get("layout", 1)) < LAYOUT


def explain_mismatch(pointer: dict[str, Any], found: str) -> str:
    """Why rows of the same sources have another hash than data.dvc says, and what to do."""
    if is_former_layout(pointer):
        return (
            f"data.dvc names a version of the former layout, a file a kind, and data/ is in shards now "
            f"({found}); take it once with `--set data.accept=true`, then commit data.dvc"
        )
    return (
        f"the sources are those of data.dvc, but their rows have the hash {found} and data.dvc says "
        f"{pointer['md5']}: the parsers changed; set data.accept=true to take it as a new version"
    )


@contextmanager
def open_repository(root: Path) -> Any:
    """DVC's repository of a project; a folder without one gets it. Quiet, and without a lock left behind."""
    import logging

    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    no_scm = not (root / ".git").exists()
    if not (root / ".dvc").exists():
        Repo.init(str(root), no_scm=no_scm).close()
    elif not (root / ".dvc" / "config").exists():
        # A kill inside `init`. DVC's own remedy, `init -f`, would remove the cache.
        replace_text(root / ".dvc" / "config", "[core]\n    no_scm = True\n" if no_scm else "")
    _write_ignored(root / ".dvcignore")
    with Repo(str(root), uninitialized=False) as repo:
        yield repo


def _write_ignored(path: Path) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if lacking := [line for line in _IGNORED if line not in text.splitlines()]:
        added = "# No part of a version: rows set aside, chatmill's own notes, what keeps a folder in git.\n"
        replace_text(path, "\n".join([*text.splitlines(), added.rstrip(), *lacking, ""]))


def replace_text(path: Path, text: str) -> None:
    """Write a file beside its place, then rename it: a kill leaves the old one or the new one."""
    with (
        atomic_path(path, path.with_name(f"{path.name}.part")) as part,
        part.open("w", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def is_own(pointer: dict[str, Any]) -> bool:
    """Tell whether chatmill wrote a data.dvc: DVC's own has no `meta` with counts of rows and sources."""
    meta = pointer["meta"]
    return isinstance(meta, dict) and isinstance(meta.get("rows"), dict) and "sources" in meta


def claim_data(root: Path) -> None:
    """Check that data/ may be replaced, note its files, and complete what a kill left half done.

    Raises UserError as `check_data` does; nothing is changed then.
    """
    pointer, unlisted = check_data(root)
    data = root / "data"
    data_folder.finish_replacement(data)
    if unlisted:
        data_folder.list_files(data, data_folder.data_files(data))
    if pointer is not None and is_kept(root):
        # A kill after data.dvc was renamed left the list without it.
        _remember_versions(root, [(pointer, "")])


def is_kept(root: Path) -> bool:
    """Tell whether DVC is set up in this folder; notes go beside its cache, and not before."""
    return (root / ".dvc" / "config").is_file()


def check_data(root: Path) -> tuple[dict[str, Any] | None, bool]:
    """Check that data/ may be replaced; return what data.dvc says, and whether chatmill's list lacks files.

    It may where it is empty, where chatmill's own list names each file in it, or where all of it is a version
    that chatmill made, as `dvc pull` or an older chatmill left it.

    Raises:
        UserError: data/ or data.dvc is somebody's own.
    """
    data = data_folder.check_place(root)
    pointer = read_pointer(root)
    if pointer is not None and not is_own(pointer):
        raise UserError(
            "data.dvc is not chatmill's (it has no `meta` with sources and rows): DVC tracks a data/ of your "
            "own. chatmill keeps its rows under that name; move yours first, as in `dvc move data my-data`, "
            "name that folder in the preset, and run again. If it was chatmill's and is damaged, "
            "`git checkout data.dvc` brings it back"
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
                f"data/{foreign[0]} is in no list of chatmill's, and data/ is no version of data.dvc; "
                "nothing was changed. If no file in data/ is yours, remove data/ and run again: it is "
                "made anew. Else move your files to another folder"
            )
    return pointer, bool(foreign)


def _known_hashes(root: Path, pointer: dict[str, Any] | None) -> set[str]:
    """Return the hashes of all versions that chatmill made, as far as this folder and git know."""
    known = {entry["md5"] for entry in remembered_versions(root)} | ({pointer["md5"]} if pointer else set())
    command = ["git", "-C", str(root), "log", "--format=%H", "--", POINTER]
    try:
        commits = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        for commit in commits:
            show = ["git", "-C", str(root), "show", f"{commit}:./{POINTER}"]
            text = subprocess.run(show, capture_output=True, encoding="utf-8", check=False).stdout
            try:
                found = parse_pointer(text, root / POINTER)
            except UserError:
                continue  # a commit that removed or broke it
            if is_own(found):
                known.add(found["md5"])
    except FileNotFoundError:
        pass  # git is not installed
    return known


def checkout_data(root: Path) -> bool:
    """Make data/ what data.dvc says, from DVC's cache; return whether that worked.

    False where the cache lacks the version or has it damaged. Raises UserError where data/ is not chatmill's.
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
    """Make a version's files those of the cache of the checkout `into`; whether some store had them.

    They are looked for in the cache of the project at `root`, then at the remote. Raises UserError for a
    remote that cannot be reached or opened.
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


def write_pointer(
    root: Path, version: str, meta: dict[str, Any], size: int | None = None, files: int | None = None
) -> None:
    """Have data.dvc name a version: its hash and its `meta` in one rename."""
    path = root / POINTER
    before = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    out = {"md5": version, "size": size, "nfiles": files, "hash": "md5", "path": "data"}
    kept = {name: value for name, value in before.items() if name not in ("outs", "meta")}
    outs = [{name: value for name, value in out.items() if value is not None}]
    found = {**kept, "outs": outs, "meta": {"layout": LAYOUT, **meta}}
    replace_text(path, yaml.safe_dump(found, sort_keys=False))


def pull_data(root: Path, remote: str, endpoint: str = "") -> bool:
    """Make data/ what data.dvc says, from the remote; return whether that worked.

    False where the remote lacks the version or has it damaged, or it is of the former layout. Raises
    UserError for a remote that cannot be reached or opened, and where data/ is not chatmill's.
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
    """Send the version that data.dvc names to the remote, as far as it lacks it or has it damaged.

    DVC's cache is verified first, and mended from data/. A remote that is a folder is read to find what is
    damaged there; another one only where it is `doubted`, as one that could not give this version.

    Raises UserError for a remote that cannot be reached or opened, and for a version that is not here.
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
                # The listing goes first: without it, an interrupted repair is a version to be sent.
                for name in dict.fromkeys([version, *bad]):
                    if store.exists(name):
                        store.delete(name)
            keep_version(root, cache, version)
            if not remotes.copy_version(cache, store, version):
                raise UserError(
                    f"version {version[:12]} of data.dvc is not here whole, so it was not sent to {remote}; "
                    "`chatmill ingest` makes it again"
                )

    remotes.retry_action(action, remote)


def keep_version(root: Path, store: Any, version: str) -> None:
    """Write what DVC's cache lacks of a version, or has damaged, where data/ is that version."""
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
                raise UserError(f"{places[digest]} changed while it was kept as a version; run again")
    if remotes.damaged_hashes(store, [_hash_of(content)]):
        remotes.store_object(store, _hash_of(content), BytesIO(content))


def folder_hash(root: Path) -> str:
    """Return DVC's hash of data/: of contents and relative paths alone, the same on every machine.

    Each file is read once for as long as its inode, size and times stay.
    """
    return _hash_of(_listing_of(_hash_data(root)))


def folder_listing(root: Path) -> dict[str, str]:
    """Return the hashes of the files in data/, by path."""
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


def add_version(root: Path, remote: str, meta: dict[str, Any], endpoint: str = "") -> str:
    """Make data/ the new version: data.dvc with `meta`, pushed where there is a remote. Return its hash.

    Its files go to DVC's cache first; then data.dvc is renamed into its place. The version that was is
    remembered. Raises UserError for a remote that cannot be reached or opened; the new version then stands
    here, and `push_data` sends it later.
    """
    before = read_pointer(root)

    def action() -> str:
        with open_repository(root) as repo, repo.lock:
            found = _hash_data(root)
            content = _listing_of(found)
            _keep_version(root, repo.cache.local, found, content)
            if before is not None:
                _remember_versions(root, [(before, "")])
            size = sum(path.stat().st_size for path in data_folder.data_files(root / "data").values())
            write_pointer(root, _hash_of(content), meta, size, len(found))
            if repo.config["core"].get("no_scm") is not True and (root / ".git").exists():
                repo.scm.ignore(str(root / "data"))
            return _hash_of(content)

    version = remotes.retry_action(action)
    now = read_pointer(root)
    assert now is not None
    _remember_versions(root, [(now, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))])
    push_data(root, remote, endpoint)
    return version


def _remember_versions(root: Path, versions: Iterable[tuple[dict[str, Any], str]]) -> None:
    """Note versions beside the cache that has their files: uncommitted, data.dvc forgets the last one."""
    path = root / KNOWN
    entries = remembered_versions(root)
    known = {entry["md5"] for entry in entries}
    new = [{**pointer, "made": made} for pointer, made in versions if pointer["md5"] not in known]
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, "".join(json.dumps(entry) + "\n" for entry in [*entries, *new]))


def remembered_versions(root: Path) -> list[dict[str, Any]]:
    """The versions that were made in this folder, the oldest first: md5, meta, and when.

    `made` is empty where a version was there before this list was.
    """
    path = root / KNOWN
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            entries.append(
                {"md5": str(entry["md5"]), "meta": dict(entry["meta"]), "made": str(entry["made"])}
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # a line half written when the machine went down
    return entries
