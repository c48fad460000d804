"""Cleanup after killed runs: trainings without a run, unfinished outputs, locks of dead processes.

A live process holds the file lock of what it makes, and the operating system releases the lock when the
process ends. So a lock that can be taken shows that its process is gone; a process number or a clock does
not.
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

from model.atomic_file import fixed_part
from model.training.launcher import JOB, MODULE, job_file
from tasks.cleanup.output_gc import KEY
from tasks.cleanup.removal import Removal
from tasks.common.file_lock import is_same_file
from tasks.dvc.pointer_file import POINTER
from tasks.engine.output import GONE, LOCK, PART, VIEW
from tasks.project import data_folder
from tasks.project.paths import ARTIFACTS, DATA_LOCK
from tasks.project.preset_file import begins_as_written_by_init, remove_leftover_parts

_GRACE_SECONDS = 60.0
# The folder of the files that a training resumes from.
CHECKPOINTS = "checkpoints"
# A training that an earlier version started runs under the former name of its module.
_TRAINING_MODULES = {MODULE, "model.training.launcher", "model.launch"}


def clean_up_crashes(root: Path) -> list[str]:
    """End and remove what no live process needs any more; return a sentence for each."""
    artifacts = root / ARTIFACTS
    begun = {
        path.with_suffix("")
        for suffix in (PART, VIEW, JOB)
        for path in artifacts.glob(f"*/*{suffix}")
        # Other names are not chatmill's.
        if KEY.fullmatch(path.name)
    }
    notes: list[str] = []
    for folder in sorted(begun):
        with hold_if_free(folder.with_suffix(LOCK)) as mine:
            if mine:
                notes += _sweep_stage(folder)
    notes += _sweep_removed(artifacts)
    notes += _sweep_data(root)
    for part in remove_leftover_parts(root / "configs", begins_as_written_by_init):
        notes.append(f"init: removed the partial file of a killed init (configs/{part.name})")
    notes += _sweep_dvc(root / ".dvc" / "tmp")
    if (root / ".dvc" / "tmp").is_dir():
        notes += _sweep_cache(root / ".dvc" / "cache")
    return notes


@contextmanager
def hold_if_free(path: Path) -> Iterator[bool]:
    """Take the lock on a file if it is free, hold it while the context lasts, and yield whether it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # A file that was removed meanwhile excludes nobody.
        yield is_same_file(file, path)


def _sweep_stage(folder: Path) -> Iterator[str]:
    """Clean up one stage's unfinished output and yield sentences; the caller holds its lock."""
    stage, part = folder.parent.name, folder.with_suffix(PART)
    for process in _orphaned_processes(part):
        saved = _end_process(process)
        yield (
            f"{stage}: process {process.pid} continued without its run and was "
            f"stopped{'' if saved else ' by force'}"
        )
    job_file(folder.with_suffix(".log")).unlink(missing_ok=True)
    if folder.with_suffix(VIEW).exists():
        shutil.rmtree(folder.with_suffix(VIEW))
    if not part.exists():
        return
    if found := sorted((part / CHECKPOINTS).glob("[0-9]*.pt")):
        yield f"{stage}: training was interrupted; its checkpoint after step {int(found[-1].stem)} is kept"
    # With a manifest, the output is complete and the next run publishes it. A damaged checkpoint is kept for
    # inspection.
    elif not (part / "manifest.json").exists() and not any((part / CHECKPOINTS).glob("*.damaged*")):
        shutil.rmtree(part)
        yield f"{stage}: removed partial output of an unfinished run ({part.name})"


def _orphaned_processes(part: Path) -> list[psutil.Process]:
    """Return the training processes of a folder, oldest first: the first one ends those it started."""
    found = []
    order = str(job_file(part.with_suffix(".log")))
    for process in psutil.process_iter():
        # A process may end between its listing and this call, or belong to another user.
        with suppress(psutil.Error):
            words = process.cmdline()
            if not _TRAINING_MODULES.isdisjoint(words) and words[-1] == order:
                found.append((process.create_time(), process.pid, process))
    return [process for _, _, process in sorted(found, key=lambda each: each[:2])]


def _end_process(process: psutil.Process) -> bool:
    """Ask a process to end, and kill it if it does not; return whether it ended by itself.

    A training that is asked to end saves a checkpoint.
    """
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
    """Remove what a killed `chatmill gc` had renamed but not removed, and yield sentences."""
    for path in sorted(path for path in artifacts.glob(f"*/*{GONE}") if KEY.fullmatch(path.name)):
        removal = Removal()
        if removal.delete_path(path):
            yield f"{path.parent.name}: finished the removal that a killed gc had begun ({path.name})"
        for refused in removal.refused.values():
            yield f"{path.parent.name}: could not finish a removal that a killed gc had begun: {refused}"


def _sweep_data(root: Path) -> Iterator[str]:
    """Clean up what ingestion left in and beside data/, and yield sentences; a live one holds the lock."""
    data, part = root / "data", fixed_part(root / POINTER)
    with hold_if_free(root / DATA_LOCK) as mine:
        if not mine:
            return
        if part.is_file():
            part.unlink()
            yield f"ingest: removed partial output of an unfinished run ({part.name})"
        if data_folder.is_interrupted(data):
            data_folder.finish_replacement(data)
            yield "ingest: completed a change of data/ that a killed run had begun"
        # Earlier versions collected rows beside data/ rather than inside it.
        former = root / "data.part"
        if former.is_dir() and data_folder.holds_rows_alone(former):
            shutil.rmtree(former)
            yield f"ingest: removed partial output of an unfinished run ({former.name})"


def _sweep_cache(cache: Path) -> Iterator[str]:
    """Remove incomplete objects in DVC's cache, and yield sentences.

    A live writer holds a lock on the object, or DVC's own lock.
    """
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
            yield f"DVC's cache: removed partial output of an unfinished run ({path.name})"


def _sweep_dvc(folder: Path) -> Iterator[str]:
    """Remove dead processes from DVC's list of readers and writers, and yield sentences.

    DVC's file lock needs no cleanup. The list does: DVC takes a process that reuses a number for the one that
    is gone, and refuses a truncated list.
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
            yield f"removed DVC's truncated list of locks ({path})"
            return
        if dead:
            path.write_text(json.dumps(_drop_dead_entries(found, dead)), encoding="utf-8")
            numbers = ", ".join(map(str, sorted(dead)))
            yield f"removed ended processes from DVC's list of locks ({numbers})"


def _is_entry_alive(entry: dict[str, Any]) -> bool:
    """Return whether an entry's process exists and its command line fits the entry."""
    try:
        words = psutil.Process(int(entry["pid"])).cmdline()
    except psutil.NoSuchProcess:
        return False
    # The command line of another user's process may be unreadable. It then counts as alive, which is the safe
    # side.
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
