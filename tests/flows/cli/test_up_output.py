"""What `chatmill up` says about runs that start by themselves."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from flows.cli.up_output import describe_schedule, print_running, service_line
from flows.common.terminal import Console
from flows.servers.commands import LABEL_PAGE
from flows.servers.state_file import Process, Served, open_state_file
from model.errors import UserError


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


@pytest.mark.parametrize(
    ("running", "typed", "address", "message"),
    [
        (
            "chatmill label", "chatmill dashboards", "http://127.0.0.1:4300",
            "without Prefect's and MLflow's pages. `chatmill down`, then `chatmill up --no-deploy` serves",
        ),
        (
            "chatmill label", "chatmill dashboards", "http://host:4301",
            "then `chatmill up --no-deploy --label-port 4301` serves all three",
        ),
        ("chatmill dashboards", "chatmill label", "", "without the label page. `chatmill down`, then"),
    ],
)  # fmt: skip
def test_print_running_other_pages_say_how_to_serve_all(
    tmp_path: Path, running: str, typed: str, address: str, message: str
) -> None:
    shown = io.StringIO()
    page = (Process(LABEL_PAGE, os.getpid(), address, "x"),) if address else ()
    with open_state_file(tmp_path) as record:
        assert record is not None
        record.write_state(Served(os.getpid(), 1.0, running, processes=page))
        with pytest.raises(UserError) as refused:
            print_running(tmp_path, typed, Console(file=shown, highlight=False))
        print_running(tmp_path, running, Console(file=shown, highlight=False))
    assert message in str(refused.value)
    assert "`chatmill down` stops it" in shown.getvalue()


@pytest.mark.parametrize("address", ["http://[::1]:4200", "http://[fe80::1]:4300", "http://h/[/bold]", ""])
def test_service_line_address_is_printed_as_it_is(address: str) -> None:
    shown = io.StringIO()
    Console(file=shown, width=200).print(service_line("Prefect", address, "runs [b]", 7))
    assert shown.getvalue() == f"Prefect  {address or 'process 7':<22} runs [b]\n"
