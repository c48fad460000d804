"""Models of the Hugging Face hub: fetched once by commit, each file compared with the hub's checksum."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

from model.data.hf_config import load_architecture, read_json_file
from model.data.weights_header import INDEX, LARGEST_INDEX, WEIGHTS, weight_files
from model.errors import UserError
from model.events import EventCallback, Message
from tasks.common import url_secrets
from tasks.common.checksums import file_sum
from tasks.common.file_lock import exclusive_lock
from tasks.data.base_models.base_files import is_intact, record_sums
from tasks.data.sources.download import (
    HEADERS,
    InterruptedDownload,
    Opened,
    RefusedDownload,
    copy_stream,
    open_response,
    retry_download,
)
from tasks.project.paths import BASE_MODELS

HUB = "hub:"
_PUBLIC = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONFIG, _TOKENIZER = "config.json", "tokenizer.json"
_FILES = (
    _CONFIG, "generation_config.json", _TOKENIZER, "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja",
)  # fmt: skip
# The list of a model's files; a model has some hundreds of them.
_LARGEST_LIST = 32 << 20


class HubModel(NamedTuple):
    """A model of the hub: its name ORG/NAME, and a commit, branch or tag."""

    name: str
    revision: str

    @property
    def shown(self) -> str:
        """The name for messages."""
        return f"{HUB}{self.name}@{self.revision}" if self.revision else f"{HUB}{self.name}"


class HubFile(NamedTuple):
    """A file of a model: its name, its size in bytes, and its checksum in the hub's algorithm."""

    name: str
    size: int
    algorithm: str
    digest: str


class Hub(NamedTuple):
    """The hub's address, and the token of the person who asks; empty: none."""

    address: str
    token: str

    def open_path(self, path: str, start: int = 0) -> AbstractContextManager[Opened]:
        """Open a quoted path of the hub, from a byte on. Only the hub itself gets the token."""
        headers = {**HEADERS, **({"Range": f"bytes={start}-"} if start else {})}
        request = urllib.request.Request(f"{self.address}/{path}", headers=headers)
        if self.token:
            # Headers of this kind are not sent to the target of a redirect.
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(_TokenKeeper())
        return open_response(request, f"{url_secrets.display_url(self.address)}/{path}", start, opener)


class _TokenKeeper(urllib.request.HTTPRedirectHandler):
    """A handler of redirects that sends the token on to the hub itself, as after a renaming of a model."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization", "")
        if request and token and url_secrets.origin(newurl) == url_secrets.origin(req.full_url):
            request.add_unredirected_header("Authorization", token)
        return request


def is_hub_name(text: str) -> bool:
    """Return whether a text without a prefix could be the name of a model of the hub."""
    return _NAME.fullmatch(text) is not None


def fetch_hub_model(base: str, root: Path, on_event: EventCallback) -> Path:
    """Return the folder of a model of the hub, which is fetched once.

    Args:
        base: The model as `hub:ORG/NAME@COMMIT`.
        root: The project's folder.
        on_event: Receives what is fetched.

    Raises:
        UserError: The text is not such a name, or the model cannot be fetched or used.
    """
    model = _parse_name(base)
    if not _COMMIT.fullmatch(model.revision):
        raise UserError(_explain_revision(model))
    # Not by the hub's address: a mirror has the same content under the same commit.
    identity = hashlib.sha256(f"{HUB} {model.name} {model.revision}".encode()).hexdigest()
    folder = root / BASE_MODELS / f"{identity[:16]}-{model.name.replace('/', '--')}"
    if not is_intact(folder, root, on_event):
        lock = folder.with_name(f"{folder.name}.lock")
        with exclusive_lock(lock, on_event, f"another process is fetching {model.shown}; waiting for it"):
            if not folder.exists():
                _fetch_files(_hub_of_environment(), model, folder, on_event)
    return folder


def _parse_name(base: str) -> HubModel:
    name, _, revision = base.removeprefix(HUB).partition("@")
    if not _NAME.fullmatch(name):
        raise UserError(f"base_model: {base!a} is not a name of the hub; expected {HUB}ORG/NAME@COMMIT")
    return HubModel(name, revision)


def _hub_of_environment() -> Hub:
    address = url_secrets.read_variable("HF_ENDPOINT").rstrip("/") or _PUBLIC
    if url_secrets.secret_problem(address) or not re.fullmatch(r"https?://[^\s?#]+", address):
        raise UserError(
            "HF_ENDPOINT in the environment must be the address of a hub, as in https://huggingface.co, "
            "without user and password"
        )
    token = url_secrets.read_variable("HF_TOKEN").strip()
    # A header with such a character would be refused with a message that repeats it.
    if not re.fullmatch(r"[!-~]*", token):
        raise UserError("HF_TOKEN in the environment has a space or a character that no token has")
    return Hub(address, token)


def pin_hub_model(base: str) -> str:
    """Return a model of the hub with a commit: its own, or the present one of its branch or tag.

    Args:
        base: The model as `hub:ORG/NAME`, `hub:ORG/NAME@BRANCH` or `hub:ORG/NAME@COMMIT`.

    Raises:
        UserError: The text is not such a name, or the hub cannot be asked.
    """
    model = _parse_name(base)
    if _COMMIT.fullmatch(model.revision):
        return base
    try:
        return f"{HUB}{model.name}@{_present_commit(model)}"
    except UserError as error:
        raise UserError(
            f"{model.shown} cannot be pinned to a commit, as the hub does not tell it ({error}); name "
            f"{HUB}{model.name}@COMMIT with the 40 digits that the model's page shows under Files and "
            "versions, History"
        ) from error


def _present_commit(model: HubModel) -> str:
    """Return the commit of a branch or tag, or of the default branch. Raise UserError if it is unknown."""
    hub = _hub_of_environment()
    path = f"/revision/{quote(model.revision, safe='')}" if model.revision else ""
    commit = str(_read_json(hub, f"api/models/{model.name}{path}", model).get("sha"))
    if not _COMMIT.fullmatch(commit):
        raise UserError("the hub names no commit")
    return commit


def _explain_revision(model: HubModel) -> str:
    """Return why a model without a commit is refused, with its present commit if the hub tells it."""
    named = f"the revision {model.revision!a}" if model.revision else "no revision"
    said = f"base_model: {HUB}{model.name} has {named}, so it may be another model tomorrow; "
    try:
        return f"{said}write its commit of now: {HUB}{model.name}@{_present_commit(model)}"
    except UserError as error:
        reason = str(error)
    return (
        f"{said}write {HUB}{model.name}@COMMIT with the 40 digits that the model's page shows under "
        f"Files and versions, History ({reason})"
    )


def _fetch_files(hub: Hub, model: HubModel, folder: Path, on_event: EventCallback) -> None:
    """Fetch a model's files into a folder that appears when all are complete."""
    listed = _list_files(hub, model)
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    for needed in (_CONFIG, _TOKENIZER):
        if needed not in listed:
            raise UserError(
                f"{model.shown} has no {needed}; choose a model with it, or write it with save_pretrained of "
                "transformers and name the folder"
            )
    whole = WEIGHTS in listed
    if not whole and INDEX not in listed:
        raise UserError(f"{model.shown} has no weights as safetensors; choose a model with {WEIGHTS}")
    small = [listed[name] for name in (*_FILES, *(() if whole else (INDEX,))) if name in listed]
    for file in small:
        _fetch_file(hub, model, file, part, on_event)
    # A model that cannot be used is refused before its weights are fetched.
    load_architecture(part)
    weights = [listed[WEIGHTS]] if whole else _list_shards(model, listed, part)
    left = sum(file.size - _fetched_bytes(part, file) for file in weights)
    if left > (free := shutil.disk_usage(part).free):
        raise UserError(
            f"{model.shown} needs {left:,} bytes more, and {part.parent} has {free:,} free; free space, and "
            "the same command resumes"
        )
    for file in weights:
        _fetch_file(hub, model, file, part, on_event)
    # What an interrupted fetch of other files left is no part of the model.
    for path in part.iterdir():
        if path.name not in {file.name for file in (*small, *weights)}:
            path.unlink()
    record_sums(part, folder)
    part.rename(folder)


def _list_files(hub: Hub, model: HubModel) -> dict[str, HubFile]:
    """Return the files of a model by name. Raise UserError if the hub answers for another commit."""
    found = _read_json(hub, f"api/models/{model.name}/revision/{model.revision}?blobs=true", model)
    if found.get("sha") != model.revision:
        raise UserError(
            f"{model.shown}: the hub answers for the commit {str(found.get('sha'))[:40]!a}; "
            "nothing was fetched"
        )
    files = {}
    try:
        for entry in found["siblings"]:
            large = entry.get("lfs")
            files[str(entry["rfilename"])] = HubFile(
                str(entry["rfilename"]),
                int(large["size"] if large else entry["size"]),
                "sha256" if large else "git",
                str(large["sha256"] if large else entry["blobId"]).lower(),
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{model.shown}: the hub's list of files lacks sizes or checksums, so the files could not be "
            "verified; set HF_ENDPOINT to another hub"
        ) from error
    return files


def _list_shards(model: HubModel, listed: Mapping[str, HubFile], part: Path) -> list[HubFile]:
    """Return the files that an index of weights names."""
    weight_map = read_json_file(part / INDEX, LARGEST_INDEX).get("weight_map")
    names: Iterable[Any] = weight_map.values() if isinstance(weight_map, dict) else ()
    shards = sorted({str(name) for name in names})
    for name in shards:
        # The list may have files in folders, and names that would leave this one.
        if name not in listed or Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{model.shown}: {INDEX} names {name[:60]!a}, which is not one of its files")
    if not shards:
        # The reader of model folders says what is wrong with the index.
        weight_files(part)
    return [listed[name] for name in shards]


def _fetched_bytes(part: Path, file: HubFile) -> int:
    """Return the number of bytes of a file that are here, complete or not."""
    for name in (file.name, f"{file.name}.part"):
        if (part / name).exists():
            return (part / name).stat().st_size
    return 0


def _fetch_file(hub: Hub, model: HubModel, file: HubFile, part: Path, on_event: EventCallback) -> None:
    """Fetch one file and compare it; what an earlier attempt left is continued."""
    # Compared with its checksum before it got this name.
    if (part / file.name).exists():
        return
    unfinished = part / f"{file.name}.part"
    begun = _fetched_bytes(part, file)
    on_event(
        Message(
            f"fetching {model.name}/{file.name}, {file.size:,} bytes"
            + (f", from byte {begun:,} on" if begun else "")
        )
    )

    def attempt() -> None:
        begun = _fetched_bytes(part, file)
        if begun < file.size or not file.size:
            path = f"{model.name}/resolve/{model.revision}/{quote(file.name)}"
            try:
                with hub.open_path(path, begun) as opened:
                    copy_stream(opened, unfinished)
            except RefusedDownload as error:
                raise _refusal(model, hub, error) from error
        size = unfinished.stat().st_size
        if size < file.size:
            raise InterruptedDownload(f"it ended after {size} of {file.size} bytes")
        if (found := _digest(unfinished, file.algorithm)) != file.digest:
            unfinished.unlink()
            said = f"its checksum is {found}, and the hub says {file.digest}"
            # The beginning may be that of another answer; the whole file gets one more chance.
            raise InterruptedDownload(said) if begun else UserError(f"{model.shown}, {file.name}: {said}")

    retry_download(attempt, lambda: _fetched_bytes(part, file), f"{model.shown}, {file.name}")
    unfinished.replace(part / file.name)


def _digest(path: Path, algorithm: str) -> str:
    """Return a file's SHA-256, or the digest that git gives its content."""
    if algorithm == "sha256":
        return file_sum(path)
    found = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def _read_json(hub: Hub, path: str, model: HubModel) -> dict[str, Any]:
    """Return what the hub says about a model. Raise UserError if it refuses or cannot be reached."""

    def attempt() -> bytes:
        try:
            with hub.open_path(path) as opened:
                content = opened.stream.read(_LARGEST_LIST + 1)
        except RefusedDownload as error:
            raise _refusal(model, hub, error) from error
        except OSError as error:
            raise InterruptedDownload(str(error)) from error
        if opened.state.size is not None and len(content) < min(opened.state.size, _LARGEST_LIST):
            raise InterruptedDownload("the answer is incomplete")
        return content

    content = retry_download(attempt, lambda: 0, model.shown)
    try:
        if len(content) > _LARGEST_LIST:
            raise ValueError
        found = json.loads(content)
        return dict(found)
    except (ValueError, TypeError, RecursionError):
        raise UserError(
            f"{model.shown}: {url_secrets.display_url(hub.address)} answers with something else than a hub "
            "does; check HF_ENDPOINT"
        ) from None


def _refusal(model: HubModel, hub: Hub, error: RefusedDownload) -> UserError:
    """Return the error with what to do about it."""
    where = url_secrets.display_url(hub.address)
    if error.status == 404:
        return UserError(f"{where} has no model {model.name} with the revision {model.revision or 'main'}")
    if error.status == 401 and not hub.token:
        # The hub does not tell strangers which private models there are.
        said = "it does not exist, or is private or gated; check the name, or set HF_TOKEN in the environment"
    elif error.status == 401:
        said = "HF_TOKEN is not valid, or the model does not exist"
    elif error.status == 403:
        said = (
            "accept its terms on its page, with the account of HF_TOKEN"
            if hub.token
            else ("accept its terms on its page, and set HF_TOKEN in the environment")
        )
    else:
        said = "try again later"
    return UserError(f"{model.shown}: {where} answers {error.status}; {said}")
