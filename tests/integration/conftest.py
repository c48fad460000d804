"""One run of the smoke preset for all test files that begin with a complete one."""

from __future__ import annotations

import pytest

from tests.integration.clones import Clones, make_clones


@pytest.fixture(scope="session")
def clones(tmp_path_factory: pytest.TempPathFactory) -> Clones:
    """Return two clones of the code; in the first one, whose code is changed, the pipeline has run once."""
    return make_clones(tmp_path_factory.mktemp("clones"))
