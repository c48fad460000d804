"""Versions of the data: `data/` is content, `data.dvc` the pointer that is committed, DVC what keeps both."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from model.errors import UserError
from tasks import remotes

POINTER = "data.dvc"
# 1 was a file a kind, 2 is a folder of shards a kind.
LAYOUT = 2
IGNORED = "/data/quarantine"
KNOWN = Path(".dvc") / "cache" / "versions.jsonl"


def read_pointer(root: Path) -> dict[str, Any] | None:
    """data.dvc: the folder's `md5`, and `meta` with the sources' digest and counts. None: no version yet."""
    path = root / POINTER
    return parse_pointer(path.read_text(encoding="utf-8"), path) if path.exists() else None


def parse_pointer(text: str, path: Path) -> dict[str, Any]:
    """`read_pointer` of the text of a data.dvc. Raises UserError where it is none."""
    try:
        found = yaml.safe_load(text)
        return {"md5": str(found["outs"][0]["md5"]), "meta": found.get("meta") or {}}
    except (yaml.YAMLError, KeyError, TypeError, IndexError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{path} is broken ({said}); restore it with `git checkout {POINTER}`") from error


def former(pointer: dict[str, Any]) -> bool:
    """Whether a version was made when `data/` was a file a kind: its hash can never be that of shards."""
    return int(pointer["meta"].get("layout", 1)) < LAYOUT


def mismatch(pointer: dict[str, Any], found: str) -> str:
    """Why rows of the same sources have another hash than data.dvc says, and what to do."""
    if former(pointer):
        return (
            f"data.dvc names a version of the former layout, a file a kind, and data/ is in shards now "
            f"({found}); take it once with `--set data.accept=true`, then commit data.dvc"
        )
    return (
        f"the sources are those of data.dvc, but their rows have the hash {found} and data.dvc says "
        f"{pointer['md5']}: the parsers changed; set data.accept=true to take it as a new version"
    )


@contextmanager
def repository(root: Path) -> Any:
    """DVC's repository of a project; a folder without one gets it. Quiet, and without a lock left behind."""
    import logging

    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    if not (root / ".dvc").exists():
        Repo.init(str(root), no_scm=not (root / ".git").exists()).close()
    _ignore_quarantine(root / ".dvcignore")
    with Repo(str(root), uninitialized=False) as repo:
        yield repo


def _ignore_quarantine(path: Path) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if IGNORED not in text.splitlines():
        added = f"# Rows set aside are no part of a version.\n{IGNORED}\n"
        path.write_text(f"{text.rstrip()}\n{added}".lstrip(), encoding="utf-8")


def checkout(root: Path) -> bool:
    """Bring `data/` to what data.dvc says from DVC's cache; whether that worked."""
    pointer = read_pointer(root)
    if pointer is None or former(pointer):
        return False

    def action() -> bool:
        with repository(root) as repo:
            files = remotes.listing(repo.cache.local, pointer["md5"])
            if files is None or not remotes.has(repo.cache.local, sorted(set(files.values()))):
                return False
            repo.checkout(targets=[str(root / POINTER)], force=True)
            return True

    return remotes.again(action) and folder_hash(root) == pointer["md5"]


def bring(root: Path, version: str, into: Path, remote: str = "", endpoint: str = "") -> bool:
    """Make a version's files those of the cache of the checkout `into`; whether some store had them.

    They are looked for in the cache of the project at `root`, then at the remote. Raises UserError for a
    remote that cannot be reached or opened.
    """

    def kept() -> bool:
        with repository(root) as repo, repository(into) as own:
            return bool(remotes.copy_version(repo.cache.local, own.cache.local, version, verify=True))

    def fetched() -> bool:
        with repository(into) as own:
            remotes.set_remote(own, root, remote, endpoint)
            store = remotes.open_remote(own)
            return bool(remotes.copy_version(store, own.cache.local, version, verify=True))

    return remotes.again(kept) or (bool(remote) and remotes.again(fetched, remote))


def write_pointer(root: Path, version: str, meta: dict[str, Any]) -> None:
    """Have data.dvc name a version that was made elsewhere."""
    out = {"md5": version, "hash": "md5", "path": "data"}
    text = yaml.safe_dump({"outs": [out], "meta": {"layout": LAYOUT, **meta}}, sort_keys=False)
    (root / POINTER).write_text(text, encoding="utf-8")


def pull(root: Path, remote: str, endpoint: str = "") -> bool:
    """Bring `data/` to what data.dvc says from the remote; whether that worked.

    False where the remote lacks the version, or it is of the former layout. Raises UserError for a remote
    that cannot be reached or opened.
    """
    pointer = read_pointer(root)
    if pointer is None or former(pointer):
        return False

    def action() -> bool:
        with repository(root) as repo:
            remotes.set_remote(repo, root, remote, endpoint)
            store = remotes.open_remote(repo)
            if not remotes.copy_version(store, repo.cache.local, pointer["md5"], verify=True):
                return False
            repo.checkout(targets=[str(root / POINTER)], force=True)
            return True

    return remotes.again(action, remote) and folder_hash(root) == pointer["md5"]


def push(root: Path, remote: str, endpoint: str = "") -> None:
    """Send the version that data.dvc names to the remote, as far as it lacks it.

    Raises UserError for a remote that cannot be reached or opened, and for a version that is not here.
    """
    pointer = read_pointer(root)
    if pointer is None or not remote:
        return

    def action() -> None:
        with repository(root) as repo:
            remotes.set_remote(repo, root, remote, endpoint)
            store = remotes.open_remote(repo)
            if remotes.listing(store, pointer["md5"]) is not None:
                return
            if remotes.listing(repo.cache.local, pointer["md5"]) is None:
                # Made again from its sources, it was compared with data.dvc and never added.
                _keep(repo, root)
            if not remotes.copy_version(repo.cache.local, store, pointer["md5"]):
                raise UserError(
                    f"version {pointer['md5'][:12]} of data.dvc is not here to be sent to {remote}; "
                    "`chatmill ingest` makes it again"
                )

    remotes.again(action, remote)


def folder_hash(root: Path) -> str:
    """DVC's hash of `data/` as it stands: of contents and relative paths alone, the same on every machine."""

    def action() -> str:
        with repository(root) as repo:
            return str(_built(repo, root)[1].hash_info.value)

    return remotes.again(action)


def folder_listing(root: Path) -> dict[str, str]:
    """The hashes of the files in `data/` as it stands, by path."""

    def action() -> dict[str, str]:
        with repository(root) as repo:
            tree = _built(repo, root)[1]
            return {"/".join(key): str(found.value) for key, (_, found) in tree.iteritems()}

    return remotes.again(action)


def _built(repo: Any, root: Path) -> tuple[Any, Any]:
    """`data/` as DVC sees it: a store that reads the files where they are, and their tree."""
    from dvc.fs import LocalFileSystem
    from dvc_data.hashfile.build import build

    place = str(root / "data")
    store, _, tree = build(repo.cache.local, place, LocalFileSystem(), "md5", ignore=repo.dvcignore)
    return store, tree


def _keep(repo: Any, root: Path) -> None:
    from dvc_data.hashfile.transfer import transfer

    store, tree = _built(repo, root)
    transfer(store, repo.cache.local, {tree.hash_info}, shallow=False)


def add(root: Path, remote: str, meta: dict[str, Any], endpoint: str = "") -> str:
    """Make `data/` the new version: data.dvc with `meta`, pushed where there is a remote. Its hash.

    The version that was is remembered. Raises UserError for a remote that cannot be reached or opened; the
    new version then stands here, and `push` sends it later.
    """
    described = {"layout": LAYOUT, **meta}

    def action() -> None:
        with repository(root) as repo:
            repo.add(targets=[str(root / "data")])
            pointer = root / POINTER
            written = yaml.safe_load(pointer.read_text(encoding="utf-8"))
            written["meta"] = described
            part = root / f"{POINTER}.part"
            part.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
            part.replace(pointer)

    before = read_pointer(root)
    remotes.again(action)
    found = read_pointer(root)
    assert found is not None
    _remember(root, before, found)
    push(root, remote, endpoint)
    return str(found["md5"])


def _remember(root: Path, before: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """Note a version beside the cache that has its files: without a commit, data.dvc forgets the last one."""
    path = root / KNOWN
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {entry["md5"] for entry in remembered(root)}
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with path.open("a", encoding="utf-8") as file:
        if before is not None and before["md5"] not in known:
            file.write(json.dumps({**before, "made": ""}) + "\n")
        if now["md5"] not in known:
            file.write(json.dumps({**now, "made": made}) + "\n")


def remembered(root: Path) -> list[dict[str, Any]]:
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
        except (ValueError, KeyError, TypeError):
            continue  # a line half written when the machine went down
    return entries
