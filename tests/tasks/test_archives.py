"""Pinned package archives: members, also of archives inside; what is no plain file is refused."""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from model.errors import UserError
from tasks import archives
from tasks.archives import Archive
from tasks.sources import (
    Source,
)
from tests.tasks.reading import read, sha


def archive_in(folder: Path) -> Archive:
    """A wheel-like zip with a text and a tar inside, as pip would have left it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as packed:
        info = tarfile.TarInfo("inner/b.txt")
        info.size = 4
        packed.addfile(info, io.BytesIO(b"deep"))
        for name, kind in (("inner/soft", tarfile.SYMTYPE), ("inner/hard", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "inner/b.txt"
            packed.addfile(link)
        packed.addfile(folder_info := tarfile.TarInfo("inner/folder"))
        folder_info.type = tarfile.DIRTYPE
        big = tarfile.TarInfo("inner/big")
        big.size = 2000
        packed.addfile(big, io.BytesIO(bytes(2000)))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "texts-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed_zip:
        packed_zip.writestr("texts/a.txt", "shallow")
        packed_zip.writestr("texts/inner.tar.gz", inner.getvalue())
        packed_zip.writestr("texts/broken.tar.gz", inner.getvalue()[:-60])
        packed_zip.writestr("texts/big", bytes(2000))
        link_info = zipfile.ZipInfo("texts/link")
        link_info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed_zip.writestr(link_info, "../../etc/passwd")
    return Archive("texts==1.0", path.name, sha(path.read_bytes()))


def members(root: Path, *wanted: str) -> list[bytes]:
    archive = archive_in(root / "var" / "downloads")
    return read(Source("s", archive="x", members=wanted), root, x=archive)


def test_members_are_read_also_from_an_archive_in_an_archive(tmp_path: Path) -> None:
    assert members(tmp_path, "texts/a.txt", "texts/inner.tar.gz!inner/b.txt") == [b"shallow", b"deep"]


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("texts/none.txt", "has no member texts/none.txt"),
        ("texts/inner.tar.gz!none", "inner.tar.gz has no member none"),
        ("texts/link", "texts/link is a link; name the file"),
        ("texts/inner.tar.gz!inner/soft", "inner/soft is a link to inner/b.txt"),
        ("texts/inner.tar.gz!inner/hard", "inner/hard is a link to inner/b.txt"),
        ("texts/broken.tar.gz!inner/none", "texts/broken.tar.gz is not a whole archive"),
        ("texts/a.txt!b", "texts/a.txt is not a whole archive"),
        ("texts/big", "texts/big unpacks to 2000 bytes, above 1000"),
        ("texts/inner.tar.gz!inner/big", "inner/big unpacks to 2000 bytes, above 1000"),
    ],
)
def test_members_that_are_no_plain_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str, said: str
) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1000)
    with pytest.raises(UserError, match=re.escape(said)):
        members(tmp_path, member)


def test_a_member_that_is_larger_than_it_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 100)
    with pytest.raises(UserError, match="unpacks to 101 bytes"):
        archives._bounded(io.BytesIO(bytes(1000)), "a.zip", "bomb")


def test_a_tar_that_unpacks_without_end_is_not_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FARTHEST_MEMBER", 1000)
    with pytest.raises(UserError, match="unpacks to more than 1000 bytes; it was not read on"):
        members(tmp_path, "texts/inner.tar.gz!inner/none")


def test_an_archive_with_a_wrong_checksum_shows_both_sums(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "var" / "downloads")
    wrong = Archive(archive.package, archive.file, "f" * 64)
    with pytest.raises(UserError, match="nothing was read") as caught:
        read(Source("s", archive="x", members=("texts/a.txt",)), tmp_path, x=wrong)
    assert archive.sha256 in str(caught.value) and "f" * 64 in str(caught.value)


def test_a_package_that_cannot_be_fetched_says_what_to_do(tmp_path: Path) -> None:
    absent = Archive("chatmill-has-no-such-package==0.0.1", "no-such-0.0.1.whl", "0" * 64)
    with pytest.raises(UserError, match=r"could not be downloaded .* yourself"):
        archives.fetch(absent, tmp_path)
    assert list(tmp_path.iterdir()) == []
