"""Credentials: valid logins, where they come from, and the stored password."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.servers.credentials import (
    is_loopback,
    known_login,
    origin,
    read_login,
    stored_login,
)
from model.errors import UserError


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("secret", "is not a user and a password"),
        (":secret", "is not a user and a password"),
        ("ann:", "is not a user and a password"),
        ("ann:secret", "is 6 characters long"),
        ("ann:password1234", "MLflow once shipped"),
        ("ann:a very sécret word", "not plain ASCII"),
        ("ann b:a very secret word", "not plain ASCII"),
    ],
)
def test_read_login_invalid_text_is_refused_without_repeating_it(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        read_login(text)
    assert "expected USER:PASSWORD" in str(refused.value) and "secret" not in str(refused.value)


def test_known_login_reads_client_environment_and_address() -> None:
    login = read_login("ann:a:long:password")
    assert (login.user, login.password) == ("ann", "a:long:password") and "long" not in repr(login)
    for address in ("http://there:5000", "http://there:4200/api"):
        assert known_login(login.client_environment, address) == login and known_login({}, address) is None
    assert known_login({}, "http://ann:a%3Along%3Apassword@there") == login


def test_is_loopback_accepts_only_own_addresses() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("127.0.0.7") and is_loopback("localhost")
    assert is_loopback("::1") and not is_loopback("0.0.0.0") and not is_loopback("192.0.2.1")


def test_stored_login_is_made_once_and_private(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: stored_login(tmp_path).text, range(24)))
    assert len(made) == 1 and len(made.pop()) > 32
    folder = tmp_path / "var" / "secrets"
    path = folder / "password"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == ["password"]
    path.chmod(0o644)
    stored_login(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for damaged in (
        b"",
        b"nothing",
        b"chatmill:short",
        b"\xff" * 40,
        b"chatmill:\xc6" + b"x" * 20,
        bytes(41),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="contains no user and password; delete it"):
            stored_login(tmp_path)


def test_origin_normalises_scheme_host_and_port() -> None:
    assert origin("http://ann:secret@MAIN:5000/api") == origin("http://main:5000") == "http://main:5000"
    assert origin("https://main") == "https://main:443" != origin("http://main")
    for address in ("", "sqlite:///var/mlflow.db", "postgresql://db/mill", "http://", "http://main:port"):
        assert origin(address) == ""
