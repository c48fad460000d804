"""Test names of products, and the addresses of their versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.serving.chat import names_version
from tasks.tracking.products import is_version, product_named


def test_product_named_different_names_give_different_models() -> None:
    names = ["a/b", "a:b", "a%2Fb", "a%3Ab", "a b", "a'b", 'a"b', "a\\b", "ab", "a\u200bb"]
    assert len({product_named(name).model for name in names}) == len(names)


def test_is_version_accepts_only_version_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("champion", "3", "demo/champion", "demo/12", "a/b/champion"):
        assert is_version(text)
    for text in ("", "demo", "demo/", "1" * 32, "٣", "aligned", "0x1"):
        assert not is_version(text)
    monkeypatch.chdir(tmp_path)
    assert names_version("models/champion") and names_version("models/3") and names_version("3")
    # A model folder that is here is a folder.
    for name in ("champion", "3"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text("{}")
        assert not names_version(f"models/{name}")
