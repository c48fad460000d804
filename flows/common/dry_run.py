"""The context of a command with `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.common.checksums import without_kept_sums
from tasks.project import dry_run


@contextmanager
def without_writes() -> Iterator[None]:
    """Let this process write nothing into the project, not even checksums of files that it reads."""
    with dry_run.forbid_writes(), without_kept_sums():
        yield
