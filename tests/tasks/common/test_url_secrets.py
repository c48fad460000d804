"""Test secrets in addresses: they are used in requests, and neither recorded nor shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.config import load_preset
from model.errors import UserError
from tasks.common import url_secrets
from tasks.common.url_secrets import conceal_secrets, display_url, hide_secrets, reveal_secrets
from tasks.data.sources.download import parse_address
from tasks.data.sources.source_types import DataParameters, Source
from tasks.dvc import remote
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tests.tasks.data.file_server import Served, served

__all__ = ["served"]

SECRET = "TOPSECRETQUERY"


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("https://h/a.txt", "https://h/a.txt"),
        ("https://h/a.txt?sig=abc", "https://h/a.txt?sig=***"),
        (
            "https://h/a.txt?format=csv&id=12&API_KEY=x#sha256=00",
            "https://h/a.txt?format=csv&id=12&API_KEY=***#sha256=00",
        ),
        (
            "https://h/a?X-Amz-Credential=a%2Fb&X-Amz-Date=2",
            "https://h/a?X-Amz-Credential=***&X-Amz-Date=***",
        ),
        ("https://h/a?sv=2020&se=2026-01-01&sr=b&sig=q%3D", "https://h/a?sv=***&se=***&sr=***&sig=***"),
        ("https://h/a?sig=${SIGNATURE}", "https://h/a?sig=${SIGNATURE}"),
    ],
)
def test_conceal_secrets_query_values_are_masked_once(url: str, recorded: str) -> None:
    assert conceal_secrets(url) == recorded == conceal_secrets(recorded)


def test_conceal_secrets_other_query_values_become_digests() -> None:
    one, other = conceal_secrets("https://h/a?name=first%20file"), conceal_secrets("https://h/a?name=second")
    assert one != other and "first" not in one and "second" not in other
    assert conceal_secrets(one) == one and reveal_secrets(one) == "https://h/a?name=first%20file"
    assert SECRET not in conceal_secrets(f"https://h/a?{SECRET}")


def test_reveal_secrets_reads_environment_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    url_secrets.use_environment({"SIGNATURE": "s1"})
    assert reveal_secrets("https://h/a?sig=${SIGNATURE}") == "https://h/a?sig=s1"
    with pytest.raises(UserError, match="https://h/a needs OTHER, which is not set"):
        reveal_secrets("https://h/a?sig=${OTHER}")
    monkeypatch.setattr(url_secrets, "_known", {})
    for recorded in ("https://h/a?sig=***", "https://h/a?n=~0123456789ab&x=1"):
        with pytest.raises(UserError, match="the query of https://h/a was not recorded"):
            reveal_secrets(recorded)


@pytest.mark.parametrize(
    "text",
    [
        f"cannot reach https://h/a?sig={SECRET}",
        f"'http://{SECRET}@h/b' failed",
        f"x s3://u:{SECRET}@b/c?v={SECRET} y",
    ],
)
def test_hide_secrets_url_in_text_is_masked(text: str) -> None:
    assert SECRET not in hide_secrets(text) and "://" in hide_secrets(text)
    assert display_url(f"http://{SECRET}@h/b?x={SECRET}") == "http://h/b"


@pytest.mark.parametrize(
    "values",
    [
        {"tracking": {"mlflow": f"http://{SECRET}@h:5000"}},
        {"tracking": {"mlflow": f"http://h:5000/?token={SECRET}"}},
        {"parallel": {"dask_address": f"tcp://{SECRET}@h:8786"}},
        {"parallel": {"dask_address": f"tcp://h:8786?token={SECRET}"}},
        {"data": {"sources": [{"name": "s", "urls": f"https://{SECRET}@h/a.txt"}]}},
        {"data": {"sources": [{"name": "s", "urls": f"https://me:{SECRET}@h/a.txt"}]}},
        {"data": {"remote": f"s3://{SECRET}@bucket/x"}},
        {"data": {"remote": f"https://h/x?token={SECRET}"}},
        {"data": {"endpoint": f"https://{SECRET}@h"}},
        {"data": {"sources": [{"name": "s", "files": f"https://{SECRET}@h/a?{SECRET}"}]}},
        {
            "data": {
                "archives": {
                    "a": {"package": f"x @ https://{SECRET}@h/x.whl", "file": "x.whl", "sha256": "0"}
                }
            }
        },
    ],
)
def test_load_preset_secret_in_address_is_refused_and_not_shown(values: dict[str, Any]) -> None:
    data = {"sources": [{"name": "s", "files": "a.txt"}], **values.get("data", {})}
    with pytest.raises(UserError) as caught:
        load_preset({"name": "x", **values, "data": data})
    assert SECRET not in str(caught.value)


def test_address_problem_user_of_remote_is_accepted() -> None:
    assert (
        remote.address_problem("ssh://me@host/versions")
        == ""
        == remote.address_problem("abfs://box@account/versions")
    )


def test_data_parameters_urls_differing_only_in_secret_are_refused() -> None:
    with pytest.raises(ValueError, match="https://h/a is given twice"):
        DataParameters(tuple(Source(f"s{key}", urls=f"https://h/a?key={key}") for key in "ab"))


def test_ingest_rotated_signature_is_reused_and_not_recorded(
    tmp_path: Path,
    served: Served,
) -> None:
    served.files["/texts/a.txt"] = b"one\n"
    base = served.url.rpartition("/")[0]
    outcomes = []
    for number in range(2):
        preset = DataParameters((Source("s", urls=f"{base}/a.txt?sig={SECRET}{number}&id=1"),))
        said: list[Any] = []
        outcomes.append(ingest.run(preset, {}, StageContext(tmp_path), said.append))
        assert SECRET not in str(said) and SECRET not in str(preset)
    assert outcomes[0].key == outcomes[1].key and outcomes[1].reused
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    "url",
    [
        "filecache::http://joe:PW@127.0.0.1/a.jsonl", "simplecache::zip::https://joe@host/a.zip",
        "https://joe:US/PW@host/a.csv",
    ],
)  # fmt: skip
def test_secret_problem_user_or_password_in_url_is_found(url: str) -> None:
    assert url_secrets.secret_problem(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1]:80/a", "http://[::ffff:7f00:1]/a", "https://host:8080/a", "filecache::s3://bucket/a",
        "http://${HOST}:${PORT}/a",
    ],
)  # fmt: skip
def test_secret_problem_host_with_port_or_chain_is_accepted(url: str) -> None:
    assert url_secrets.secret_problem(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        f"https://h/data/rows.csv;jsessionid={SECRET}",
        f"https://h/a;PHPSESSID={SECRET}/rows.csv?page=2",
        f"https://h/rows.csv;v={SECRET};token={SECRET}?sig={SECRET}",
    ],
)
def test_conceal_secrets_path_parameters_are_hidden(url: str) -> None:
    recorded = url_secrets.conceal_secrets(url)
    assert SECRET not in recorded and url_secrets.reveal_secrets(recorded) == url
    assert SECRET not in display_url(url) + hide_secrets(f"cannot reach {url}")
    given = parse_address(recorded)
    assert SECRET not in given.name and (given.name == "rows.csv")
    assert url_secrets.conceal_secrets(recorded) == recorded


def test_reveal_secrets_fragment_is_kept_unknown_query_is_refused() -> None:
    recorded = url_secrets.conceal_secrets(f"https://h/a.csv?sig={SECRET}")
    for fragment in ("#row=4", "#top", "#a?b=c"):
        assert url_secrets.reveal_secrets(recorded + fragment) == f"https://h/a.csv?sig={SECRET}{fragment}"
    unknown = "https://h/a.csv;jsessionid=***?x=1"
    with pytest.raises(UserError, match="was not recorded"):
        url_secrets.reveal_secrets(unknown)


@pytest.mark.parametrize("address", ["https://h/a.csv", "http://h:8/b", "filecache::https://h/a.csv"])
def test_display_url_and_hide_secrets_leave_out_the_fragment(address: str) -> None:
    whole = f"{address}#access_token={SECRET}"
    assert url_secrets.has_fragment(whole) and not url_secrets.has_fragment(address)
    assert display_url(whole) == display_url(address)
    assert SECRET not in hide_secrets(f"cannot reach {whole}, 404")
    assert display_url("s3://bucket/a#b.csv") == "s3://bucket/a#b.csv"
