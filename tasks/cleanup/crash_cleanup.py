"""What killed runs leave in a project's folder: trainings without a run, what was begun, locks of the dead.

A process that lives holds the lock of what it makes, and a lock goes with its process however that ends. So a
lock that can be had tells the dead from the living; no process number does, and no clock.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from model.training.launcher import JOB, MODULE, job_file
from tasks.cleanup.output_gc import GONE, KEY
from tasks.dvc import versions
from tasks.engine.output import LOCK, PART, VIEW
from tasks.project import data_folder
from tasks.project.paths import ARTIFACTS, DATA_LOCK

_GRACE_SECONDS = 60.0
# What a training goes on from.
CHECKPOINTS = "checkpoints"
# A training that an older version started runs under the former name of its module.
_TRAINING_MODULES = {MODULE, "model.launch"}


def clean_up_crashes(root: Path) -> list[str]:
    """End and remove what nothing alive has to do with any more; a sentence about each."""
    artifacts = root / ARTIFACTS
    begun = {
        path.with_suffix("")
        for suffix in (PART, VIEW, JOB)
        for path in artifacts.glob(f"*/*{suffix}")
        # Whatever else lies there is not chatmill's.
        if KEY.fullmatch(path.name)
    }
    notes: list[str] = []
    for folder in sorted(begun):
        with hold_if_free(folder.with_suffix(LOCK)) as mine:
            if mine:
                notes += _sweep_stage(folder)
    notes += _sweep_removed(artifacts)
    notes += _sweep_data(root)
    notes += _sweep_dvc(root / ".dvc" / "tmp")
    if (root / ".dvc" / "tmp").is_dir():
        notes += _sweep_cache(root / ".dvc" / "cache")
    return notes


@contextmanager
def hold_if_free(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock on a file; where so, it is held as long as the context lasts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _sweep_stage(folder: Path) -> Iterator[str]:
    """One stage's output that was begun; the lock on it is held here."""
    stage, part = folder.parent.name, folder.with_suffix(PART)
    for process in _orphaned_processes(part):
        saved = _end_process(process)
        yield (
            f"{stage}: process {process.pid} worked on without the run that had started it; "
            f"it was ended{'' if saved else ' by force'}"
        )
    job_file(folder.with_suffix(".log")).unlink(missing_ok=True)
    if folder.with_suffix(VIEW).exists():
        shutil.rmtree(folder.with_suffix(VIEW))
    if not part.exists():
        return
    if found := sorted((part / CHECKPOINTS).glob("[0-9]*.pt")):
        yield f"{stage}: a training was killed; its checkpoint after step {int(found[-1].stem)} is kept"
    elif not (part / "manifest.json").exists() and not any((part / CHECKPOINTS).glob("*.damaged*")):
        shutil.rmtree(part)
        yield f"{stage}: what a killed run had half written is removed ({part.name})"


def _orphaned_processes(part: Path) -> list[psutil.Process]:
    """Processes that work for the folder, those that lead others first: these end what they started."""
    found = []
    order = str(job_file(part.with_suffix(".log")))
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if not _TRAINING_MODULES.isdisjoint(words) and words[-1] == order:
                found.append(("agent" not in words, process.pid, process))
    return [process for _, _, process in sorted(found, key=lambda each: each[:2])]


def _end_process(process: psutil.Process) -> bool:
    """Ask a process to end, which a training does with a checkpoint; whether it did."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_GRACE_SECONDS)
            return False
    return True


def _sweep_removed(artifacts: Path) -> Iterator[str]:
    """What `chatmill clean` had renamed and was killed before it had removed it."""
    for path in sorted(path for path in artifacts.glob(f"*/*{GONE}") if KEY.fullmatch(path.name)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        yield f"{path.parent.name}: what a killed clean had half removed is gone ({path.name})"


def _sweep_data(root: Path) -> Iterator[str]:
    """What ingestion writes in and beside data/; one that is alive holds the lock on it."""
    data, part = root / "data", root / f"{versions.POINTER}.part"
    with hold_if_free(root / DATA_LOCK) as mine:
        if not mine:
            return
        if part.is_file():
            part.unlink()
            yield f"ingest: what a killed run had half written is removed ({part.name})"
        if data_folder.is_interrupted(data):
            data_folder.finish_replacement(data)
            yield "ingest: what a killed run had left half done in data/ is completed"
        # Where chatmill put rows together before it did so inside data/.
        former = root / "data.part"
        if former.is_dir() and data_folder.holds_rows_alone(former):
            shutil.rmtree(former)
            yield f"ingest: what a killed run had half written is removed ({former.name})"


def _sweep_cache(cache: Path) -> Iterator[str]:
    """Half-written objects in DVC's cache; who writes one holds a lock on it, or DVC's own."""
    with (
        hold_if_free(cache.parent / "tmp" / "lock") as first,
        hold_if_free(cache.parent / "tmp" / "rwlock.lock") as second,
    ):
        if not (first and second):
            return
        for path in sorted((cache / "files").rglob(".*.tmp")):
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
            path.unlink()
            yield f"DVC's cache: what a killed run had half written is removed ({path.name})"


def _sweep_dvc(folder: Path) -> Iterator[str]:
    """DVC's list of who reads and writes what. Its lock is the system's and needs no sweeping; the list does.

    DVC itself takes a number that another process has by now for the one that is gone, and stops at a list
    that is cut short.
    """
    path = folder / "rwlock"
    if not path.exists():
        return
    with hold_if_free(folder / "lock") as first, hold_if_free(folder / "rwlock.lock") as second:
        if not (first and second):
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            readers = (entry for entries in found.get("read", {}).values() for entry in entries)
            entries = [*found.get("write", {}).values(), *readers]
            dead = {int(entry["pid"]) for entry in entries if not _is_entry_alive(entry)}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            path.unlink()
            yield f"DVC's list of locks was cut short; it is removed ({path})"
            return
        if dead:
            path.write_text(json.dumps(_drop_dead_entries(found, dead)), encoding="utf-8")
            numbers = ", ".join(map(str, sorted(dead)))
            yield f"DVC's list of locks named processes that are gone ({numbers}); they are removed from it"


def _is_entry_alive(entry: dict[str, Any]) -> bool:
    """Whether the process of an entry is there and could be the one that wrote it."""
    try:
        words = psutil.Process(int(entry["pid"])).cmdline()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    given = str(entry["cmd"]).split()[1:]
    return not given or " ".join(words).endswith(" ".join(given))


def _drop_dead_entries(found: dict[str, Any], dead: set[int]) -> dict[str, Any]:
    writes = {path: entry for path, entry in found.get("write", {}).items() if int(entry["pid"]) not in dead}
    reads = {
        path: [entry for entry in entries if int(entry["pid"]) not in dead]
        for path, entries in found.get("read", {}).items()
    }
    return {"write": writes, "read": {path: entries for path, entries in reads.items() if entries}}
