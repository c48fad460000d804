"""Test the state of `chatmill up` that a killed process left, and what damage makes of it."""

import json
import os
import time
from dataclasses import asdict

import pytest

from flows.servers.state_file import Process, Served, open_state_file, record_path
from flows.servers.supervisor import end_leftovers

LEFT = Served(os.getpid(), time.time(), "up", processes=(Process("a worker", 999_999_999, "", "works"),))


def read_left(root, content):
    record_path(root).parent.mkdir(mode=0o700)
    record_path(root).write_bytes(content)
    with open_state_file(root) as state:
        last = state.read_last()
        # The next `up` ends what the state names, and writes its own.
        assert end_leftovers(last.processes if last else (), root) == []
        state.write_state(LEFT)
        assert state.read_last() == LEFT
    return last


def changed(**values):
    return json.dumps(asdict(LEFT) | values).encode()


def test_read_last_returns_what_a_killed_process_left(tmp_path):
    assert read_left(tmp_path, changed()) == LEFT


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"5", b'"text"', b"[]", b"[1]", b"{}", b'{"processes": 5}', b"\xff\xfe\x00", b"\0" * 99,
        b"[" * 100_000, b"9" * 6_000, changed()[:-20], changed(pid="1"), changed(pid=-1), changed(command={}),
        changed(processes=[5]), changed(processes=[{"pid": 1}]), changed(mood="fine"),
        changed(processes=[{"name": [], "pid": [], "address": "", "shows": ""}]),
        changed(processes=[{"name": "a", "pid": 0, "address": "", "shows": ""}]),
    ],
    ids=lambda content: repr(content[-30:]),
)  # fmt: skip
def test_read_last_damaged_file_names_nothing(tmp_path, content):
    assert read_left(tmp_path, content) is None
