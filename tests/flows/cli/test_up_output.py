"""What `chatmill up` says about runs that start by themselves."""

from __future__ import annotations

import io

import pytest

from flows.cli.up_output import describe_schedule, service_line
from flows.common.terminal import Console


def test_describe_schedule_names_demo_and_how_to_choose() -> None:
    said = describe_schedule(["configs/demo.yaml"], True, "chatmill up")
    assert said == [
        "scheduled: configs/demo.yaml (the demo), every night; new labels start it too",
        "to schedule another preset: `chatmill up --config FILE`; none: `chatmill up --no-deploy`",
    ]
    assert "(the demo)" not in describe_schedule(["configs/a.yaml", "configs/b.yaml"], True, "chatmill up")[0]


def test_describe_schedule_of_project_without_data_names_commands() -> None:
    said = describe_schedule(["configs/demo.yaml"], False, "chatmill up")
    assert said[0] == "scheduled: nothing, as there is no data/ yet"
    assert "`chatmill up --config configs/demo.yaml`" in said[2]
    assert describe_schedule([], True, "chatmill up") == []


@pytest.mark.parametrize("address", ["http://[::1]:4200", "http://[fe80::1]:4300", "http://h/[/bold]", ""])
def test_service_line_address_is_printed_as_it_is(address: str) -> None:
    shown = io.StringIO()
    Console(file=shown, width=200).print(service_line("Prefect", address, "runs [b]", 7))
    assert shown.getvalue() == f"Prefect  {address or 'process 7':<22} runs [b]\n"
