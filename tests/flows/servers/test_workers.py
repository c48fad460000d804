"""Test what is said about a failed deployment."""

from __future__ import annotations

import pytest

from flows.servers.workers import deploy_failure


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("Deploying\nNo such work pool: x\n", "No such work pool: x"),
        (
            "Traceback\nFileNotFoundError: no flows/x.py\nAn exception occurred.\n",
            "FileNotFoundError: no flows/x.py",
        ),
        ("SyntaxError: invalid syntax\n\n  An exception occurred.  \n\n", "SyntaxError: invalid syntax"),
        ("An exception occurred.\n", ""),
        ("", ""),
    ],
)
def test_deploy_failure_of_a_log_is_its_last_reason(log: str, reason: str) -> None:
    assert deploy_failure(log) == reason
