"""The name of the label page: the same after a restoration, another one for another project."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.labelling.page_identity import page_site
from tasks.labelling.schema import PAGE_TABLE, LabelStore, open_label_store
from tasks.project.label_site import derive_site, first_site, keep_site
from tasks.project.paths import LABEL_SESSION_KEY, LABEL_SITE, SECRETS
from tasks.project.private_folder import read_or_create


def test_page_site_store_keeps_the_first_name(store: LabelStore, tmp_path: Path) -> None:
    assert page_site(store, "a" * 16) == "a" * 16 == page_site(store, "b" * 16)
    store.close()
    again = open_label_store(tmp_path)
    assert page_site(again, "c" * 16) == "a" * 16
    again.close()


def test_page_site_store_of_an_earlier_version_gets_a_name(store: LabelStore, tmp_path: Path) -> None:
    with store.write() as connection:
        PAGE_TABLE.drop(connection)
    store.close()
    again = open_label_store(tmp_path)
    assert page_site(again, derive_site("key")) == derive_site("key")
    again.close()


def test_first_site_removed_key_gives_the_kept_name(tmp_path: Path) -> None:
    keep_site(tmp_path)
    assert not (tmp_path / LABEL_SITE).exists()
    for key in ("first key", "second key"):
        (tmp_path / LABEL_SESSION_KEY).unlink(missing_ok=True)
        read_or_create(tmp_path / LABEL_SESSION_KEY, lambda key=key: key)
        keep_site(tmp_path)
        # Browsers know the page by its first key alone.
        assert first_site(tmp_path / SECRETS, key) == derive_site("first key")
    shutil.rmtree(tmp_path / SECRETS)
    assert first_site(tmp_path / SECRETS, "third key") == derive_site("third key")


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, b'"><script>', b"a" * 17])
def test_first_site_damaged_file_gives_the_name_of_the_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LABEL_SITE).parent.mkdir(parents=True)
    (tmp_path / LABEL_SITE).write_bytes(content)
    assert first_site(tmp_path / SECRETS, "key") == derive_site("key")
