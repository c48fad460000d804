"""`chatmill label push` and `pull`: their settings. `make label-studio` tests them against the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.label_exchange import pull_judgements, push_batch
from model.errors import UserError
from tests.flows.cli_runner import call, of

APP = of(push_batch, pull_judgements)


@pytest.mark.parametrize(
    ("address", "token", "reason"),
    [
        ("", "x", "LABEL_STUDIO_URL is not set; set it to the address"),
        ("ftp://host", "x", "LABEL_STUDIO_URL begins with ftp:"),
        ("http://me:hidden@host", "x", "LABEL_STUDIO_URL contains a user or password"),
        ("http://127.0.0.1:9", "", "LABEL_STUDIO_API_KEY is not set"),
    ],
)
def test_push_and_pull_wrong_settings_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, token: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABEL_STUDIO_URL", address)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", token)
    for words in (
        ("push-batch", "first", "--to", "label-studio"),
        ("pull-judgements", "--from", "label-studio"),
    ):
        with pytest.raises(UserError, match=reason) as failed:
            call(APP, *words)
        assert "hidden" not in str(failed.value)
