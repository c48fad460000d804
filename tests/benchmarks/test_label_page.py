"""The label page under load: no judgement is lost or doubled when its server is killed."""

from __future__ import annotations

import pytest

from tests.benchmarks.label_page import main


def test_label_page_server_killed_under_load_loses_and_doubles_nothing() -> None:
    assert main(["--people", "8", "--kills", "3", "--seed", "7"]) == 0


@pytest.mark.long
def test_label_page_hundred_kills_under_fifty_people_lose_and_double_nothing() -> None:
    assert main(["--kills", "100"]) == 0
