"""Fixtures of the label page's store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    """Return an empty store."""
    yield from opened(tmp_path)
