"""Versions of the data: `data/` is content, `data.dvc` the pointer that is committed, DVC what keeps both."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from model.errors import UserError

POINTER = "data.dvc"
TRIES = 5
T = TypeVar("T")


def read_pointer(root: Path) -> dict[str, Any] | None:
    """data.dvc: the folder's `md5`, and `meta` with the sources' digest and counts. None: no version yet."""
    path = root / POINTER
    if not path.exists():
        return None
    try:
        found = yaml.safe_load(path.read_text())
        return {"md5": found["outs"][0]["md5"], "meta": found.get("meta") or {}}
    except (yaml.YAMLError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is broken ({error}); restore it with `git checkout {POINTER}`") from error


@contextmanager
def repository(root: Path) -> Any:
    """DVC's repository of a project; a folder without one gets it. Quiet, and without a lock left behind."""
    import logging

    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    if not (root / ".dvc").exists():
        Repo.init(str(root), no_scm=not (root / ".git").exists()).close()
    with Repo(str(root), uninitialized=False) as repo:
        yield repo


def _again(action: Callable[[], T]) -> T:
    """Do it again while another process holds DVC's lock."""
    from dvc.lock import LockError

    for tried in range(TRIES):
        try:
            return action()
        except LockError as error:
            if tried == TRIES - 1:
                raise UserError("another program holds DVC's lock on this project; let it finish") from error
            time.sleep(2.0)
    raise AssertionError("unreachable")


def pull(root: Path, remote: str) -> bool:
    """Bring `data/` to what data.dvc says from the remote; whether that worked."""
    from dvc.exceptions import DvcException

    def action() -> bool:
        with repository(root) as repo:
            _set_remote(repo, root, remote)
            try:
                repo.pull(targets=[str(root / POINTER)], force=True)
            except DvcException:
                return False
            return bool(repo.status(targets=[str(root / POINTER)]) == {})

    return _again(action)


def folder_hash(root: Path) -> str:
    """DVC's hash of `data/` as it stands: of contents and relative paths alone, the same on every machine."""

    def action() -> str:
        from dvc_data.hashfile.build import build

        with repository(root) as repo:
            from dvc.fs import LocalFileSystem

            _, _, found = build(
                repo.cache.local, str(root / "data"), LocalFileSystem(), "md5", ignore=repo.dvcignore
            )
            return str(found.hash_info.value)

    return _again(action)


def add(root: Path, remote: str, meta: dict[str, Any]) -> str:
    """Make `data/` the new version: data.dvc with `meta`, pushed where there is a remote. Its hash."""

    def action() -> None:
        with repository(root) as repo:
            repo.add(targets=[str(root / "data")])
            pointer = root / POINTER
            described = yaml.safe_load(pointer.read_text())
            described["meta"] = meta
            pointer.write_text(yaml.safe_dump(described, sort_keys=False))
            if remote:
                _set_remote(repo, root, remote)
                repo.push(targets=[str(root / POINTER)])

    _again(action)
    found = read_pointer(root)
    assert found is not None
    return str(found["md5"])


def _set_remote(repo: Any, root: Path, remote: str) -> None:
    if remote:
        with repo.config.edit("local") as settings:
            settings.setdefault("remote", {})["chatmill"] = {"url": str(remote)}
            settings.setdefault("core", {})["remote"] = "chatmill"
